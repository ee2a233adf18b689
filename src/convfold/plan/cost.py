"""What a step costs: a value that can be added and compared. The planner asks nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TypeVar

from convfold.algebra.geometry import Geometry
from convfold.algebra.layout import Layout, Slice
from convfold.algebra.operation import Apply, Concat, Operation, Sum
from convfold.algebra.realisation import Realisation
from convfold.algebra.spatial import Resample, Spatial, Spread
from convfold.plan.machine import DEFAULT, Machine
from convfold.region import Signal

W = TypeVar("W")

#: Estimates whose ratio is less than this are one: multiply-adds are the same on every runtime, bytes and calls not.
NEAR = 4 / 3

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

    ``objective`` "time": the sum over the steps of ``MACs / peak + bytes / bandwidth + overhead``, in attoseconds:
    whole rates, so that a sum of three costs what two sums of two do, to the last digit. Nothing hides behind anything:
    what one runtime overlaps another does not, and fewer multiply-adds are worth something on all of them.
    "macs": multiply-adds first; where they are equal, bytes moved and operations, each worth ``OPERATION`` bytes.
    """

    objective: str = "time"
    machine: Machine = field(default=DEFAULT)

    def step(self, macs: int, moved: int, ops: int = 1, idle: int = 1) -> Cost:
        """One call, or several that go over the data together; its multiply-adds take ``idle`` times as long."""
        if self.objective == "macs":
            return Cost(macs, moved, ops, (macs, moved + OPERATION * ops))
        m = self.machine
        mac, byte, call = round(1e18 / m.peak), round(1e18 / m.bandwidth), round(1e18 * m.overhead)
        return Cost(macs, moved, ops, (0, macs * idle * mac + moved * byte + ops * call))

    def realised(self, how: Realisation, g: Geometry, x: Signal, axis: int) -> Cost:
        """An operator of this geometry on a signal, by the calls of ``how``."""
        return sum((self.step(c.macs, c.moved * x.itemsize, idle=c.idle) for c in how.calls(g, x.shape, axis)), Cost())

    def of(self, step: Operation, xs: Sequence[Signal], y: Signal) -> Cost:
        """One step of a region, from the signals it reads to the one it gives."""
        match step:
            case Apply(operator=operator, axis=axis, how=how):
                assert how is not None
                return self.realised(how, operator.geometry, xs[0], axis)
            case Sum():
                return self.sum(len(xs), y)
            case Concat():
                return self.step(0, 2 * y.bytes)
            case Layout() | Slice():
                return self.view()
            case Spatial(reads=reads):
                return self.move(xs[0], y, reads)
            case Spread():
                return self._spread(step, xs[0], y)
            case Resample():
                return self._resample(step, xs, y)
            case _:
                raise AssertionError(f"no price for {step}")

    def move(self, x: Signal, y: Signal, reads: int = 0) -> Cost:
        """A shuffle, repetition, pad, pool or resize: elements read and written, none multiplied.

        A resize reads several values for each it writes: measured, 0.6, 1.0, 1.5, 5.0 and 7.6 ns an output for nearest,
        linear, bilinear, trilinear and bicubic, where a sum takes 2.0: about half as long as those bytes once each.
        """
        return self.step(0, max(x.bytes + y.bytes, reads * y.bytes // 2))

    def cheapest(self, ways: Iterable[W], cost: Callable[[W], Cost]) -> W:
        """The cheapest; of those a roofline cannot tell from it, the one with fewest multiply-adds."""
        found = list(ways)
        best = min((cost(w) for w in found), key=lambda c: c.rank)
        if self.objective == "macs":
            return min(found, key=lambda w: cost(w).rank)
        near = [w for w in found if cost(w).rank[1] <= NEAR * best.rank[1]]
        return min(near, key=lambda w: (cost(w).macs, cost(w).rank))

    def view(self) -> Cost:
        """A slice, permute or view: no element moved, one operation."""
        return self.step(0, 0)

    def sum(self, terms: int, y: Signal) -> Cost:
        """Adding ``terms`` signals, two at a time."""
        return self.step(0, 3 * (terms - 1) * y.bytes, terms - 1)

    def _resample(self, resample: Resample, xs: Sequence[Signal], y: Signal) -> Cost:
        """Signals laid end to end, then one matrix product."""
        channels = y.shape[1]
        inputs = sum(x.bytes for x in xs)
        batch = prod(y.shape) // max(channels * prod(resample.after), 1)
        matrix = sum(resample.rows()) * prod(resample.after) * y.itemsize
        product = self.step(batch * resample.macs(channels), inputs + matrix + y.bytes)
        return product if len(xs) == 1 else product + self.step(0, 2 * inputs)

    def _spread(self, spread: Spread, x: Signal, y: Signal) -> Cost:
        """Taps laid out in rows, then one matrix product an axis, each writing what the next one reads."""
        channels = y.shape[spread.spatial.axis]
        total = self.step(0, 2 * x.bytes)
        batch = prod(y.shape) // max(channels * prod(spread.after), 1)
        rows = [w.taps * n for w, n in zip(spread.windows, spread.before, strict=True)]
        for i in reversed(range(len(rows))):
            rest = batch * channels * prod(rows[:i]) * prod(spread.after[i + 1 :])
            moved = rest * (rows[i] + spread.after[i]) + rows[i] * spread.after[i]
            total += self.step(rest * rows[i] * spread.after[i], moved * x.itemsize)
        return total
