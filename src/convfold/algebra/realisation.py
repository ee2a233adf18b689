"""How an operator is computed: by which calls, and what each of them multiplies and moves.

One operator has several realisations (a convolution, a transposed one, phases and a shuffle, a product). The plan
chooses one and prices it by its calls; what is written is what was chosen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from convfold.algebra import phases
from convfold.algebra.geometry import Geometry
from convfold.algebra.window import Window

#: Output channels that are computed at once.
LANES = 16


class Call(NamedTuple):
    """One call of a framework: multiply-adds, as torch counts them, and how many numbers it reads and writes.

    ``idle``: how many times as long its multiply-adds take as others, since some lanes compute nothing.
    """

    macs: int
    moved: int
    idle: int = 1


class Realisation(ABC):
    """A way to compute an operator of a given geometry on channel axis ``axis`` of a signal of a given shape."""

    @abstractmethod
    def calls(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Call]:
        """What is called, in order."""


@dataclass(frozen=True, slots=True)
class OwnCall(Realisation):
    """The model's own call, which moves and adds numbers and multiplies none: a shuffle, repetition, pad or pool."""

    def calls(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Call]:
        yield Call(0, prod(shape) + _outputs(g, shape, axis))


@dataclass(frozen=True, slots=True)
class Scale(Realisation):
    """One number a channel: a broadcast multiply, add, or both at once."""

    def calls(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Call]:
        yield Call(0, 2 * prod(shape) + g.numbers)


@dataclass(frozen=True, slots=True)
class Product(Realisation):
    """The model's own product with a matrix, whichever axis holds the channels."""

    def calls(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Call]:
        yield Call(g.c_out * prod(shape), prod(shape) + _outputs(g, shape, axis) + g.c_out * g.c_in)


@dataclass(frozen=True, slots=True)
class Linear(Realisation):
    """A linear layer: on the last axis, to which the channels are brought and from which they go back.

    Groups are written out: no framework has a grouped one.
    """

    def calls(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Call]:
        views = () if axis == len(shape) - 1 else (Call(0, 0),)
        yield from views
        yield from Product().calls(g, shape, axis)
        yield from views


@dataclass(frozen=True, slots=True)
class Convolve(Realisation):
    """A convolution; zeros that differ from one end of an axis to the other, and crops, come before it."""

    def calls(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Call]:
        g, batch, space = _placed(g, shape, axis)
        padded = yield from _padded(space, [pad_arguments(w)[1] for w in g.windows], batch * g.c_in)
        out = prod(g.size(space))
        yield Call(batch * g.weights * out, batch * (g.c_in * prod(padded) + g.c_out * out) + g.numbers)
        yield from _late_bias(g, batch * g.c_out * out, late=g.periodic)


@dataclass(frozen=True, slots=True)
class Transpose(Realisation):
    """A transposed convolution: written whole, then padded or cropped, then strided.

    Measured: 64→3 with 18×18 taps takes 4.5 times as long as its 5×5 phases, which multiply 1.23 times as much; one to
    16 channels or more takes as long as its multiply-adds say.
    """

    def calls(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Call]:
        g, batch, space = _placed(g, shape, axis)
        arguments = [transposed_arguments(w) for w in g.windows]
        full = [
            (n - 1) * w.upsample + w.reach + 1 - 2 * padding + extra
            for n, w, (padding, extra, _) in zip(space, g.windows, arguments, strict=True)
        ]
        # What is scattered is summed up in a pass of its own.
        moved = batch * (g.c_in * prod(space) + 3 * g.c_out * prod(full)) + g.numbers
        yield Call(batch * g.weights * prod(space), moved, -(-LANES // g.c_out) if g.c_out else 1)
        after = [pads for *_, pads in arguments]
        yield from _padded(full, after, batch * g.c_out)
        for w in g.windows:
            if w.stride > 1:
                yield Call(0, 0)
        out = batch * g.c_out * prod(g.size(space))
        yield from _late_bias(g, out, late=g.periodic or (g.period is not None and adds(after)))


@dataclass(frozen=True, slots=True)
class Shuffle(Realisation):
    """All ``rate``² phases of an upsampling by one convolution, then interleaved by a pixel shuffle."""

    rate: int

    def calls(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Call]:
        split = phases.geometry(g, self.rate)
        yield from Convolve().calls(split, shape, axis)
        yield Call(0, 2 * prod(shape[:axis]) * split.c_out * prod(split.size(shape[axis + 1 :])))
        for w in g.windows:
            if phases.excess(w, self.rate):
                yield Call(0, 0)


def pad_arguments(w: Window) -> tuple[int, tuple[int, int]]:
    """Padding of a convolution, and what is left for a pad before it."""
    return (w.lo, (0, 0)) if w.symmetric else (0, (w.lo, w.hi))


def transposed_arguments(w: Window) -> tuple[int, int, tuple[int, int]]:
    """Padding and output_padding of a transposed convolution, and the crop (negative) or pad left for after it."""
    padding, extra = w.reach - w.lo, w.hi - w.lo
    if padding >= 0 and 0 <= extra < max(w.upsample, w.dilation):
        return padding, extra, (0, 0)
    return 0, 0, (w.lo - w.reach, w.hi - w.reach)


def flat_pads(pads: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """The pads as frameworks take them, last axis first: zeros, then crops, which may eat into the zeros."""
    pairs = list(pads)
    for sign in (1, -1):
        flat = [sign * max(sign * n, 0) for pair in reversed(pairs) for n in pair]
        if any(flat):
            yield flat


def adds(pads: Iterable[tuple[int, int]]) -> bool:
    """Is any position added?"""
    return any(n > 0 for pair in pads for n in pair)


def _padded(space: Sequence[int], pads: Iterable[tuple[int, int]], channels: int) -> Generator[Call, None, list[int]]:
    """Zeros put before and after each axis, then crops; gives the sizes that are left."""
    now = list(space)
    pairs = list(pads)
    for sign in (1, -1):
        change = [sign * sum(max(sign * n, 0) for n in pair) for pair in pairs]
        if any(change):
            before = prod(now)
            now = [n + d for n, d in zip(now, change, strict=True)]
            yield Call(0, channels * (before + prod(now)))
    return now


def _late_bias(g: Geometry, numbers: int, late: bool) -> Iterator[Call]:
    """A bias that goes in last: where it is not one number a channel, or positions are added after the fact."""
    if late and g.period is not None:
        for period in g.period:
            if period > 1:  # laid out over a size that may only be known at run time: an index is made and used
                yield from (Call(0, 0),) * 3
        yield Call(0, 2 * numbers)


def _placed(g: Geometry, shape: Sequence[int], axis: int) -> tuple[Geometry, int, Sequence[int]]:
    """The geometry with as many space axes as follow the channels, how many signals there are, and their sizes."""
    space = shape[axis + 1 :]
    return g.lifted(len(space)), prod(shape[:axis]), space


def _outputs(g: Geometry, shape: Sequence[int], axis: int) -> int:
    """How many numbers the result has."""
    stop = axis + 1 + g.dims
    return prod(shape[:axis]) * g.c_out * prod(g.size(shape[axis + 1 : stop])) * prod(shape[stop:])
