"""A runtime on a machine, as prices: the same file, the same plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

from convfold.algebra.operation import Work
from convfold.errors import InvalidInput
from convfold.targets.terms import TERMS, kind_of, terms

#: Units a second is divided into. Sums of whole numbers are the same in every order.
ATTO = 10**18

#: What a kind of call is taken for that a target has no prices for: a bias for a sum.
OTHER, LIKE = "copy", {"bias": "sum"}

#: Terms that grow with the multiply-adds.
MULTIPLIED = ("macs", "lanes")

#: Of the files.
FORMAT = 1


class Costs(Protocol):
    """What a plan is priced by."""

    def attoseconds(self, work: Work, itemsize: int) -> int:
        """Of one call on numbers of so many bytes."""

    def dearer(self, times: float) -> Self:
        """The same with multiply-adds that take so many times as long."""


@dataclass(frozen=True)
class Target:
    """Which runtime, where, with which types and versions, and what it takes for each kind of call.

    The time of a call is ``Σ price · count`` over the terms of its kind (`targets.terms`), in seconds.

    Attributes:
        runtime: as `runtimes.RUNTIMES` has it.
        machine: in words: what the prices were taken on.
        prices: of each kind of call the seconds for one of each term.
        errors: of each kind the median of ``|predicted − measured| / measured`` of calls that were left out.
    """

    name: str
    runtime: str
    device: str
    threads: int
    dtype: str
    machine: str
    versions: Mapping[str, str]
    prices: Mapping[str, Mapping[str, float]]
    errors: Mapping[str, float] = field(default_factory=dict)
    _known: dict[object, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def seconds(self, work: Work, itemsize: int) -> float:
        return self.attoseconds(work, itemsize) / ATTO

    def attoseconds(self, work: Work, itemsize: int) -> int:
        key = work, itemsize
        if key not in self._known:
            kind = kind_of(work)
            known = (k for k in (kind, LIKE.get(kind, OTHER), OTHER) if k in self._rates)
            prices = self._rates[next(known)]
            self._known[key] = sum(prices.get(term, 0) * n for term, n in terms(work, itemsize))
        return self._known[key]

    @cached_property
    def _rates(self) -> dict[str, dict[str, int]]:
        return {kind: {term: round(p * ATTO) for term, p in own.items()} for kind, own in self.prices.items()}

    def dearer(self, times: float) -> Self:
        scaled = {
            kind: {term: p * times if term in MULTIPLIED else p for term, p in own.items()}
            for kind, own in self.prices.items()
        }
        return replace(self, prices=scaled)

    def with_dearer(self, kind: str, times: float) -> Self:
        """With calls of one kind that take so many times as long."""
        own = {term: p * times for term, p in self.prices.get(kind, {}).items()}
        return replace(self, prices={**self.prices, kind: own} if own else self.prices)

    def to_json(self) -> str:
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return json.dumps({"format": FORMAT, **data}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """
        Raises:
            InvalidInput: it is not there, or no target.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise InvalidInput(f"{path}: no target can be read: {e}") from e
        return cls.of(data, str(path))

    @classmethod
    def of(cls, data: Any, where: str) -> Self:
        """What a file holds, each price a number that is not negative."""
        names = {f.name for f in fields(cls) if f.init}
        if not isinstance(data, dict) or data.get("format") != FORMAT or set(data) != {*names, "format"}:
            raise InvalidInput(f"{where}: not a target of format {FORMAT}; make one with `convfold calibrate`")
        prices = data["prices"]
        if not isinstance(prices, dict) or not all(isinstance(own, dict) for own in prices.values()):
            raise InvalidInput(f"{where}: its prices are no table; make one with `convfold calibrate`")
        for kind, own in prices.items():
            for term, price in own.items():
                if term not in TERMS or not isinstance(price, int | float) or not 0 <= price < 1:
                    raise InvalidInput(f"{where}: {kind}: {term} at {price!r} seconds is no price")
        if OTHER not in prices:
            raise InvalidInput(f"{where}: it has no price for {OTHER!r}, which other kinds are taken for")
        return cls(**{name: data[name] for name in names})
