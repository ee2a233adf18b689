"""A convolution, applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from convfold.algebra.geometry import Geometry
from convfold.algebra.operation import Operation, Operator, Shape, T, Work
from convfold.algebra.realisation import OwnCall, Realisation
from convfold.ops import Ops


@dataclass(frozen=True, eq=False, slots=True)
class Apply(Operation):
    """An operator on channel axis ``axis``; its D space axes are the D that follow.

    ``how`` it is computed; None: that is not decided yet.
    """

    operator: Operator
    axis: int
    how: Realisation | None = None

    @property
    def label(self) -> str:
        if isinstance(self.how, OwnCall) and self.operator.own_call is not None:
            return self.operator.own_call.rstrip("_0123456789").replace("_", " ")
        return named(self.operator.geometry)

    @property
    def kind(self) -> str:
        g = self.operator.geometry
        if g.diagonal:
            return "scale"
        return "transposed convolution" if g.upsamples else "convolution" if g.dims else "linear"

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        assert self.how is not None
        return iter(_worked(self.how, self.operator.geometry, tuple(xs[0]), self.axis))

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        (x,) = xs
        if isinstance(self.how, OwnCall):
            taken = ops.reshape(x, (-1, *self.how.takes)) if self.how.takes else x
            # What it computes, it computes of the value as it was; a graph only makes the call.
            given = ops.again(self.operator.own_call or "", lambda _: self.at_axis(x), taken)  # type: ignore[arg-type]
            return ops.reshape(given, (-1, *self.how.gives)) if self.how.gives else given
        assert self.how is not None
        value = self.operator.value.to(ops.like)
        return self.how.lower(ops, value, self.axis, x, len(y), ops.weights([self.operator]))

    def forget(self) -> None:
        self.operator.forget()

    def at_axis(self, x: Tensor) -> Tensor:
        """Computed by definition, wherever the channels are."""
        if self.operator.geometry.dims:
            y = self.operator(x.reshape(-1, *x.shape[self.axis :]))
            return y.reshape(*x.shape[: self.axis], *y.shape[1:])
        moved = x.movedim(self.axis, -1)
        y = self.operator(moved.reshape(-1, moved.shape[-1]))
        return y.reshape(*moved.shape[:-1], y.shape[-1]).movedim(-1, self.axis)


@lru_cache(1 << 12)
def _worked(how: Realisation, g: Geometry, shape: tuple[int, ...], axis: int) -> tuple[Work, ...]:
    """Asked for as a step is priced, counted, drawn and reported; networks repeat their blocks."""
    return tuple(how.work(g, shape, axis))


@lru_cache(1 << 10)
def named(g: Geometry) -> str:
    """What an operator of this geometry is called."""
    if g.diagonal:
        return "scale"
    taps = "×".join(map(str, g.taps))
    rate = max((w.upsample for w in g.windows), default=1)
    stride = max((w.stride for w in g.windows), default=1)
    name = "linear" if g.dims == 0 else f"{taps} transposed convolution" if rate > 1 else f"{taps} convolution"
    return f"{name} {g.c_in}→{g.c_out}{f' ×{rate}' if rate > 1 else f' /{stride}' if stride > 1 else ''}"
