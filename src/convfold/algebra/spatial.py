"""Maps of the space axes that treat all channels alike: resizes, pools, pads, flips, means."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from convfold.algebra.window import Window
from convfold.errors import NotFoldable

if TYPE_CHECKING:
    from convfold.algebra.operation import Operator


@dataclass(frozen=True, slots=True)
class Spatial:
    """A linear map ``S`` along some axes, the same for every position of the others.

    A pointwise map P of channels commutes with it: ``P∘S = S∘P``; its bias too if ``S`` preserves constants, so P may
    be computed wherever there are fewest positions.

    Attributes:
        target, name, arguments: the call that computes it, its first parameter, and the others at the example's sizes.
        sizes: lengths of the axes it acts on, before and after, free ones by name: two maps are one if all this is.
        carried: the axes it does not act on, as (axis before, axis after).
        constants: does a constant in every channel stay that constant?
        convolution: the same map as a depthwise convolution on channel axis ``axis``, where it is one: it composes.
        matrices: one a space axis, (after, before), whose Kronecker product it is; None where it is none, or sizes are
            free.
        reads: how many values it reads for each it writes; 0: each of its inputs once.
        wraps: of each space axis the (lo, hi) that a circular pad adds: it may go before a convolution.
        reason: why it is no convolution, where it looks like one.
    """

    target: Callable[..., Tensor]
    name: str
    arguments: tuple[tuple[str, Any], ...]
    sizes: tuple[tuple[Hashable, ...], tuple[Hashable, ...]]
    carried: tuple[tuple[int, int], ...]
    constants: bool
    axis: int
    convolution: Operator | None = field(default=None, compare=False)
    matrices: Callable[[], tuple[Tensor, ...]] | None = field(default=None, compare=False)
    reads: int = 0
    wraps: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    reason: NotFoldable | None = field(default=None, compare=False)
    origin: str | None = field(default=None, compare=False)  # the model's call: it knows free sizes by name

    def traced(self, axis: int) -> int | None:
        """The axis before that becomes ``axis`` after; None for those it acts on."""
        return next((i for i, j in self.carried if j == axis), None)

    def forward(self, axis: int) -> int | None:
        return next((j for i, j in self.carried if i == axis), None)

    def resized(self, axis: int, n: int) -> Spatial:
        """The same map where the carried ``axis`` has length n."""
        return self

    def __call__(self, x: Tensor) -> Tensor:
        return self.target(**{self.name: x, **dict(self.arguments)})


@dataclass(frozen=True, eq=False)
class Spread:
    """The taps of a convolution B behind a resize S, brought together: ``B∘S = spread∘P``.

    ``B(S x) = Σ_t T_t S P_t x``: P_t is B's tap t as a pointwise map, computed before S, where there are few positions;
    T_t moves by tap t, stride and padding included. Along one axis ``Σ_t T_t S`` is one matrix ``[T_0 S … T_k S]``,
    (after, taps·before); it acts on the taps' results laid end to end.

        (N, c·∏taps, *before) → (N, c, *after)
    """

    spatial: Spatial
    windows: tuple[Window, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    constants = False

    def traced(self, axis: int) -> int | None:
        """Axes before the channels are carried; the channels are joined tap by tap."""
        return axis if axis < self.spatial.axis else None

    forward = traced

    def resized(self, axis: int, n: int) -> Spread:
        return self

    @cached_property
    def matrices(self) -> tuple[Tensor, ...]:
        """One an axis, (after, taps·before), in float64."""
        assert self.spatial.matrices is not None
        return tuple(
            torch.cat([_reading(w, t, len(s), m) @ s for t in range(w.taps)], dim=1)
            for w, s, m in zip(self.windows, self.spatial.matrices(), self.after, strict=True)
        )

    def macs(self, channels: int) -> int:
        """Multiply-adds for one batch item, last axis first."""
        rows = [w.taps * n for w, n in zip(self.windows, self.before, strict=True)]
        return sum(channels * prod(rows[: i + 1]) * prod(self.after[i:]) for i in range(len(rows)))

    def apply(self, x: Any, channels: int, matrices: Sequence[Any], reshape: Any, permute: Any, matmul: Any) -> Any:
        """The steps, with whatever computes them: the last axis first, for its matrix then works on long rows."""
        taps, dims = [w.taps for w in self.windows], len(self.windows)
        x = reshape(x, [-1, channels, *taps, *self.before])
        x = permute(x, [0, 1, *(a for i in range(dims) for a in (2 + i, 2 + dims + i))])
        rows = [t * n for t, n in zip(taps, self.before, strict=True)]
        x = reshape(x, [-1, channels, *rows])
        for i in reversed(range(dims)):
            if i == dims - 1:
                x = matmul(x, matrices[i], last=True)
            else:
                x = reshape(x, [-1, channels, *rows[: i + 1], prod(self.after[i + 1 :])])
                x = matmul(x, matrices[i], last=False)
        return reshape(x, [-1, channels, *self.after]) if dims > 2 else x

    def __call__(self, x: Tensor) -> Tensor:
        channels = x.shape[1] // prod(w.taps for w in self.windows)
        matrices = [m.to(x.dtype).to(x.device) for m in self.matrices]

        def product(a: Tensor, m: Tensor, last: bool) -> Tensor:
            return a @ m.t() if last else m @ a

        y: Tensor = self.apply(x, channels, matrices, Tensor.reshape, Tensor.permute, product)
        return y


@dataclass(frozen=True, eq=False)
class Resample:
    """Several signals brought to one grid and added, in one matrix product: ``Σ S_i x_i = [S_1 … S_n] [x_1; …; x_n]``.

    For small maps: a position of the result reads all of theirs.

        (N, c·∏taps_i, *before_i) … → (N, c, *after)
    """

    spreads: tuple[Spread, ...]
    after: tuple[int, ...]

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

    def __call__(self, *xs: Tensor) -> Tensor:
        channels = xs[0].shape[1] * prod(xs[0].shape[2:]) // self.rows()[0]
        long = torch.cat([x.reshape(len(x), channels, -1) for x in xs], dim=2)
        y: Tensor = (long @ self.matrix.to(long).t()).reshape(len(long), channels, *self.after)
        return y


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
