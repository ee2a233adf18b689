"""The border is left changed, as asked: all padding comes first."""

from __future__ import annotations

from dataclasses import dataclass

from convfold.algebra.operation import T
from convfold.ops import Ops
from convfold.plan.border.mismatch import Border
from convfold.plan.border.way import Mending, Way, Works
from convfold.plan.cost import Prices
from convfold.region import Signal


class Hoisted(Way):
    text = "changed, as asked: all padding comes first"
    kind = "hoisted padding"
    reads = False

    def exact(self, border: Border) -> bool:
        return False

    def works(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Works:
        return ()

    def composed(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Mending:
        return _Nothing(border, ())


@dataclass(frozen=True, eq=False)
class _Nothing(Mending):
    def lower(self, ops: Ops[T], y: T, x: T, axis: int, rank: int) -> T:
        return y
