"""What a step costs: a value that can be added and compared. The planner asks nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from convfold.algebra.geometry import Geometry
from convfold.region import Signal

#: Bytes of traffic that one operation more must save. Measured on a concat before a convolution against two
#: convolutions and a sum: below some megabytes the smaller calls lose more than the copy costs.
OPERATION = 2 << 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Multiply-adds first; where they are equal, bytes moved and operations, each worth ``OPERATION`` bytes.

    Multiply-adds are those of convolutions and matrix products, as torch counts them. The scale and shift of a batch
    norm, like a sum, costs bytes and an operation.
    """

    macs: int = 0
    bytes: int = 0
    ops: int = 0

    @property
    def _key(self) -> tuple[int, int]:
        return self.macs, self.bytes + OPERATION * self.ops

    def __lt__(self, other: Cost) -> bool:
        return self._key < other._key

    def __le__(self, other: Cost) -> bool:
        return self._key <= other._key

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.bytes + other.bytes, self.ops + other.ops)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.macs - other.macs, self.bytes - other.bytes, self.ops - other.ops)


def operator_cost(g: Geometry, x: Signal, axis: int) -> Cost:
    """One convolution on a signal: reads input and weights, writes output.

    Padding that differs from one end of an axis to the other, and cropping, is an operation before it: no framework's
    convolution takes it. Where it upsamples, the outputs are computed phase by phase and interleaved: one more pass
    over the output. So a convolution followed by a shuffle costs what the one transposed convolution equal to them
    costs.
    """
    space = x.space(axis, g.dims)
    positions = prod(x.shape) // max(x.shape[axis] * prod(space), 1)
    out = positions * g.c_out * prod(g.size(space))
    weights = prod(g.kernel_shape) + (g.c_out * prod(g.period) if g.period is not None else 0)
    moved = prod(x.shape) + out + weights
    if g.diagonal:
        return Cost(0, moved * x.itemsize, 1)
    if not g.upsamples:
        uneven = not all(w.symmetric for w in g.windows)
        lengths = (n if w.symmetric else n + w.lo + w.hi for w, n in zip(g.windows, space, strict=True))
        padded = positions * g.c_in * prod(lengths) if uneven else 0
        return Cost(positions * g.macs(space), (moved + 2 * padded) * x.itemsize, 1 + uneven)
    passes = 2 if g.periodic and g.phased is None else 1  # a bias that differs from phase to phase is added by itself
    return Cost(positions * g.macs(space), (moved + 2 * out * passes) * x.itemsize, 1 + passes)


def move_cost(g: Geometry, x: Signal, axis: int) -> Cost:
    """A shuffle, repetition, pad, pool or permutation of channels: elements read and written, none multiplied."""
    space = x.space(axis, g.dims)
    out = prod(x.shape) // max(x.shape[axis] * prod(space), 1) * g.c_out * prod(g.size(space))
    return Cost(0, (prod(x.shape) + out) * x.itemsize, 1)


def sum_cost(terms: int, y: Signal) -> Cost:
    """Adding ``terms`` signals, two at a time."""
    return Cost(0, 3 * (terms - 1) * y.bytes, terms - 1)


def copy_cost(y: Signal) -> Cost:
    """Laying parts end to end: every element read and written once."""
    return Cost(0, 2 * y.bytes, 1)


def view_cost() -> Cost:
    """A slice, permute or view: no element moved, one operation."""
    return Cost(0, 0, 1)
