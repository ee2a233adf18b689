"""The kinds of affine step a region is made of: an operator applied, or signals joined, cut or laid out anew.

Each is a frozen value, callable on tensors. A signal here may have its channel axis anywhere: a linear layer
on tokens (N, L, C) and a 1×1 convolution on maps (N, C, H, W) are the same step.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Protocol

import torch
from torch import Tensor

from convfold.algebra.geometry import Geometry


class Operator(Protocol):
    """What a step applies: a `Convolution`, or the recipe for one."""

    @property
    def geometry(self) -> Geometry: ...

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False, slots=True)
class Apply:
    """An operator on channel axis ``axis``; its D space axes are the D that follow."""

    operator: Operator
    axis: int

    def __call__(self, x: Tensor) -> Tensor:
        dims = self.operator.geometry.dims
        if dims == 0:
            moved = x.movedim(self.axis, -1)
            y = self.operator(moved.reshape(-1, moved.shape[-1]))
            return y.reshape(*moved.shape[:-1], y.shape[-1]).movedim(-1, self.axis)
        y = self.operator(x.reshape(-1, *x.shape[self.axis :]))
        return y.reshape(*x.shape[: self.axis], *y.shape[1:])


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of signals of one shape."""

    def __call__(self, *xs: Tensor) -> Tensor:
        total = xs[0]
        for x in xs[1:]:
            total = total + x
        return total


@dataclass(frozen=True, slots=True)
class Concat:
    """Signals laid end to end along ``axis``."""

    axis: int

    def __call__(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, self.axis)


@dataclass(frozen=True, slots=True)
class Slice:
    """Positions ``start … stop−1`` of ``axis``."""

    axis: int
    start: int
    stop: int

    def __call__(self, x: Tensor) -> Tensor:
        return x.narrow(self.axis, self.start, self.stop - self.start)


@dataclass(frozen=True, slots=True)
class Layout:
    """A permute (``order``) or a view (``shape``): the same numbers at other places.

    ``carried`` lists the axes that survive whole, as (axis before, axis after); a pointwise operator on one
    commutes with the layout, and only the length of that axis changes.
    """

    carried: tuple[tuple[int, int], ...]
    order: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    origin: str | None = field(default=None, compare=False)  # the model's call: it knows free sizes by name

    @classmethod
    def permute(cls, order: Sequence[int]) -> Layout:
        order = tuple(a % len(order) for a in order)
        return cls(tuple((a, i) for i, a in enumerate(order)), order)

    @classmethod
    def view(cls, before: Sequence[Hashable], after: Sequence[Hashable], shape: Sequence[int]) -> Layout:
        """From a shape to another; lengths may be symbols, ``shape`` is the new one in example numbers.

        An axis survives if it is as long after as before and stands behind as many elements: the same stride.
        """
        carried = []
        for i, n in enumerate(before):
            for j, m in enumerate(after):
                if n == m and prod(before[:i]) == prod(after[:j]):  # type: ignore[arg-type]
                    carried.append((i, j))
                    break
        return cls(tuple(carried), None, tuple(shape))

    def traced(self, axis: int) -> int | None:
        """The axis before that becomes ``axis`` after; None if it does not survive whole."""
        return next((i for i, j in self.carried if j == axis), None)

    def forward(self, axis: int) -> int | None:
        return next((j for i, j in self.carried if i == axis), None)

    def resized(self, axis: int, n: int) -> Layout:
        """The same layout where the carried ``axis`` (after) has length n."""
        if self.shape is None:
            return self
        return replace(self, shape=(*self.shape[:axis], n, *self.shape[axis + 1 :]))

    def __call__(self, x: Tensor) -> Tensor:
        if self.order is not None:
            return x.permute(self.order)
        assert self.shape is not None
        return x.reshape(self.shape)


Operation = Apply | Sum | Concat | Slice | Layout
