"""How an operator is computed: by which calls, what each of them multiplies and moves, and how they are written.

One operator has several realisations (a convolution, a transposed one, phases and a shuffle, a product). The plan
chooses one and prices it by its calls; what is written is what was chosen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from torch import Tensor

from convfold.algebra import polyphase
from convfold.algebra.geometry import Geometry
from convfold.algebra.operation import VIEW, Sums, T, Work
from convfold.algebra.window import Window
from convfold.ops import Ops, Weights

if TYPE_CHECKING:
    from convfold.algebra.convolution import Convolution


class Realisation(ABC):
    """A way to compute an operator of a given geometry on channel axis ``axis`` of a signal of a given shape."""

    @abstractmethod
    def work(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Work]:
        """What is called, in order."""

    def lower(self, ops: Ops[T], value: Convolution, axis: int, x: T, rank: int, weights: Weights[T]) -> T:
        """The calls themselves, on a signal of ``rank`` axes."""
        raise AssertionError(f"{self} cannot be written anew")


@dataclass(frozen=True, slots=True)
class OwnCall(Realisation):
    """The model's own call, which moves and adds numbers and multiplies none: a shuffle, repetition, pad or pool.

    Attributes:
        takes: behind the batch, where the call takes another shape than the operator.
        gives: behind the batch, what the operator gives, where the call gives it in another shape.
    """

    takes: tuple[int, ...] = ()
    gives: tuple[int, ...] = ()

    def work(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Work]:
        yield Work(0, prod(shape) + _outputs(g, shape, axis))


@dataclass(frozen=True, slots=True)
class Scale(Realisation):
    """One number a channel: a broadcast multiply, add, or both at once, where they are ``fused``."""

    fused: bool = True

    def work(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Work]:
        if not self.fused and g.period is not None:  # what a model's own two calls would take
            yield Work(0, 2 * prod(shape) + g.c_out, "bias" if axis == len(shape) - 1 else "sum")
        yield Work(0, 2 * prod(shape) + g.numbers, "scale")

    def lower(self, ops: Ops[T], value: Convolution, axis: int, x: T, rank: int, weights: Weights[T]) -> T:
        shape = [-1] + [1] * (rank - 1 - axis)
        if value.bias is None:
            return ops.mul(x, weights("weight", value.kernel.reshape(shape)))
        bias = weights("bias", value.bias.reshape(shape))
        if bool((value.kernel == 1).all()):
            return ops.add(x, bias)
        return ops.muladd(x, weights("weight", value.kernel.reshape(shape)), bias)


@dataclass(frozen=True, slots=True)
class Shift(Scale):
    """A broadcast add, where it is known that nothing is multiplied."""

    def work(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Work]:
        yield Work(0, 2 * prod(shape) + g.c_out, "bias" if axis == len(shape) - 1 else "sum")


@dataclass(frozen=True, slots=True)
class Product(Realisation):
    """The model's own product with a matrix, whichever axis holds the channels."""

    def work(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Work]:
        moved = prod(shape) + _outputs(g, shape, axis) + g.c_out * g.c_in
        yield Work(g.c_out * prod(shape), moved, "product", Sums(1, g.c_in, g.c_out, 1, prod(shape) // max(g.c_in, 1)))

    def lower(self, ops: Ops[T], value: Convolution, axis: int, x: T, rank: int, weights: Weights[T]) -> T:
        return Linear().lower(ops, value, axis, x, rank, weights)


@dataclass(frozen=True, slots=True)
class Linear(Realisation):
    """A linear layer: on the last axis, to which the channels are brought and from which they go back.

    Groups are written out: no framework has a grouped one. ``fused``: the bias is added by the same call.
    """

    fused: bool = True

    def work(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Work]:
        moved = axis != len(shape) - 1
        if moved:
            yield Work(0, 0, "permute", carried=2 * prod(shape))
        yield from Product().work(g, shape, axis)
        if not self.fused and g.period is not None:
            yield Work(0, 2 * _outputs(g, shape, axis) + g.c_out, "bias")
        if moved:
            yield Work(0, 0, "permute", carried=2 * _outputs(g, shape, axis))

    def lower(self, ops: Ops[T], value: Convolution, axis: int, x: T, rank: int, weights: Weights[T]) -> T:
        value = value.ungrouped()
        order = [i for i in range(rank) if i != axis] + [axis]
        moved = axis != rank - 1
        if moved:
            x = ops.permute(x, order)
        bias = None if value.bias is None else weights("bias", value.bias)
        y = ops.linear(x, weights("weight", value.kernel), bias)
        return ops.permute(y, [order.index(i) for i in range(rank)]) if moved else y


@dataclass(frozen=True, slots=True)
class Convolve(Realisation):
    """A convolution; crops come before it, and so do zeros that differ from one end of an axis to the other.

    ``ends``: not those: it takes other zeros at the one end than at the other.
    """

    ends: bool = False

    def work(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Work]:
        g, batch, space = _placed(g, shape, axis)
        grown = yield from _enlarged(space, [pad_arguments(w, self.ends)[1] for w in g.windows], batch * g.c_in)
        out = prod(g.size(space))
        moved = batch * (g.c_in * prod(grown) + g.c_out * out) + g.numbers
        yield Work(batch * g.weights * out, moved, "convolution", sums(g, batch * out))
        yield from _late_bias(g, batch * g.c_out * out, late=g.periodic)

    def lower(self, ops: Ops[T], value: Convolution, axis: int, x: T, rank: int, weights: Weights[T]) -> T:
        value = value.lifted(rank - 1 - axis)
        padding, before = zip(*(pad_arguments(w, self.ends) for w in value.windows), strict=True)
        x = padded(ops, x, before)
        late = value.geometry.periodic
        weight = weights("weight", value.kernel)
        bias = None if value.bias is None or late else weights("bias", value.bias.flatten())
        stride, dilation = [w.stride for w in value.windows], [w.dilation for w in value.windows]
        y = ops.conv(x, weight, bias, stride, list(padding), dilation, value.groups)
        return _add_late(ops, y, value, axis, weights) if late else y


@dataclass(frozen=True, slots=True)
class Transpose(Realisation):
    """A transposed convolution: written whole, then padded or cropped, then strided.

    ``ends``: it crops by itself, at the one end more than at the other.
    """

    ends: bool = False

    def work(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Work]:
        g, batch, space = _placed(g, shape, axis)
        arguments = [transposed_arguments(w, self.ends) for w in g.windows]
        full = [
            (n - 1) * w.upsample + w.reach + 1 - sum(padding) + extra
            for n, w, (padding, extra, _) in zip(space, g.windows, arguments, strict=True)
        ]
        # What is scattered is summed up in a pass of its own.
        moved = batch * (g.c_in * prod(space) + 3 * g.c_out * prod(full)) + g.numbers
        macs = batch * g.weights * prod(space)
        yield Work(macs, moved, "transposed", sums(g, batch * prod(space)), abreast=g.c_out)
        after = [pads for *_, pads in arguments]
        now = yield from _enlarged(full, after, batch * g.c_out)
        for i, w in enumerate(g.windows):
            if w.stride > 1:
                before = prod(now)
                now[i] = -(-now[i] // w.stride)
                yield Work(0, batch * g.c_out * (before + prod(now)))
        out = batch * g.c_out * prod(g.size(space))
        yield from _late_bias(g, out, late=g.periodic or (g.period is not None and adds(after)))

    def lower(self, ops: Ops[T], value: Convolution, axis: int, x: T, rank: int, weights: Weights[T]) -> T:
        windows = value.windows
        padding, extra, after = zip(*(transposed_arguments(w, self.ends) for w in windows), strict=True)
        # The bias goes in last where it is not one number a channel, or where positions are added after the fact.
        late = value.bias is not None and (value.geometry.periodic or adds(after))
        weight = weights("weight", transposed_weight(value.kernel, value.groups))
        bias = None if value.bias is None or late else weights("bias", value.bias.flatten())
        up, dilation = [w.upsample for w in windows], [w.dilation for w in windows]
        y = ops.conv_transpose(x, weight, bias, up, list(padding), list(extra), value.groups, dilation)
        y = padded(ops, y, after)
        for i, w in enumerate(windows):
            if w.stride > 1:
                y = ops.slice(y, axis + 1 + i, 0, None, w.stride)
        return _add_late(ops, y, value, axis, weights) if late else y


@dataclass(frozen=True, slots=True)
class Shuffle(Realisation):
    """All ``rate``² phases of an upsampling by one convolution, then interleaved by a pixel shuffle."""

    rate: int
    ends: bool = False

    def work(self, g: Geometry, shape: Sequence[int], axis: int) -> Iterator[Work]:
        split = polyphase.geometry(g, self.rate)
        yield from Convolve(self.ends).work(split, shape, axis)
        yield Work(0, 2 * prod(shape[:axis]) * split.c_out * prod(split.size(shape[axis + 1 :])))
        for w in g.windows:
            if polyphase.excess(w, self.rate):
                yield VIEW

    def lower(self, ops: Ops[T], value: Convolution, axis: int, x: T, rank: int, weights: Weights[T]) -> T:
        """The periodic bias is a plain one before the shuffle."""
        y = Convolve(self.ends).lower(ops, polyphase.split(value, self.rate), axis, x, rank, weights)
        y = ops.pixel_shuffle(y, self.rate)
        for i, w in enumerate(value.windows):
            if extra := polyphase.excess(w, self.rate):
                y = ops.slice(y, axis + 1 + i, 0, -extra)
        return y


def pad_arguments(w: Window, ends: bool = False) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding of a convolution, and what is left for a pad before it."""
    own = w.symmetric or (ends and min(w.lo, w.hi) >= 0)
    return ((w.lo, w.hi), (0, 0)) if own else ((0, 0), (w.lo, w.hi))


def transposed_arguments(w: Window, ends: bool = False) -> tuple[tuple[int, int], int, tuple[int, int]]:
    """Padding and output_padding of a transposed convolution, and the crop (negative) or pad left for after it."""
    padding, extra = w.reach - w.lo, w.hi - w.lo
    if padding >= 0 and 0 <= extra < (w.upsample if ends else max(w.upsample, w.dilation)):
        return (padding, padding), extra, (0, 0)
    before, behind = w.lo - w.reach, w.hi - w.reach
    crop = max(-before, 0), max(-behind, 0)
    extra = behind if 0 < behind < w.upsample else 0
    left = max(before, 0), max(behind, 0) - extra
    if ends and (not any(left) or sum(crop) <= w.reach):  # something is left to pad, however short the signal
        return crop, extra, left
    return (0, 0), 0, (before, behind)


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


def transposed_weight(kernel: Tensor, groups: int) -> Tensor:
    """(c_out, c_in/groups, *T) → PyTorch's transposed layout (c_in, c_out/groups, *T), taps flipped.

    Its own inverse up to exchanging c_out and c_in.
    """
    flipped = kernel.flip(tuple(range(2, kernel.dim())))
    weight: Tensor = flipped.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return weight


def padded(ops: Ops[T], x: T, pairs: Iterable[tuple[int, int]]) -> T:
    """Zeros added or positions cropped on each of the last axes; added first, for a crop may eat into the zeros."""
    for flat in flat_pads(pairs):
        x = ops.pad(x, flat)
    return x


def _add_late(ops: Ops[T], y: T, value: Convolution, axis: int, weights: Weights[T]) -> T:
    """y + bias[n mod period]: the bias laid out over a size that may only be known at run time."""
    tensor = value.periodic_bias()
    bias = weights("bias", tensor)
    for i, period in enumerate(tensor.shape[1:], start=1):
        if period > 1:
            bias = ops.periodic(bias, i, period, y)
    return ops.add(y, bias)


def sums(g: Geometry, positions: int) -> Sums:
    """Of an operator that is called as it is, its taps at every one of so many positions."""
    return Sums(g.groups, g.c_in // g.groups, g.c_out // g.groups, prod(g.taps), positions)


def _enlarged(space: Sequence[int], pads: Iterable[tuple[int, int]], channels: int) -> Generator[Work, None, list[int]]:
    """Zeros put before and after each axis, then crops; gives the sizes that are left."""
    now = list(space)
    pairs = list(pads)
    for sign in (1, -1):
        change = [sign * sum(max(sign * n, 0) for n in pair) for pair in pairs]
        if any(change):
            before = prod(now)
            now = [n + d for n, d in zip(now, change, strict=True)]
            yield Work(0, channels * (before + prod(now)))
    return now


def _late_bias(g: Geometry, numbers: int, late: bool) -> Iterator[Work]:
    """A bias that goes in last: where it is not one number a channel, or positions are added after the fact."""
    if late and g.period is not None:
        for period in g.period:
            if period > 1:  # laid out over a size that may only be known at run time: an index is made and used
                yield from (VIEW,) * 3
        yield Work(0, 2 * numbers, "sum")


def _placed(g: Geometry, shape: Sequence[int], axis: int) -> tuple[Geometry, int, Sequence[int]]:
    """The geometry with as many space axes as follow the channels, how many signals there are, and their sizes."""
    space = shape[axis + 1 :]
    return g.lifted(len(space)), prod(shape[:axis]), space


def _outputs(g: Geometry, shape: Sequence[int], axis: int) -> int:
    """How many numbers the result has."""
    stop = axis + 1 + g.dims
    return prod(shape[:axis]) * g.c_out * prod(g.size(shape[axis + 1 : stop])) * prod(shape[stop:])
