"""What was folded, what was not and why, what it cost before and after: as text and as a dict."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from convfold.errors import REASONS
from convfold.page import Page
from convfold.totals import Totals
from convfold.verify import Verdict

if TYPE_CHECKING:
    from convfold.picture import Picture, Redrawn
    from convfold.plan.border import GhostRead
    from convfold.trace import Stop, Stretch


@dataclass(frozen=True)
class Applied:
    """One stretch that was rewritten."""

    where: str
    before: str
    after: str
    macs_before: int
    macs_after: int
    diagram: tuple[str, str] = ("", "")  # what computes it, before and after: outputs first, their inputs below
    seconds: tuple[float, float] | None = None  # before and after, at the target's prices
    redrawn: Redrawn | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Mended:
    """One border that the convolution in the chain's stead would have got wrong."""

    where: str
    way: str
    macs: int
    bytes: int
    ghosts: tuple[GhostRead, ...]
    change: float | None = None  # relative, where the border was not mended but changed, as asked

    def __str__(self) -> str:
        if self.change is not None:
            return f"border of {self.where} {self.way}; it differs by {self.change:.2g}"
        return f"border of {self.where}: {self.way}, {count(self.macs)} multiply-adds, {count(self.bytes)}B moved"


@dataclass(frozen=True)
class Refused:
    """One pair of neighbours that was left as it was."""

    code: str
    where: str
    detail: str


@dataclass(frozen=True)
class Timed:
    """How many times as fast as the original: the median of some rounds, and its interval of 95 %."""

    runtime: str
    threads: int
    speedup: float
    low: float
    high: float

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        return f"{self.runtime}, {threads}: {self.speedup:.3g} times as fast [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class Measured:
    """Distinct stretches that were run in several ways.

    Attributes:
        stretches: how many; of so many (``known``) it was known from before, and so many more (``left``) were not:
            not reached, or the runtime does not run them.
        changed: how many are written another way than prices would have it.
        stopped: was it interrupted?
    """

    runtime: str
    threads: int
    stretches: int
    known: int
    changed: int
    left: int
    stopped: bool

    def __str__(self) -> str:
        said = f"{self.stretches} distinct stretches timed ({self.known} known from before), {self.changed} changed"
        rest = f", {self.left} not timed" if self.left else ""
        return f"measured in {self.runtime}: {said}{rest}" + ("; interrupted" if self.stopped else "")


