"""The taps of a convolution behind a resize brought together again, and several signals brought to one grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import permutations
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from convfold.algebra.operation import Move, Operation, Shape, Sums, T, Work
from convfold.algebra.spatial.base import Spatial
from convfold.algebra.window import Window
from convfold.ops import Ops


@dataclass(frozen=True, eq=False)
class Tapped(Move):
    """The taps of a convolution B behind a resize S, brought together: ``B∘S = together∘P``.

    ``B(S x) = Σ_t T_t S P_t x``: P_t is B's tap t as a pointwise map, computed before S, where there are few positions;
    T_t moves by tap t, stride and padding included.

        (N, c·∏taps, *before) → (N, c, *after)
    """

    spatial: Spatial
    windows: tuple[Window, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def constants(self) -> bool:
        return False

    @property
    def label(self) -> str:
        return f"{self.spatial.label} of the taps"

    def traced(self, axis: int) -> int | None:
        """Axes before the channels are carried; the channels are joined tap by tap."""
        return axis if axis < self.spatial.axis else None

    forward = traced


@dataclass(frozen=True, eq=False)
class Spread(Tapped):
    """By a matrix an axis: ``Σ_t T_t S`` is ``[T_0 S … T_k S]``, (after, taps·before), on the taps laid end to end."""

    @cached_property
    def matrices(self) -> tuple[Tensor, ...]:
        """One an axis, (after, taps·before), in float64."""
        assert self.spatial.matrices is not None
        return tuple(
            torch.cat([_reading(w, t, len(s), m) @ s for t in range(w.taps)], dim=1)
            for w, s, m in zip(self.windows, self.spatial.matrices(), self.after, strict=True)
        )

    @property
    def rows(self) -> list[int]:
        """Of each axis, taps times positions."""
        return [w.taps * n for w, n in zip(self.windows, self.before, strict=True)]

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The axes as they are multiplied along, with the fewest multiply-adds; of such orders the last axis first."""
        return min(permutations(reversed(range(len(self.before)))), key=lambda order: sum(self._macs(order)))

    def _macs(self, order: Sequence[int]) -> Iterator[int]:
        """Of each product along an axis, for one channel of one batch item."""
        now = self.rows
        for i in order:
            yield prod(now) * self.after[i]
            now[i] = self.after[i]

    def macs(self, channels: int) -> int:
        """Multiply-adds for one batch item."""
        return channels * sum(self._macs(self.order))

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        """Taps laid out in rows, then one matrix product an axis, each writing what the next one reads."""
        yield Work(0, 2 * prod(xs[0]))
        signals = prod(y) // max(prod(self.after), 1)  # batch items times channels
        for i, macs in zip(self.order, self._macs(self.order), strict=True):
            n, m = self.rows[i], self.after[i]
            rows = signals * macs // max(n * m, 1)
            yield Work(signals * macs, signals * (macs // m + macs // n) + n * m, "product", Sums(1, n, m, 1, rows))

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        """Along the last axis the matrix is on the right; along another one on the left of all axes behind as one."""
        (x,), channels = xs, y[self.spatial.axis]
        taps, dims = [w.taps for w in self.windows], len(self.windows)
        matrices = [ops.constant("resize", m.t() if i == dims - 1 else m) for i, m in enumerate(self.matrices)]
        x = ops.reshape(x, [-1, channels, *taps, *self.before])
        x = ops.permute(x, [0, 1, *(a for i in range(dims) for a in (2 + i, 2 + dims + i))])
        now = self.rows
        x = ops.reshape(x, seen := [-1, channels, *now])
        for i in self.order:
            view = [-1, channels, *now] if i >= dims - 2 else [-1, channels, *now[: i + 1], prod(now[i + 1 :])]
            x = x if view == seen else ops.reshape(x, view)
            x = ops.matmul(x, matrices[i]) if i == dims - 1 else ops.matmul(matrices[i], x)
            now[i] = self.after[i]
            seen = [-1, channels, *now] if i >= dims - 2 else [*view[:-2], now[i], view[-1]]
        return x if seen == [-1, channels, *self.after] else ops.reshape(x, [-1, channels, *self.after])


@dataclass(frozen=True, eq=False)
class Shifts(Tapped):
    """By the model's own resize, whatever the sizes: along one axis after another, where the taps are then added.

    Strides would cut taps at lengths that depend on remainders: there are none.
    """

    @property
    def label(self) -> str:
        return f"{self.spatial.label} of the taps, axis by axis"

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        """Of each axis, the last first: a resize, zeros at the ends, and so many moved parts added.

        Along one axis a resize of small maps takes 7 ns an output, a cubic one 10, of one axis in all 1; those are as
        many bytes as are moved in that time.
        """
        between, numbers, dims = self.between, prod(xs[0]), len(self.windows)
        each = 6 if dims == 1 else 50 if self.spatial.reads >= 4**dims else 36
        for i in reversed(range(dims)):
            w = self.windows[i]
            numbers = numbers // self.before[i] * between[i]
            yield Work(0, each * numbers, self.spatial.called)
            if w.lo or w.hi:
                before, numbers = numbers, numbers // between[i] * (between[i] + w.lo + w.hi)
                yield Work(0, before + numbers)
            if w.taps > 1:
                numbers = numbers // (between[i] + w.lo + w.hi) * self.after[i] // w.taps
                views = 1 + 2 * w.taps
                yield Work(0, 3 * (w.taps - 1) * numbers, "sum", calls=views + w.taps - 1, ops=views + w.taps - 1)

    @property
    def between(self) -> tuple[int, ...]:
        """Behind the resize, before the taps are moved."""
        return tuple(m - w.lo - w.hi + w.reach for w, m in zip(self.windows, self.after, strict=True))

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        (x,), axis, dims = xs, self.spatial.axis, len(self.windows)
        assert self.spatial.origin is not None
        channels = y[axis] * prod(w.taps for w in self.windows)
        for i in reversed(range(dims)):
            w, at = self.windows[i], axis + 1 + i
            alone = self.spatial.alone(i)
            assert alone is not None
            x = ops.along(self.spatial.origin, alone, x, at)
            if w.lo or w.hi:
                x = ops.pad(x, [*[0, 0] * (dims - 1 - i), w.lo, w.hi])
            if w.taps > 1:
                channels //= w.taps
                x = ops.unflatten(x, axis, [channels, w.taps])
                parts = [ops.select(x, axis + 1, t) for t in range(w.taps)]
                cuts = [(w.dilation * t, w.dilation * t - w.reach or None) for t in range(w.taps)]
                parts = [ops.slice(part, at, a, b) for part, (a, b) in zip(parts, cuts, strict=True)]
                x = reduce(ops.add, parts)
        return x


@dataclass(frozen=True, eq=False)
class Resample(Operation):
    """Several signals brought to one grid and added, in one matrix product: ``Σ S_i x_i = [S_1 … S_n] [x_1; …; x_n]``.

    For small maps: a position of the result reads all of theirs.

        (N, c·∏taps_i, *before_i) … → (N, c, *after)
    """

    spreads: tuple[Spread, ...]
    after: tuple[int, ...]
    arity: ClassVar[int | None] = None

    @property
    def label(self) -> str:
        return f"{len(self.spreads)} resized and added"

    @cached_property
    def matrix(self) -> Tensor:
        """(∏after, Σ rows), in float64; a part's rows are tap by tap, position by position, as its signal lies."""
        return torch.cat([self._columns(s) for s in self.spreads], dim=1)

    def _columns(self, s: Spread) -> Tensor:
        dims = len(s.windows)
        whole = reduce(torch.kron, s.matrices)  # columns: tap and position of the first axis, then of the next
        lengths = [n for w, m in zip(s.windows, s.before, strict=True) for n in (w.taps, m)]
        order = [0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2)]
        return whole.reshape(-1, *lengths).permute(order).flatten(1)

    def rows(self) -> list[int]:
        return [prod(w.taps for w in s.windows) * prod(s.before) for s in self.spreads]

    def macs(self, channels: int) -> int:
        """Multiply-adds for one batch item."""
        return channels * sum(self.rows()) * prod(self.after)

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        """Signals laid end to end, then one matrix product."""
        inputs, channels = sum(map(prod, xs)), y[1]
        batch = prod(y) // max(channels * prod(self.after), 1)
        rows, columns = sum(self.rows()), prod(self.after)
        moved = inputs + rows * columns + prod(y)
        yield Work(batch * self.macs(channels), moved, "product", Sums(1, rows, columns, 1, batch * channels))
        if len(xs) > 1:
            yield Work(0, 2 * inputs)

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        parts = [ops.reshape(x, [-1, y[1], rows]) for x, rows in zip(xs, self.rows(), strict=True)]
        long = parts[0] if len(parts) == 1 else ops.concat(parts, 2)
        product = ops.matmul(long, ops.constant("resize", self.matrix.t()))
        return ops.reshape(product, [-1, y[1], *self.after])


def _reading(w: Window, tap: int, n: int, m: int) -> Tensor:
    """T_t: (m, n), one where output k reads input j at this tap: ``u·j = s·k + d·t − lo``."""
    at = torch.arange(m) * w.stride + w.dilation * tap - w.lo
    inside = (at >= 0) & (at % w.upsample == 0) & (at < n * w.upsample)
    out = torch.zeros(m, n, dtype=torch.float64)
    out[inside.nonzero().flatten(), at[inside] // w.upsample] = 1.0
    return out


def always_inside(w: Window, n: int, m: int) -> int | None:
    """A tap that reads one of the n inputs for each of the m outputs; None if there is none."""
    for t in range(w.taps):
        first = w.dilation * t - w.lo
        if w.upsample == 1 and first >= 0 and first + w.stride * (m - 1) < n:
            return t
    return None
