"""What a step costs: a value that can be added and compared. The planner asks nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TypeVar

from convfold.algebra.geometry import Geometry
from convfold.algebra.spatial import Resample, Spread
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

    ``objective`` "time": by a roofline, the sum over the steps of ``max(MACs / peak, bytes / bandwidth) + overhead``,
    in attoseconds: one whole rate each, so that a sum of three costs what two sums of two do, to the last digit.
    "macs": multiply-adds first; where they are equal, bytes moved and operations, each worth ``OPERATION`` bytes.
    """

    objective: str = "time"
    machine: Machine = field(default=DEFAULT)

    def step(self, macs: int, moved: int, ops: int = 1) -> Cost:
        """One call, or several that go over the data together."""
        if self.objective == "macs":
            return Cost(macs, moved, ops, (macs, moved + OPERATION * ops))
        m = self.machine
        mac, byte, call = round(1e18 / m.peak), round(1e18 / m.bandwidth), round(1e18 * m.overhead)
        return Cost(macs, moved, ops, (0, max(macs * mac, moved * byte) + ops * call))

    def operator(self, g: Geometry, x: Signal, axis: int) -> Cost:
        """One convolution on a signal: reads input and weights, writes output.

        Padding that differs from one end of an axis to the other, and cropping, is an operation before it: no
        framework's convolution takes it. Where it upsamples, the outputs are computed phase by phase and interleaved:
        one more pass over the output. So a convolution followed by a shuffle costs what the one transposed convolution
        equal to them costs.
        """
        space = x.space(axis, g.dims)
        positions = prod(x.shape) // max(x.shape[axis] * prod(space), 1)
        out = positions * g.c_out * prod(g.size(space))
        weights = prod(g.kernel_shape) + (g.c_out * prod(g.period) if g.period is not None else 0)
        moved = (prod(x.shape) + out + weights) * x.itemsize
        if g.diagonal:
            return self.step(0, moved)
        # Groups on another axis than a convolution's are written out: no framework has a grouped linear layer.
        dense = g.groups if g.dims == 0 and not (axis == 1 and 3 <= len(x.shape) <= 5) else 1
        cost = self.step(positions * g.macs(space) * dense, moved)
        if not g.upsamples:
            if all(w.symmetric for w in g.windows):
                return cost
            lengths = (n if w.symmetric else n + w.lo + w.hi for w, n in zip(g.windows, space, strict=True))
            return cost + self.step(0, 2 * positions * g.c_in * prod(lengths) * x.itemsize)
        passes = 2 if g.periodic and g.phased is None else 1  # a bias that differs by phase is added by itself
        return cost + self.step(0, 2 * out * passes * x.itemsize, passes)

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

    def copy(self, y: Signal) -> Cost:
        """Laying parts end to end: every element read and written once."""
        return self.step(0, 2 * y.bytes)

    def correct(self, margins: tuple[tuple[int, int], ...], sizes: tuple[int, ...], y: Signal, strips: bool) -> Cost:
        """A ring added: strip by strip, each sliced and written into, or as one map that is read beside the signal."""
        alike = y.bytes // max(prod(sizes), 1)
        if not strips:
            return self.step(0, 3 * y.bytes)
        total, inner = Cost(), list(sizes)
        for i, (lo, hi) in enumerate(margins):
            for width in (lo, hi):
                if width:
                    total += self.step(0, 3 * alike * prod(inner[:i]) * width * prod(inner[i + 1 :]), 2)
            inner[i] -= lo + hi
        return total

    def resample(self, resample: Resample, xs: Sequence[Signal], y: Signal, channels: int) -> Cost:
        """Signals laid end to end, then one matrix product."""
        inputs = sum(x.bytes for x in xs)
        batch = prod(y.shape) // max(channels * prod(resample.after), 1)
        matrix = sum(resample.rows()) * prod(resample.after) * y.itemsize
        product = self.step(batch * resample.macs(channels), inputs + matrix + y.bytes)
        return product if len(xs) == 1 else product + self.step(0, 2 * inputs)

    def spread(self, spread: Spread, x: Signal, y: Signal, channels: int) -> Cost:
        """Taps laid out in rows, then one matrix product an axis, each writing what the next one reads."""
        total = self.step(0, 2 * x.bytes)
        batch = prod(y.shape) // max(channels * prod(spread.after), 1)
        rows = [w.taps * n for w, n in zip(spread.windows, spread.before, strict=True)]
        for i in reversed(range(len(rows))):
            rest = batch * channels * prod(rows[:i]) * prod(spread.after[i + 1 :])
            moved = rest * (rows[i] + spread.after[i]) + rows[i] * spread.after[i]
            total += self.step(rest * rows[i] * spread.after[i], moved * x.itemsize)
        return total
