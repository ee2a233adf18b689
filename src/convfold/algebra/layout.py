"""Steps that only say where numbers stand: permutes, views and slices."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Layout:
    """A permute (``order``) or a view (``shape``): the same numbers at other places.

    ``carried`` lists the axes that survive whole, as (axis before, axis after); a pointwise operator on one
    commutes with the layout, and only the length of that axis changes. ``symbols`` are a view's shapes before and
    after with free sizes by name, ``shape`` the one after in example numbers.
    """

    carried: tuple[tuple[int, int], ...]
    order: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    symbols: tuple[tuple[Hashable, ...], tuple[Hashable, ...]] = ((), ())
    origin: str | None = field(default=None, compare=False)  # the model's call: it knows free sizes by name

    #: A constant in every channel stays that constant.
    constants = True

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
        return cls(tuple(carried), None, tuple(shape), (tuple(before), tuple(after)))

    def traced(self, axis: int) -> int | None:
        """The axis before that becomes ``axis`` after; None if it does not survive whole."""
        return next((i for i, j in self.carried if j == axis), None)

    def forward(self, axis: int) -> int | None:
        return next((j for i, j in self.carried if i == axis), None)

    def resized(self, axis: int, n: int) -> Layout:
        """The same layout where the carried ``axis`` (after) has length n."""
        if self.shape is None:
            return self
        i = self.traced(axis)
        assert i is not None
        before, after = self.symbols
        symbols = (_with(before, i, n), _with(after, axis, n))
        return replace(self, shape=_with(self.shape, axis, n), symbols=symbols)

    def after(self, inner: Layout) -> tuple[Layout, ...] | None:
        """inner, then this, in fewer steps: permutes compose, a view back undoes a view; None where neither holds."""
        if self.order is not None and inner.order is not None:
            order = tuple(inner.order[i] for i in self.order)
            return () if order == tuple(sorted(order)) else (Layout.permute(order),)
        if self.shape is not None and inner.shape is not None and self.symbols[1] == inner.symbols[0]:
            return ()
        return None

    def __call__(self, x: Tensor) -> Tensor:
        if self.order is not None:
            return x.permute(self.order)
        assert self.shape is not None
        return x.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Slice:
    """Positions ``start … stop−1`` of ``axis``; along any other axis nothing changes."""

    axis: int
    start: int
    stop: int

    constants = True

    def traced(self, axis: int) -> int | None:
        return None if axis == self.axis else axis

    forward = traced

    def resized(self, axis: int, n: int) -> Slice:
        return self

    def __call__(self, x: Tensor) -> Tensor:
        return x.narrow(self.axis, self.start, self.stop - self.start)


def _with(values: tuple[T, ...], i: int, value: T) -> tuple[T, ...]:
    return (*values[:i], value, *values[i + 1 :])
