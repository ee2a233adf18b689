"""What a step costs: a value that can be added and compared. The planner asks nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from convfold.algebra.geometry import Geometry
from convfold.algebra.operation import Operation, Work
from convfold.algebra.realisation import Realisation
from convfold.plan.machine import DEFAULT, Machine
from convfold.region import Signal

W = TypeVar("W")

#: Estimates whose ratio is less than this are one: multiply-adds are the same on every runtime, bytes and calls not.
NEAR = 4 / 3

#: Bytes of traffic that one operation more must save where multiply-adds come first. Measured on a concat before a
#: convolution against two convolutions and a sum: below some megabytes the smaller calls lose more than the copy costs.
OPERATION = 2 << 20

#: Output channels that are computed at once. Measured on transposed convolutions: 64→3 with 18×18 taps takes 4.5 times
#: as long as its 5×5 phases, which multiply 1.23 times as much; one to 16 channels or more takes as long as its
#: multiply-adds say.
LANES = 16


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

    ``objective`` "time": the sum over the steps of ``MACs / peak + bytes / bandwidth + overhead``, in attoseconds:
    whole rates, so that a sum of three costs what two sums of two do, to the last digit. Nothing hides behind anything:
    what one runtime overlaps another does not, and fewer multiply-adds are worth something on all of them.
    "macs": multiply-adds first; where they are equal, bytes moved and operations, each worth ``OPERATION`` bytes.
    """

    objective: str = "time"
    machine: Machine = field(default=DEFAULT)

    def call(self, work: Work, itemsize: int) -> Cost:
        """One call, or several that go over the data together."""
        macs, moved, calls = work.macs, work.moved * itemsize, work.calls
        if self.objective == "macs":
            return Cost(macs, moved, work.ops, (macs, moved + OPERATION * calls))
        m, idle = self.machine, -(-LANES // work.abreast) if work.abreast else 1
        mac, byte, call = round(1e18 / m.peak), round(1e18 / m.bandwidth), round(1e18 * m.overhead)
        return Cost(macs, moved, work.ops, (0, macs * idle * mac + moved * byte + calls * call))

    def all(self, works: Iterable[Work], itemsize: int) -> Cost:
        return sum((self.call(work, itemsize) for work in works), Cost())

    def of(self, step: Operation, xs: Sequence[Signal], y: Signal) -> Cost:
        """One step of a region, from the signals it reads to the one it gives."""
        return self.all(step.work([x.shape for x in xs], y.shape), y.itemsize)

    def realised(self, how: Realisation, g: Geometry, x: Signal, axis: int) -> Cost:
        """An operator of this geometry on a signal, by the calls of ``how``."""
        return self.all(how.work(g, x.shape, axis), x.itemsize)

    def cheapest(self, ways: Iterable[W], cost: Callable[[W], Cost]) -> W:
        """The cheapest; of those a roofline cannot tell from it, the one with fewest multiply-adds."""
        found = list(ways)
        best = min((cost(w) for w in found), key=lambda c: c.rank)
        if self.objective == "macs":
            return min(found, key=lambda w: cost(w).rank)
        near = [w for w in found if cost(w).rank[1] <= NEAR * best.rank[1]]
        return min(near, key=lambda w: (cost(w).macs, cost(w).rank))
