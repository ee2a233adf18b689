"""How each result is shown: as tables, or as one JSON document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from convfold import plain

if TYPE_CHECKING:
    from convfold.bench import Bench, Row
    from convfold.difference import Difference
    from convfold.report import Report
    from convfold.runtimes import Share
    from convfold.targets import Target
    from convfold.verify import Verdict


def console(out: TextIO) -> Console:
    """As wide as the terminal, or else as a report is made for."""
    found = Console(file=out, highlight=False)
    return found if found.is_terminal else Console(file=out, highlight=False, width=110)


def report(report: Report, as_json: bool, every: bool, out: TextIO) -> None:
    """Of a fold, or of what one would do; ``every`` row of it."""
    if as_json:
        _json(report.to_dict(), out)
    else:
        report.print(console(out), every)


def summary(done: Sequence[tuple[str, Report | None, int]], as_json: bool, out: TextIO) -> None:
    """A row a model: what was saved, and whether it was shown to be the same; its exit code where it failed."""
    if as_json:
        rows = [{"model": word, "code": code, "report": r and r.to_dict()} for word, r, code in done]
        _json(rows, out)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "multiply-adds", "", "operations", "", "checked", "seconds"):
        table.add_column(heading, justify="left" if heading == "model" else "right", overflow="fold")
    for word, r, code in done:
        if r is None:
            table.add_row(Text(word), *[""] * 4, f"failed ({code})", "")
            continue
        checked = "no" if r.error is None else "same" if r.error.passed else "nothing to compare"
        macs, ops = r.change("macs"), r.change("ops")
        table.add_row(Text(word), *macs, *ops, checked, f"{sum(r.seconds.values()):.1f}")
    console(out).print(table)


def difference(found: Difference, words: tuple[str, str], as_json: bool, out: TextIO) -> None:
    """Of two reports."""
    if as_json:
        _json(found.to_dict(), out)
    else:
        found.print(console(out), words)


def verdict(verdict: Verdict, as_json: bool, out: TextIO) -> None:
    """In a line."""
    if as_json:
        _json(verdict.to_dict(), out)
    else:
        out.write(f"{verdict}\n")


def bench(bench: Bench, as_json: bool, out: TextIO) -> None:
    """A row a model, under a title for each runtime, batch and number of threads; then where the time goes."""
    if as_json:
        _json(bench.to_dict(), out)
        return
    console(out).print(_timings(bench.words, bench.rows))
    for row in bench.rows:
        for word, shares in zip(bench.words, row.breakdowns, strict=False):
            console(out).print(Text(f"\n{row.title}: {word}"))
            console(out).print(_breakdown(shares))
    unsettled = [row.title for row in bench.rows if not row.comparison.settled]
    if unsettled:
        out.write(f"still changing when measuring began: {'; '.join(unsettled)}\n")
    out.write(f"{bench.where}\n")


def target(target: Target, out: TextIO) -> None:
    """What it takes for each kind of call, and how well that was told of calls that were left out."""
    table = Table(box=None, pad_edge=False)
    for heading in ("kind of call", "terms", "median error"):
        table.add_column(heading, justify="right" if heading == "median error" else "left", overflow="fold")
    for kind, prices in target.prices.items():
        table.add_row(kind, " + ".join(prices), f"{target.errors[kind]:.0%}")
    console(out).print(table)


def _json(data: Any, out: TextIO) -> None:
    out.write(plain.dumps(data, indent=2) + "\n")


def _timings(words: Sequence[str], rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "median", "middle half", "rounds", "speed-up", "95 % sure"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        timed = row.comparison
        table.add_row(Text(row.title, "bold"))
        for word, t, s in zip(words, timed.timings, (None, *timed.speedups), strict=True):
            spread = f"{1e3 * t.low:.3g} – {1e3 * t.high:.3g} ms"
            faster = (f"{s.median:.2f} ×", f"{s.low:.2f} – {s.high:.2f}") if s else ("", "")
            typical = f"{_figures(1e3 * t.median, t.figures)} ms"
            table.add_row(Text(f"  {word}"), typical, spread, str(t.rounds), *faster)
    return table


def _figures(x: float, n: int) -> str:
    """To as many figures as it supports, two at least."""
    return f"{x:.{max(0, max(n, 2) - 1 - math.floor(math.log10(x)))}f}" if x > 0 else "0"


#: Kinds of operators that are worth a row.
_TOP = 10


def _breakdown(shares: Sequence[Share]) -> Table:
    """Those that take most, and the rest as one."""
    table = Table(box=None, pad_edge=False)
    for heading in ("operator", "calls", "time", "share"):
        table.add_column(heading, justify="left" if heading == "operator" else "right", overflow="fold")
    total = sum(s.seconds for s in shares) or 1.0
    rows = [(s.kind, s.calls, s.seconds) for s in shares[:_TOP]]
    if rest := shares[_TOP:]:
        rows.append((f"{len(rest)} others", sum(s.calls for s in rest), sum(s.seconds for s in rest)))
    for kind, calls, seconds in rows:
        table.add_row(Text(kind), f"{calls:g}", f"{1e3 * seconds:.3g} ms", f"{seconds / total:.1%}")
    return table
