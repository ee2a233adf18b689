"""What a step costs: a value that can be added and compared. The planner asks nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from convfold.algebra.geometry import Geometry
from convfold.algebra.operation import Operation, Work
from convfold.algebra.realisation import Realisation
from convfold.plan.machine import DEFAULT
from convfold.region import Signal
from convfold.targets.target import Costs

W = TypeVar("W")

#: Estimates whose ratio is less than this are one: multiply-adds are the same on every runtime, bytes and calls not.
NEAR = 4 / 3

#: Of estimates whose ratio is less than this nothing is told: the order of the ways decides, views first. Measured on
#: maps that are resized behind a product: as a convolution behind the view it runs 1.3 times as fast in ONNX Runtime,
#: which keeps the layout of its convolutions.
EVEN = 1.02

#: Attoseconds: a tenth of a millisecond.
LEAST = 10**14

#: Bytes of traffic that one operation more must save where multiply-adds come first. Measured on a concat before a
#: convolution against two convolutions and a sum: below some megabytes the smaller calls lose more than the copy costs.
OPERATION = 2 << 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Multiply-adds, bytes moved and operations, and the ``rank`` they are compared by.

    Multiply-adds are those of convolutions and matrix products, as torch counts them. The scale and shift of a batch
    norm, like a sum, costs bytes and an operation.
    """

    macs: int = 0
    bytes: int = 0
    ops: int = 0
    rank: tuple[int, int] = (0, 0)

    def __lt__(self, other: Cost) -> bool:
        return self.rank < other.rank

    def __le__(self, other: Cost) -> bool:
        return self.rank <= other.rank

    def __add__(self, other: Cost) -> Cost:
        (a, b), (c, d) = self.rank, other.rank
        return Cost(self.macs + other.macs, self.bytes + other.bytes, self.ops + other.ops, (a + c, b + d))

    def __sub__(self, other: Cost) -> Cost:
        (a, b), (c, d) = self.rank, other.rank
        return Cost(self.macs - other.macs, self.bytes - other.bytes, self.ops - other.ops, (a - c, b - d))


@dataclass(frozen=True)
class Prices:
    """What every kind of step costs, on signals of given shapes.

    ``objective`` "time": the seconds of every call by ``costs``, in attoseconds: whole numbers, so that a sum of three
    costs what two sums of two do, to the last digit.
    "macs": multiply-adds first; where they are equal, bytes moved and operations, each worth ``OPERATION`` bytes.
    ``ends``: does a convolution take other zeros at the one end of an axis than at the other? ``fused``: is a scale
    with its shift one call, and a product with its bias? ``doubles``: is there a convolution of float64? ``in_place``:
    can something be added to a part of a value where it lies?
    """

    objective: str = "time"
    costs: Costs = field(default=DEFAULT)
    ends: bool = False
    fused: bool = True
    doubles: bool = True
    in_place: bool = True
    _realised: dict[object, Cost] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def least(self) -> int:
        """What a plan saves at least that neither multiplies less nor calls fewer: time is not known any better."""
        return 1 if self.objective == "macs" else LEAST

    def all(self, works: Iterable[Work], itemsize: int) -> Cost:
        """Calls, one after the other, on numbers of so many bytes."""
        macs = moved = ops = rank = 0
        counted = self.objective == "macs"
        for w in works:
            macs, moved, ops = macs + w.macs, moved + w.moved * itemsize, ops + w.ops
            rank += w.moved * itemsize + w.calls * OPERATION if counted else self.costs.attoseconds(w, itemsize)
        return Cost(macs, moved, ops, (macs if counted else 0, rank))

    def of(self, step: Operation, xs: Sequence[Signal], y: Signal) -> Cost:
        """One step of a region, from the signals it reads to the one it gives."""
        return self.all(step.work([x.shape for x in xs], y.shape), y.itemsize)

    def realised(self, how: Realisation, g: Geometry, x: Signal, axis: int) -> Cost:
        """An operator of this geometry on a signal, by the calls of ``how``."""
        key = how, g, x, axis
        if key not in self._realised:
            self._realised[key] = self.all(how.work(g, x.shape, axis), x.itemsize)
        return self._realised[key]

    def cheapest(self, ways: Iterable[W], cost: Callable[[W], Cost]) -> W:
        """The cheapest; of those that prices hardly tell from it those with fewest multiply-adds, and the first of
        those that they do not."""
        found = list(ways)
        if len(found) == 1:
            return found[0]
        best = min((cost(w) for w in found), key=lambda c: c.rank)
        if self.objective == "macs":
            return min(found, key=lambda w: cost(w).rank)
        near = [w for w in found if cost(w).rank[1] <= NEAR * best.rank[1]]
        fewest = min(cost(w).macs for w in near)
        near = [w for w in near if cost(w).macs == fewest]
        least = min(cost(w).rank[1] for w in near)
        return next(w for w in near if cost(w).rank[1] <= EVEN * least)
