"""What is missing are constants at known places: added to the strips of the border, or to everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from torch import Tensor

from convfold.algebra.border import compact
from convfold.algebra.margins import Spans, boxes
from convfold.algebra.operation import T, Work
from convfold.ops import Ops, Part
from convfold.plan.border.mismatch import Border
from convfold.plan.border.way import Mending, Way, Works, added
from convfold.plan.cost import Prices
from convfold.region import Signal


class Constants(Way):
    text = "constants added to the strips of the border"
    reads, constant = False, True

    def exact(self, border: Border) -> bool:
        return border.fixed and border.constant

    def works(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Works:
        """A slice and an addition for each strip; as operations of the model they are one. Where nothing is added in
        place the strips are constants as large as all of it, which are added once."""
        if not prices.in_place:
            return (added(y),)
        a_position = y.numbers // max(prod(border.after), 1)
        found: list[Work] = []
        for box in boxes(border.ends, border.after):
            positions = prod(n if r is None else len(r) for r, n in zip(box, border.after, strict=True))
            found.append(Work(0, 3 * a_position * positions, "sum", calls=2, ops=0 if found else 1))
        return tuple(found)

    def composed(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Mending:
        return _Added(border, self.works(border, prices, x, y, axis), tuple(_parts(border)))


class Map(Way):
    text = "a map of constants added"
    reads, constant = False, True

    def exact(self, border: Border) -> bool:
        return border.fixed and border.constant

    def works(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Works:
        return (added(y),)

    def composed(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Mending:
        return _Everywhere(border, self.works(border, prices, x, y, axis), missing(border))


@dataclass(frozen=True, eq=False)
class _Added(Mending):
    """Where, and (c, *positions) or one position for all."""

    parts: tuple[tuple[Spans, Tensor], ...]

    def lower(self, ops: Ops[T], y: T, x: T, axis: int, rank: int) -> T:
        parts = [Part(box, ops.constant("border", values)) for box, values in self.parts]
        return ops.added_to(y, axis + 1, parts)


@dataclass(frozen=True, eq=False)
class _Everywhere(Mending):
    """(c, *sizes)"""

    values: Tensor

    def lower(self, ops: Ops[T], y: T, x: T, axis: int, rank: int) -> T:
        return ops.add(y, ops.constant("border", self.values))


def missing(border: Border) -> Tensor:
    """(c, *after): what is missing where nothing is read."""
    total = border.whole.value.kernel.new_zeros(border.whole.geometry.c_out, *border.after)
    for piece in border.pieces():
        total[piece.place()] += piece.constants()
    return total


def _parts(border: Border) -> Iterator[tuple[Spans, Tensor]]:
    """Those of the map that are not zero: where, and (c, *positions) or one position for all."""
    whole = missing(border)
    for box in boxes(border.ends, border.after):
        part = whole
        for i, span in enumerate(box):
            part = part if span is None else part.narrow(i + 1, span.start, len(span))
        yield box, compact(part)
