"""The tensor operations that every value of the algebra is written in: what a framework has to offer.

An operation of the algebra lowers itself once, on an `Ops`. `Eager` computes what it asks for; a frontend writes it
into a graph of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

T = TypeVar("T")

#: Makes a weight: its kind ("weight", "bias", …) and its content.
Weights = Callable[[str, Tensor], T]
Ints = Sequence[int]
#: Of each axis how many zeros at the low end and at the high one.
Ends = Sequence[tuple[int, int]]
#: Of each axis which positions; None: all.
Spans = Sequence[range | None]


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A value, and of each of the last axes at which positions of another it belongs; one position may be for all.

    Spans that are negative are counted from the end of their axis. The axes in ``short`` may have fewer positions than
    their spans, which then are at their ends: no more is taken of the value.
    """

    spans: Spans
    value: T
    short: Ints = ()


class Ops(Protocol[T]):
    """What each does is what ``torch`` calls it; axes are counted from the first."""

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device that is computed in."""

    def constant(self, kind: str, content: Tensor) -> T:
        """Numbers that are no weights."""

    def weights(self, of: Sequence[Any], prefix: str = "") -> Weights[T]:
        """Makes the weights of what some operators of a model have become, each kind of one shape once."""

    def again(self, call: str, operator: Callable[[Tensor], Tensor], x: T, at: int = 0) -> T:
        """A call of the model on another value, its argument ``at``; ``operator`` is what it computes."""

    def along(self, call: str, operator: Callable[[Tensor], Tensor], x: T, axis: int) -> T:
        """A resize of the model along one of its axes only, of another value; ``operator`` is what it computes."""

    def conv(self, x: T, weight: T, bias: T | None, stride: Ints, padding: Ends, dilation: Ints, groups: int) -> T: ...

    def conv_transpose(
        self, x: T, weight: T, bias: T | None, stride: Ints, padding: Ends, extra: Ints, groups: int, dilation: Ints
    ) -> T: ...

    def linear(self, x: T, weight: T, bias: T | None) -> T: ...

    def matmul(self, a: T, b: T) -> T: ...

    def add(self, a: T, b: T) -> T: ...

    def sub(self, a: T, b: T) -> T: ...

    def neg(self, a: T) -> T: ...

    def mul(self, a: T, b: T) -> T: ...

    def muladd(self, a: T, b: T, c: T) -> T:
        """a · b + c"""

    def pad(self, x: T, flat: Ints, mode: str = "constant") -> T:
        """Zeros or copies added, or positions cropped: (lo, hi) of the last axis, then of the one before it."""

    def wrapped(self, x: T, axis: int, lo: int, hi: int) -> T:
        """A circular pad by any number of positions, whatever the length: position i mod n at each place i."""

    def slice(self, x: T, axis: int, start: int, stop: int | None, step: int = 1) -> T: ...

    def select(self, x: T, axis: int, index: int) -> T: ...

    def end(self, x: T, axis: int, n: int, step: int = 1, high: bool = True) -> T:
        """The last n positions, or all there are, from a multiple of ``step`` on; or the first."""

    def filled(self, x: T, axis: int, rank: int, n: int, high: bool) -> T:
        """The first or last n positions of an axis, of ``rank`` axes; where there are fewer, zeros beyond them."""

    def reshape(self, x: T, shape: Ints, call: str | None = None) -> T:
        """``call``: the model's own, whose free sizes it has."""

    def expand(self, x: T, shape: Ints) -> T:
        """Axes one long as long as ``shape`` says, which has −1 for those that stay."""

    def unflatten(self, x: T, axis: int, sizes: Ints) -> T:
        """One axis as several; other sizes may be free."""

    def flatten(self, x: T, axis: int) -> T:
        """An axis and the next as one."""

    def permute(self, x: T, order: Ints) -> T: ...

    def concat(self, xs: Sequence[T], axis: int) -> T: ...

    def split(self, x: T, sizes: Ints, axis: int) -> Sequence[T]: ...

    def pixel_shuffle(self, x: T, rate: int) -> T: ...

    def ones_like(self, x: T) -> T: ...

    def added_to(self, y: T, axis: int, parts: Sequence[Part[T]]) -> T:
        """``y``, which nothing else reads, with every part added to it where it belongs, from ``axis`` on."""

    def put_into(self, y: T, axis: int, n: int, high: bool, part: T) -> T:
        """``y``, which nothing else reads, with its first or last n positions replaced."""

    def periodic(self, values: T, axis: int, period: int, y: T) -> T:
        """``values``, whose ``axis`` is one period long, laid out over the length of the axis behind it of ``y``."""


