"""What a trace says: of a stretch, which forms some of its values could have, what each costs, and what was taken."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from convfold.report import count

#: Rows of one table, lines of one list, and letters of a name where it is one of many; the dict has them all.
ROWS, LINES, LETTERS = 5, 8, 32


@dataclass(frozen=True)
class Choice:
    """One way to have a value, and what the cheapest plan found of the whole stretch that has it so costs.

    ``values``: what it is computed from; or, where it is not computed, what it is carried into.
    """

    form: str
    values: tuple[str, ...]
    computed: bool
    macs: int
    bytes: int
    ops: int
    seconds: float | None  # the estimate, where the objective is time
    verdict: str
    border: tuple[str, ...] = ()  # the ways to mend it, where the form has one that needs it

    @property
    def taken(self) -> bool:
        return self.verdict == "taken"

    def __str__(self) -> str:
        values = ", ".join(_few(map(_short, self.values), 3))
        return f"{self.form} from {values}" if self.computed else f"{self.form}, carried into {values}"


@dataclass(frozen=True)
class Refusal:
    """What is not exact: ``where`` names the value that is not carried and the step that would have; by which ``law``.

    Without one it is said of neighbours, as in the report.
    """

    law: str
    where: str
    code: str
    detail: str

    def __str__(self) -> str:
        who = f"{self.law} refuses" if self.law else "left apart,"
        return f"{who} {self.where}: {self.code}: {self.detail}"


@dataclass(frozen=True)
class Value:
    """A value of a stretch: its choices, cheapest first, how many forms the search saw, what the laws refused."""

    where: str
    choices: tuple[Choice, ...]
    forms: int
    refusals: tuple[Refusal, ...]

    def print(self, console: Console) -> None:
        """As a table, with what there is to say of borders and laws below it."""
        console.print(f"{self.where}: its forms, and what the stretch costs with each", markup=False)
        console.print(self._table())
        if self.forms > len(self._shown()):
            console.print(f"    {self.forms} forms seen; these are the cheapest", markup=False)
        border = next((c.border for c in self.choices if c.border), ())
        for line in (*border, *_few(map(str, self.refusals), ROWS)):
            console.print(f"    {line}", markup=False)

    def _table(self) -> Table:
        timed = any(c.seconds is not None for c in self.choices)
        table = Table(box=None, pad_edge=False)
        table.add_column("form", overflow="fold")
        for heading in ("multiply-adds", "bytes", "operations", *["estimate"] * timed):
            table.add_column(heading, justify="right")
        table.add_column("", no_wrap=True)
        for c in self._shown():
            estimate = [f"{1e6 * (c.seconds or 0):,.1f} µs"] * timed
            table.add_row(str(c), count(c.macs), count(c.bytes), str(c.ops), *estimate, c.verdict)
        return table

    def _shown(self) -> list[Choice]:
        """The cheapest few, and in any case what was taken."""
        return [c for i, c in enumerate(self.choices) if i < ROWS or c.taken]


@dataclass(frozen=True)
class Stretch:
    """A stretch of affine calls in which ``where`` was asked about, between what ``begins`` and what ``ends`` it.

    ``carried``: of each call whose value is not computed, what it is and the values it went into; ``values``: those,
    and the calls whose value is computed; ``untold``: more of them, for which there are no tables.
    """

    where: tuple[str, ...]
    calls: int
    begins: tuple[str, ...]
    ends: tuple[str, ...]
    outcome: str
    carried: tuple[tuple[str, str, tuple[str, ...]], ...]
    values: tuple[Value, ...]
    untold: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return _text(self)

    def print(self, console: Console) -> None:
        """A few lines, and a table for each value."""
        where = ", ".join(_few(map(_short, self.where), 2)) if len(self.where) > 1 else self.where[0]
        console.print(f"trace of {where}, in a stretch of {self.calls} call{'s' * (self.calls > 1)}", markup=False)
        for line in (self.outcome, *self._ends(), *_few(self._moves(), LINES)):
            console.print(f"    {line}", markup=False)
        for value in self.values:
            value.print(console)
        if self.untold:
            console.print(f"untold, to be traced by name: {', '.join(_few(self.untold, LINES))}", markup=False)

    def _ends(self) -> Iterator[str]:
        yield from _few((f"after {place}" for place in self.begins), LINES // 2)
        yield from _few((f"before {place}" for place in self.ends), LINES // 2)

    def _moves(self) -> Iterator[str]:
        for where, what, into in self.carried:
            yield f"{_short(where)}: {what}, carried into {', '.join(_few(map(_short, into), 3))}"


@dataclass(frozen=True)
class Stop:
    """A call that is a step of no stretch, and why; the steps ``before`` and ``after`` it end and begin stretches."""

    where: str
    code: str
    detail: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return _text(self)

    def print(self, console: Console) -> None:
        """In a few lines."""
        console.print(f"trace of {self.where}, in no stretch: {self.code}: {self.detail}", markup=False)
        for what, steps in (("ends", self.before), ("begins", self.after)):
            if steps:
                names = ", ".join(_few(map(_short, steps), 3))
                console.print(f"    a stretch {what} at it: {names}", markup=False)


def _few(lines: Iterable[str], n: int) -> list[str]:
    found = list(lines)
    return found if len(found) <= n else [*found[:n], f"… and {len(found) - n} more"]


def _short(name: str) -> str:
    """The end of a long module path."""
    parts = name.split(".")
    while len(parts) > 1 and sum(map(len, parts)) + len(parts) > LETTERS:
        del parts[0]
    short = ".".join(parts)
    return name if short == name else f"…{short}"


def _text(trace: Stretch | Stop) -> str:
    stream = io.StringIO()
    trace.print(Console(file=stream, width=110, no_color=True, force_terminal=False, highlight=False))
    return stream.getvalue().rstrip()
