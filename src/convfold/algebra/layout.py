"""Steps that only say where numbers stand: permutes, views and slices."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TypeVar

from convfold.algebra.operation import VIEW, Move, Shape, T, Work
from convfold.algebra.window import Window
from convfold.ops import Ops

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Layout(Move):
    """A permute (``order``) or a view (``shape``): the same numbers at other places.

    ``carried`` lists the axes that survive whole, as (axis before, axis after); a pointwise operator on one
    commutes with the layout, and only the length of that axis changes. ``symbols`` are a view's shapes before and
    after with free sizes by name, ``shape`` the one after in example numbers.
    """

    carried: tuple[tuple[int, int], ...]
    order: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    symbols: tuple[tuple[Hashable, ...], tuple[Hashable, ...]] = ((), ())
    origin: str | None = field(default=None, compare=False)  # the model's call, which knows free sizes by name, or ""

    @property
    def constants(self) -> bool:
        return True

    @property
    def label(self) -> str:
        return "view"

    @classmethod
    def permute(cls, order: Sequence[int]) -> Layout:
        order = tuple(a % len(order) for a in order)
        return cls(tuple((a, i) for i, a in enumerate(order)), order)

    @classmethod
    def view(cls, before: Sequence[Hashable], after: Sequence[Hashable], shape: Sequence[int]) -> Layout:
        """From a shape to another; lengths may be symbols, ``shape`` is the new one in example numbers.

        An axis survives if it is as long after as before and stands behind as many elements: the same stride. Of axes
        one long there may be several such; none becomes two.
        """
        carried: dict[int, int] = {}  # after: before
        for i, n in enumerate(before):
            for j, m in enumerate(after):
                if j not in carried and n == m and prod(before[:i]) == prod(after[:j]):  # type: ignore[arg-type]
                    carried[j] = i
                    break
        return cls(tuple((i, j) for j, i in carried.items()), None, tuple(shape), (tuple(before), tuple(after)))

    @classmethod
    def own(cls, before: Sequence[Hashable], after: Sequence[Hashable], shape: Sequence[int]) -> Layout:
        """A view that is no call of the model's: −1 in ``shape`` for the one axis that is free, if there is one."""
        return replace(cls.view(before, after, shape), origin="")

    def traced(self, axis: int) -> int | None:
        return next((i for i, j in self.carried if j == axis), None)

    def forward(self, axis: int) -> int | None:
        return next((j for i, j in self.carried if i == axis), None)

    def merged(self, axis: int) -> tuple[int, int, int] | None:
        """Of a view that makes one axis of ``axis`` and its neighbours, all of known lengths: that axis, and how many
        positions those before and those behind it have; None of another."""
        before, after = self.symbols
        i = 0
        for j, n in enumerate(after):
            stop, length = i + 1, before[i] if i < len(before) else None
            while length != n and isinstance(length, int) and isinstance(n, int) and stop < len(before):
                other = before[stop]
                length, stop = length * other if isinstance(other, int) else None, stop + 1
            if length != n:
                return None
            if i <= axis < stop:
                parts = [m for m in before[i:stop] if isinstance(m, int)]
                return (j, prod(parts[: axis - i]), prod(parts[axis - i + 1 :])) if len(parts) == stop - i > 1 else None
            i = stop
        return None

    def joining(self, axis: int, n: int, joined: int, m: int) -> Layout:
        """The view where ``axis``, that it joins with others to ``joined``, has n positions, and that one m."""
        assert self.shape is not None
        before, after = self.symbols
        symbols = (_with(before, axis, n), _with(after, joined, m))
        return replace(self, shape=_with(self.shape, joined, m), symbols=symbols)

    def resized(self, axis: int, n: int) -> Layout:
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

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        yield VIEW if self.order is None else Work(0, 0, "permute", carried=2 * prod(y))

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        if self.order is not None:
            return ops.permute(xs[0], self.order)
        assert self.shape is not None
        return ops.reshape(xs[0], self.shape, self.origin or None)


@dataclass(frozen=True, slots=True)
class Slice(Move):
    """Positions of ``axis`` as Python slices them: ``start``, ``start + step``, … before ``stop``; None: to the end.

    Along any other axis nothing changes. Of channels it is a matrix's rows, of space a window of one tap.
    """

    axis: int
    start: int
    stop: int | None
    step: int = 1

    @property
    def constants(self) -> bool:
        return True

    @property
    def label(self) -> str:
        stop = "" if self.stop is None else self.stop
        return f"slice {self.start}:{stop}" + (f":{self.step}" if self.step > 1 else "")

    def positions(self, n: int) -> range:
        """Of an axis of length n."""
        return range(n)[self.start : self.stop : self.step]

    def window(self, n: int | None) -> Window | None:
        """How it reads an axis of length n, which None says is free; None where that depends on the length."""
        if n is not None:
            at = self.positions(n)
            return Window(1, self.step, lo=-at[0], hi=at[-1] + 1 - n)  # no further than it reads
        if self.start < 0 or (self.stop is not None and self.stop >= 0):
            return None
        return Window(1, self.step, lo=-self.start, hi=self.stop or 0)

    def before(self, view: Layout) -> Select | None:
        """One position, then a view that takes the axis away: a selection; None where it is another view."""
        whole, after = view.symbols
        if view.shape is None or view.order is not None or self.axis >= len(whole) or whole[self.axis] != 1:
            return None
        gone = after == (*whole[: self.axis], *whole[self.axis + 1 :])
        return Select(self.axis, self.start, None) if gone else None

    def traced(self, axis: int) -> int | None:
        return None if axis == self.axis else axis

    forward = traced

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        yield Work(0, 0, "slice", carried=2 * prod(y))

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        return ops.slice(xs[0], self.axis, self.start, self.stop, self.step)


@dataclass(frozen=True, slots=True)
class Select(Move):
    """The position ``index`` of ``axis``, which had ``length`` of them (None: any number) and is gone."""

    axis: int
    index: int
    length: int | None

    @property
    def constants(self) -> bool:
        return True

    @property
    def label(self) -> str:
        return f"select {self.index}"

    @property
    def sliced(self) -> Slice:
        """The same with the axis kept."""
        return Slice(self.axis, self.index, self.index + 1 or None)

    def traced(self, axis: int) -> int | None:
        return axis if axis < self.axis else axis + 1

    def forward(self, axis: int) -> int | None:
        return None if axis == self.axis else axis if axis < self.axis else axis - 1

    def before(self, view: Layout) -> tuple[Slice, ...] | None:
        """This, then a view that puts the axis back: a slice, of one position none; None where it is another view."""
        without, after = view.symbols
        if view.shape is None or after != (*without[: self.axis], 1, *without[self.axis :]):
            return None
        return () if self.length == 1 else (self.sliced,)

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        yield Work(0, 0, "slice", carried=2 * prod(y))

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        return ops.select(xs[0], self.axis, self.index)


def _with(values: tuple[V, ...], i: int, value: V) -> tuple[V, ...]:
    return (*values[:i], value, *values[i + 1 :])