@dataclass(frozen=True, eq=False, slots=True)
class Eager:
    """Computes each as it is asked for, in the type and on the device of ``like``; weights keep their history."""

    like: Tensor

    def constant(self, kind: str, content: Tensor) -> Tensor:
        return content.to(self.like.device, self.like.dtype)

    def weights(self, of: Sequence[Any] = (), prefix: str = "") -> Weights[Tensor]:
        return self.constant

    def again(self, call: str, operator: Callable[[Tensor], Tensor], x: Tensor, at: int = 0) -> Tensor:
        return operator(x)

    def along(self, call: str, operator: Callable[[Tensor], Tensor], x: Tensor, axis: int) -> Tensor:
        return operator(x)

    def conv(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Ints,
        padding: Ends,
        dilation: Ints,
        groups: int,
    ) -> Tensor:
        f: Any = (F.conv1d, F.conv2d, F.conv3d)[len(stride) - 1]
        if any(lo != hi for lo, hi in padding):
            x, padding = F.pad(x, [n for pair in reversed(padding) for n in pair]), [(0, 0)] * len(padding)
        return f(x, weight, bias, tuple(stride), tuple(lo for lo, _ in padding), tuple(dilation), groups)  # type: ignore[no-any-return]

    def conv_transpose(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Ints,
        padding: Ends,
        extra: Ints,
        groups: int,
        dilation: Ints,
    ) -> Tensor:
        f: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(stride) - 1]
        even = all(lo == hi for lo, hi in padding)
        own = tuple(lo if even else 0 for lo, _ in padding)
        y: Tensor = f(x, weight, bias, tuple(stride), own, tuple(extra), groups, tuple(dilation))
        return y if even else F.pad(y, [-n for pair in reversed(padding) for n in pair])

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def sub(self, a: Tensor, b: Tensor) -> Tensor:
        return a - b

    def neg(self, a: Tensor) -> Tensor:
        return -a

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def muladd(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return torch.addcmul(c, a, b)

    def pad(self, x: Tensor, flat: Ints, mode: str = "constant") -> Tensor:
        return F.pad(x, list(flat), mode)

    def wrapped(self, x: Tensor, axis: int, lo: int, hi: int) -> Tensor:
        n = x.shape[axis]
        return x.index_select(axis, torch.arange(-lo, n + hi, device=x.device) % n)

    def slice(self, x: Tensor, axis: int, start: int, stop: int | None, step: int = 1) -> Tensor:
        return x[(slice(None),) * axis + (slice(start, stop, step),)]

    def select(self, x: Tensor, axis: int, index: int) -> Tensor:
        return x.select(axis, index)

    def end(self, x: Tensor, axis: int, n: int, step: int = 1, high: bool = True) -> Tensor:
        return end(x, axis, n, step, high)

    def filled(self, x: Tensor, axis: int, rank: int, n: int, high: bool) -> Tensor:
        x = end(x, axis, n, high=high)
        more = n - x.shape[axis]
        return F.pad(x, [0, 0] * (rank - 1 - axis) + ([more, 0] if high else [0, more]))

    def reshape(self, x: Tensor, shape: Ints, call: str | None = None) -> Tensor:
        return x.reshape(tuple(shape))

    def expand(self, x: Tensor, shape: Ints) -> Tensor:
        return x.expand(list(shape))

    def unflatten(self, x: Tensor, axis: int, sizes: Ints) -> Tensor:
        y: Tensor = x.unflatten(axis, tuple(sizes))
        return y

    def flatten(self, x: Tensor, axis: int) -> Tensor:
        return x.flatten(axis, axis + 1)

    def permute(self, x: Tensor, order: Ints) -> Tensor:
        return x.permute(tuple(order))

    def concat(self, xs: Sequence[Tensor], axis: int) -> Tensor:
        return torch.cat(list(xs), axis)

    def split(self, x: Tensor, sizes: Ints, axis: int) -> Sequence[Tensor]:
        return x.split(list(sizes), axis)  # type: ignore[no-any-return]

    def pixel_shuffle(self, x: Tensor, rate: int) -> Tensor:
        return F.pixel_shuffle(x, rate)

    def ones_like(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)

    def added_to(self, y: Tensor, axis: int, parts: Sequence[Part[Tensor]]) -> Tensor:
        y = y.clone()
        for part in parts:
            value = part.value
            for i in part.short:
                value = end(value, i, y.shape[i], high=is_high(part.spans, i - axis))
            places = (slice(None) if r is None else slice(r.start, r.stop or None) for r in part.spans)
            y[(slice(None),) * axis + tuple(places)] += value
        return y

    def put_into(self, y: Tensor, axis: int, n: int, high: bool, part: Tensor) -> Tensor:
        y = y.clone()
        end(y, axis, n, high=high).copy_(part)
        return y

    def periodic(self, values: Tensor, axis: int, period: int, y: Tensor) -> Tensor:
        return values.index_select(axis, torch.arange(y.shape[axis + 1], device=y.device) % period)


def is_high(spans: Spans, i: int) -> bool:
    """Is a span at the high end of its axis?"""
    span = spans[i]
    return span is not None and span.start < 0


def end(x: Tensor, axis: int, n: int, step: int = 1, high: bool = True) -> Tensor:
    """The last n positions, or all there are, from a multiple of ``step`` on; or the first n."""
    first = 0 if not high else -n if step == 1 else torch.sym_max(x.shape[axis] - n, 0) // step * step
    return x[(slice(None),) * axis + (slice(first, None if high else n),)]
