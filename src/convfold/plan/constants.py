"""Constants are values: what an affine step makes of one is one, and is computed once, before the model ever runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from convfold.algebra.apply import Apply
from convfold.algebra.joins import Sum
from convfold.algebra.numbers import has_numbers
from convfold.algebra.operation import VIEW, Move, Operation, Shape, T, Work
from convfold.errors import NotFoldable
from convfold.ops import Eager, Ops
from convfold.plan.along import Along
from convfold.region import Signal


@dataclass(frozen=True, eq=False)
class Known:
    """A signal that does not depend on any input: the model's own, by ``name``, or what steps make of others.

    Along the axes ``alike`` it is the same everywhere, those whose length is free among them: it is computed at the
    example's length, and written one long.
    """

    signal: Signal
    name: str | None = None
    content: Callable[[], Tensor] | None = None  # of the model's own; it broadcasts to the signal
    alike: frozenset[int] = frozenset()
    source: str = ""  # the path of the module that the model's own belongs to
    operation: Operation | None = None
    inputs: tuple[Known, ...] = ()
    composed: bool = False  # the content is computed of kernels, and not all zeros: it is not to be looked at

    @cached_property
    def value(self) -> Tensor:
        """At the example's shape, in float64."""
        if self.content is not None:
            return self.content().detach().double().expand(self.signal.shape)
        assert self.operation is not None
        xs = [x.value for x in self.inputs]
        with torch.no_grad():
            if isinstance(self.operation, Apply):
                return self.operation.at_axis(xs[0])
            return self.operation.lower(Eager(xs[0]), xs, self.signal.shape)

    @cached_property
    def zero(self) -> bool:
        """Is it known to be nothing but zeros?"""
        if self.content is not None:
            return not self.composed and is_zero(self.content)
        own = isinstance(self.operation, Apply) and self.operation.operator.geometry.period is not None
        return not own and all(x.zero for x in self.inputs)

    def written(self, added: bool) -> Tensor:
        """As it is written; one that is ``added`` to another broadcasts."""
        value = self.value
        for axis in self.alike if added else self.signal.free:
            value = value.narrow(axis, 0, 1)
        return value

    @property
    def given(self) -> tuple[()]:
        """It has no kernel."""
        return ()

    @property
    def sources(self) -> Iterator[str]:
        """Paths of the modules that its numbers come from."""
        for x in self.inputs:
            yield from x.sources
        if isinstance(self.operation, Apply):
            yield from getattr(self.operation.operator, "sources", ())
        if self.source:
            yield self.source

    def forget(self) -> None:
        """Let go of numbers that have been used."""
        self.__dict__.pop("value", None)
        if self.operation is not None:
            self.operation.forget()
        for x in self.inputs:
            x.forget()

    def broadcast(self, y: Signal) -> Known:
        """One of the model's own, as what it is added to has it."""
        if self.signal == y or self.content is None:
            return self
        new = len(y.shape) - len(self.signal.shape)
        lengths = (*(1,) * new, *self.signal.shape)
        alike = frozenset(i for i, n in enumerate(lengths) if n == 1 or i - new in self.alike)
        return replace(self, signal=y, alike=alike)

    def behind(self, step: Operation, y: Signal) -> Known:
        """What a step makes of it; ``y`` is the signal behind it.

        Raises:
            NotFoldable: where the step acts along an axis whose length is free.
        """
        if isinstance(step, Along):
            step = Apply(step.operator, step.axis)
        if None in {_across(step, axis) for axis in self.signal.free}:
            raise NotFoldable("not-affine", "a constant map along an axis whose length is free")
        alike = frozenset(i for axis in self.alike if (i := _across(step, axis)) is not None)
        if not y.free <= alike:
            raise NotFoldable("not-affine", "a constant map along an axis whose length is free")
        return Known(y, alike=alike, operation=step, inputs=(self,))


#: Constants of more numbers are not looked at.
_LOOKED_AT = 1 << 16


def is_zero(content: Callable[[], Tensor]) -> bool:
    """Are they few numbers, all of them zero, that do not train?"""
    t = content()
    few = has_numbers(t) and not t.requires_grad and t.numel() <= _LOOKED_AT
    return few and not bool(t.any())


def total(terms: Sequence[tuple[int, Known]]) -> Known:
    """Constants of one shape added up, each with its sign."""
    signs, values = zip(*terms, strict=True)
    if len(values) == 1 and signs[0] > 0:
        return values[0]  # type: ignore[no-any-return]
    alike = frozenset.intersection(*(x.alike for x in values))
    return Known(values[0].signal, alike=alike, operation=Sum(signs), inputs=values)


def _across(step: Operation, axis: int) -> int | None:
    """The axis behind a step that one before it becomes, if all its positions are treated alike."""
    match step:
        case Move():
            return step.forward(axis)
        case Apply(operator=operator, axis=channels):
            g = operator.geometry
            reach = 0 if g.pointwise and not g.periodic else g.dims
            return None if channels <= axis <= channels + reach else axis
        case _:
            return axis


@dataclass(frozen=True, eq=False, slots=True)
class Constant(Operation):
    """Numbers that are there; ``added`` to others, or by themselves."""

    known: Known
    added: bool = False
    arity: ClassVar[int | None] = 0

    @property
    def label(self) -> str:
        return "constant"

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        return iter(())

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        return ops.weights([self.known])("constant", self.known.written(self.added).to(ops.like))

    def forget(self) -> None:
        self.known.forget()


@dataclass(frozen=True, eq=False, slots=True)
class Repeated(Operation):
    """The same along axes whose length is free, at the length that another signal has there, of which it is a part
    along ``axis``: to be laid beside it."""

    known: Known
    axis: int

    @property
    def label(self) -> str:
        return "constant"

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        one = prod(y) // y[self.axis]
        yield from (VIEW, Work(0, one), Work(0, one + 2 * prod(y), "scale"))

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        ones = ops.ones_like(ops.slice(xs[0], self.axis, 0, 1))
        return ops.mul(ones, ops.weights([self.known])("constant", self.known.written(added=False).to(ops.like)))

    def forget(self) -> None:
        self.known.forget()
