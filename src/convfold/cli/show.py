"""How each result is shown: as tables, or as one JSON document."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from convfold.bench import Comparison
    from convfold.report import Report
    from convfold.targets import Target
    from convfold.verify import Verdict


def console(out: TextIO) -> Console:
    """As wide as the terminal, or else as a report is made for."""
    found = Console(file=out, highlight=False)
    return found if found.is_terminal else Console(file=out, highlight=False, width=110)


def report(report: Report, as_json: bool, out: TextIO) -> None:
    """Of a fold, or of what one would do."""
    if as_json:
        _json(report.to_dict(), out)
    else:
        report.print(console(out))


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


def verdict(verdict: Verdict, as_json: bool, out: TextIO) -> None:
    """In a line."""
    if as_json:
        _json(verdict.to_dict(), out)
    else:
        out.write(f"{verdict}\n")


def comparison(words: Sequence[str], comparison: Comparison, as_json: bool, out: TextIO) -> None:
    """A row a model."""
    if as_json:
        _json({"models": list(words), **comparison.to_dict()}, out)
    else:
        console(out).print(_timings(words, comparison))


def target(target: Target, out: TextIO) -> None:
    """What it takes for each kind of call, and how well that was told of calls that were left out."""
    table = Table(box=None, pad_edge=False)
    for heading in ("kind of call", "terms", "median error"):
        table.add_column(heading, justify="right" if heading == "median error" else "left", overflow="fold")
    for kind, prices in target.prices.items():
        table.add_row(kind, " + ".join(prices), f"{target.errors[kind]:.0%}")
    console(out).print(table)


def _json(data: Any, out: TextIO) -> None:
    out.write(json.dumps(_finite(data), indent=2) + "\n")


def _finite(data: Any) -> Any:
    """JSON knows no infinity: null in its place."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _timings(words: Sequence[str], comparison: Comparison) -> Table:
    plural = "s" if comparison.threads > 1 else ""
    table = Table(box=None, pad_edge=False)
    for heading in (f"{comparison.threads} thread{plural}", "median", "middle half", "rounds", "speed-up"):
        table.add_column(heading, justify="left" if "thread" in heading else "right")
    for word, t, last in zip(words, comparison.timings, [*[False] * (len(words) - 1), len(words) > 1], strict=True):
        spread = f"{1e3 * t.low:.3g} – {1e3 * t.high:.3g} ms"
        faster = f"{comparison.speedup:.2f} ×" if last else ""
        table.add_row(Text(word), f"{1e3 * t.median:.3g} ms", spread, str(t.rounds), faster)
    return table