@dataclass(frozen=True)
class Report:
    """The outcome of a fold, or of asking for one with `explain`."""

    applied: tuple[Applied, ...]
    refused: tuple[Refused, ...]
    before: Totals
    after: Totals
    free: tuple[str, ...] = ()
    error: Verdict | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    borders: tuple[Mended, ...] = ()
    trace: tuple[Stretch | Stop, ...] = ()  # of what was asked about: `explain`
    timed: Timed | str | None = None  # in the target's runtime; or why not
    measured: Measured | None = None
    picture: Picture | None = field(default=None, repr=False)

    @property
    def changed(self) -> bool:
        return bool(self.applied)

    def change(self, name: str) -> tuple[str, str]:
        """Of a total: before and after in words, and by how much it changed."""
        before, after, change = _change(getattr(self.before, name), getattr(self.after, name))
        return f"{before} → {after}", change

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; without what only a page draws."""
        data = asdict(replace(self, picture=None, applied=tuple(replace(a, redrawn=None) for a in self.applied)))
        del data["picture"]
        for applied in data["applied"]:
            del applied["redrawn"]
        return data

    def save(self, path: str | Path, name: str = "") -> None:
        """Write a page to look at (.html, by itself: nothing is loaded from elsewhere) or the dict (.json).

        Raises:
            InvalidInput: another suffix, or a folder that is missing or cannot be written.
        """
        notes = [str(note) for note in (self.timed, self.measured) if note is not None]
        drawn = [a.redrawn for a in self.applied]
        Page(name, str(self), self.to_dict(), notes, drawn, self.picture).save(Path(path))

    def __str__(self) -> str:
        stream = io.StringIO()
        self.print(Console(file=stream, width=110, no_color=True, force_terminal=False, highlight=False))
        return stream.getvalue().rstrip()

    def print(self, console: Console, every: bool = False) -> None:
        """What is saved, then where, then why not more; of long lists the first, unless ``every`` row is asked for."""
        shown = None if every else SHOWN
        console.print(Text(self.headline, "bold"))
        console.print(self._totals())
        if self.before.kinds != self.after.kinds:
            console.print(self._kinds())
        if self.trace:
            self._print_traces(console, shown)
        else:
            self._print_outcome(console, shown)
        if self.free:
            console.print(f"free to change: {', '.join(self.free)}", markup=False)
        if self.error is not None:
            console.print(str(self.error), markup=False)
        if self.measured is not None:
            console.print(str(self.measured), markup=False)
        if self.timed is not None:
            console.print(f"not timed: {self.timed}" if isinstance(self.timed, str) else str(self.timed), markup=False)
        if self.seconds:
            console.print("seconds: " + ", ".join(f"{name} {t:.2f}" for name, t in self.seconds.items()), markup=False)

    @property
    def headline(self) -> str:
        """How much less, in a line."""
        if not self.applied:
            return "nothing was folded: no form that is known is cheaper than what is there"
        macs, change = self.change("macs")
        fewer = self.before.ops - self.after.ops
        said = [f"{change.lstrip('+-')} fewer multiply-adds ({macs})"] if self.after.macs < self.before.macs else []
        if fewer:
            said.append(f"{abs(fewer)} operation{'s' * (abs(fewer) != 1)} {'fewer' if fewer > 0 else 'more'}")
        return ", ".join(said) or "as many multiply-adds and operations, in other steps"

    def _print_outcome(self, console: Console, shown: int | None) -> None:
        """Of every stretch."""
        if self.applied:
            console.print(self._applied(shown))
            for line in self._largest():
                console.print(line, markup=False)
        for line in (*self._mended(shown), *self._refusals(shown)):
            console.print(line, markup=False)

    def _print_traces(self, console: Console, shown: int | None) -> None:
        """Of what was asked about, and nothing else."""
        for trace in self.trace[:shown]:
            trace.print(console)
        if more := len(self.trace[len(self.trace[:shown]) :]):
            console.print(f"… {more} traces more: ask for fewer, or for --all", markup=False)

    def _totals(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading in ("", "before", "after", "change"):
            table.add_column(heading, justify="left" if not heading else "right")
        for name, unit in (("macs", "multiply-adds"), ("params", "parameters"), ("ops", "operations")):
            table.add_row(unit, *_change(getattr(self.before, name), getattr(self.after, name)))
        table.add_row("convolutions + linears", *_change(self.before.layers, self.after.layers))
        table.add_row("batch norms", *_change(self.before.batch_norms, self.after.batch_norms))
        return table

    def _kinds(self) -> Table:
        """Every kind of operator whose number changed, where the framework has such."""
        table = Table(box=None, pad_edge=False)
        for heading in ("operator", "before", "after", "change"):
            table.add_column(heading, justify="left" if heading == "operator" else "right")
        for kind in sorted({*self.before.kinds, *self.after.kinds}):
            before, after = self.before.kinds.get(kind, 0), self.after.kinds.get(kind, 0)
            if before != after:
                table.add_row(kind, str(before), str(after), f"{after - before:+d}")
        return table

    def _applied(self, shown: int | None) -> Table:
        """Those first that save most."""
        table = Table(box=None, pad_edge=False)
        table.add_column("folded", no_wrap=True)  # broken where a path may be
        table.add_column("from", overflow="fold")
        table.add_column("to", overflow="fold")
        table.add_column("multiply-adds", justify="right")
        rows = sorted(self.applied, key=lambda a: a.macs_after - a.macs_before)  # of equal ones the first first
        for a in rows[:shown]:
            table.add_row(_broken(a.where), a.before, a.after, f"{count(a.macs_before)} → {count(a.macs_after)}")
        if rest := rows[len(rows[:shown]) :]:
            saved = sum(a.macs_before - a.macs_after for a in rest)
            table.add_row(f"… {len(rest)} more", "", "--all lists them", f"{count(-saved)}" if saved else "")
        return table

    def _largest(self) -> list[str]:
        """The stretch that saves most, drawn before and after; the dict has them all."""
        largest = max(self.applied, key=lambda a: a.macs_before - a.macs_after)
        before, after = largest.diagram
        if largest.macs_before == largest.macs_after or not before:
            return []
        return [f"{largest.where} before", *_indented(before), "after", *_indented(after)]

    def _mended(self, shown: int | None) -> list[str]:
        lines = []
        for border in self.borders[:shown]:
            lines += [str(border), *(f"    {ghost}" for ghost in border.ghosts)]
        more = len(self.borders) - len(self.borders[:shown])
        return lines + ([f"… {more} borders more"] if more else [])

    def _refusals(self, shown: int | None) -> list[str]:
        """By their reasons, the most frequent first; of each one example, or all."""
        lines = []
        for code, n in Counter(r.code for r in self.refused).most_common():
            found = [f"{r.where}: {r.detail}" for r in self.refused if r.code == code]
            lines.append(f"left {n} × {code}: {REASONS[code]}")
            lines += [f"    e.g. {found[0]}"] if shown else [f"    {one}" for one in found]
        return lines


def _broken(path: str) -> str:
    """A long path on lines of its own, that end behind a dot and not in a word."""
    lines = [""]
    for part in re.split(r"(?<=[.→])", path):
        if len(lines[-1] + part) > PATH and lines[-1]:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]


#: Rows of a table unless all are asked for; the dict has them all.
SHOWN = 12
#: Letters of a module's path on one line.
PATH = 36


def _change(before: int, after: int) -> tuple[str, str, str]:
    change = f"{100 * (after - before) / before:+.1f} %" if before else ""
    return count(before), count(after), change


def count(n: float) -> str:
    """A number with its SI prefix: 7.35 G, 651 M, 131."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(n) >= size:
            return f"{n / size:.3g} {prefix}"
    return f"{n:.0f}"
