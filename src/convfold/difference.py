"""Two reports side by side: of two versions of a model, for two targets, or by two versions of convfold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from convfold.errors import InvalidInput
from convfold.report import count

#: Totals that are compared, and what they are called.
_TOTALS = {
    "macs": "multiply-adds",
    "params": "parameters",
    "ops": "operations",
    "layers": "convolutions + linears",
    "batch_norms": "batch norms",
}


@dataclass(frozen=True)
class Difference:
    """What two reports, as plain data, say that is not the same.

    Attributes:
        totals: of each total in A and in B, as the models are and as they are folded: (A, B), (A folded, B folded).
        stretches: by place, the multiply-adds that are saved there, in A and in B; None where it is not rewritten.
        left: by reason, how many pairs are left in A and in B.
    """

    totals: dict[str, tuple[tuple[int, int], tuple[int, int]]]
    stretches: dict[str, tuple[int | None, int | None]]
    left: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, a: Mapping[str, Any], b: Mapping[str, Any]) -> Difference:
        when = ("before", "after")
        saved = [Counter[str](), Counter[str]()]
        for found, report in zip(saved, (a, b), strict=True):
            for stretch in report["applied"]:
                found[stretch["where"]] += stretch["macs_before"] - stretch["macs_after"]
        first, second = ({place: n for place, n in found.items()} for found in saved)
        places = dict.fromkeys((*first, *second))
        pairs = {place: (first.get(place), second.get(place)) for place in places}
        reasons = [Counter(r["code"] for r in report["refused"]) for report in (a, b)]
        return cls(
            {name: tuple((a[w][name], b[w][name]) for w in when) for name in _TOTALS},  # type: ignore[misc]
            {place: pair for place, pair in pairs.items() if pair[0] != pair[1]},
            {code: (reasons[0][code], reasons[1][code]) for code in sorted({*reasons[0], *reasons[1]})},
        )

    @property
    def nothing(self) -> bool:
        """Is all the same?"""
        numbers = [pair for pairs in self.totals.values() for pair in pairs] + list(self.left.values())
        return not self.stretches and all(x == y for x, y in numbers)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def print(self, console: Console, words: tuple[str, str]) -> None:
        """As tables, on the given console."""
        if self.nothing:
            console.print("no difference: totals, stretches and reasons are the same")
            return
        table = Table(box=None, pad_edge=False)
        for heading in ("", *words, "", *(f"{word}, folded" for word in words), ""):
            table.add_column(Text(heading), justify="right" if heading else "left", overflow="fold")
        for name, (given, folded) in self.totals.items():
            table.add_row(_TOTALS[name], *_row(*given), *_row(*folded))
        console.print(table)
        self._print_places(console, words)
        for code, (x, y) in self.left.items():
            if x != y:
                console.print(f"left, {code}: {x} → {y}", markup=False, highlight=False)

    def _print_places(self, console: Console, words: tuple[str, str]) -> None:
        if not self.stretches:
            return
        table = Table(box=None, pad_edge=False)
        for heading in ("saves multiply-adds at", *words):
            table.add_column(Text(heading), justify="left" if heading.startswith("saves") else "right", overflow="fold")
        for place, pair in sorted(self.stretches.items(), key=lambda item: -max(abs(n or 0) for n in item[1])):
            table.add_row(Text(place), *("not rewritten" if n is None else count(n) for n in pair))
        console.print(table)


def read(path: Path) -> dict[str, Any]:
    """A report as it was written: `Report.save`, ``convfold explain --json``.

    Raises:
        InvalidInput: it is none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        Difference.of(data, data)
    except OSError as e:
        raise InvalidInput(f"{path}: cannot be read: {e.strerror or e}") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InvalidInput(
            f"{path}: is no report; give one of `convfold explain --json` or `convfold report -o r.json`"
        ) from e
    return data  # type: ignore[no-any-return]


def _row(x: int, y: int) -> tuple[str, str, str]:
    change = "" if x == y or not x else f"{100 * (y - x) / x:+.1f} %"
    return count(x), count(y), change
