"""What is to be composed, not yet composed: geometry now, numbers once the plan is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from convfold.algebra import geometry as geo
from convfold.algebra import parallel as parallel_
from convfold.algebra import window as axis
from convfold.algebra.apply import Apply
from convfold.algebra.convolution import Convolution
from convfold.algebra.geometry import Geometry, Sizes
from convfold.algebra.numbers import has_numbers
from convfold.algebra.realisation import OwnCall
from convfold.algebra.shuffle import shuffled, unshuffled, windows_of
from convfold.algebra.structure import recovered
from convfold.algebra.window import Window


@dataclass(frozen=True, eq=False)
class Deferred:
    """An operator whose geometry is known and whose numbers are computed on demand, once, in float64."""

    geometry: Geometry

    @property
    def parts(self) -> tuple[Deferred, ...]:
        """What it is composed of."""
        return ()

    @property
    def given(self) -> Iterator[Given]:
        """The operators of the model it is composed of, first applied first, each once."""
        return (r for r in self._walk() if isinstance(r, Given))

    @property
    def sources(self) -> Iterator[str]:
        """Paths of the modules it is composed of, first applied first."""
        return (r.source for r in self._walk() if isinstance(r, Given | Uniform) and r.source)

    def _walk(self) -> Iterator[Deferred]:
        """This and everything it is composed of, each once: a chain of residuals shares its parts 2^n times."""
        seen: set[int] = set()
        todo: list[Deferred] = [self]
        while todo:
            operator = todo.pop()
            if id(operator) not in seen:
                seen.add(id(operator))
                yield operator
                todo.extend(reversed(operator.parts))

    @cached_property
    def value(self) -> Convolution:
        """The numbers."""
        raise NotImplementedError

    def forget(self) -> None:
        """Let go of numbers that have been used."""
        for operator in self._walk():
            operator.__dict__.pop("value", None)

    def __call__(self, x: Tensor) -> Tensor:
        return self.value.to(x.dtype)(x)

    @property
    def identity(self) -> bool:
        return False

    @property
    def constants(self) -> bool:
        """Is it known that a constant in every channel stays that constant?"""
        return False

    @cached_property
    def flat(self) -> Deferred:
        """A pointwise one without space axes."""
        return self if not self.geometry.dims else Lifted(self.geometry.lifted(0), self)

    @cached_property
    def linear(self) -> Deferred:
        """The same without its bias."""
        g = self.geometry
        found = block(self, range(g.c_out), range(g.c_in), bias=False)
        assert found is not None  # the whole of it
        return found

    @cached_property
    def offset(self) -> Deferred:
        """Its bias alone, one number a channel, added to what there is."""
        return Bias(Geometry(self.geometry.c_out, self.geometry.c_out, self.geometry.c_out, (), ()), self)

    @property
    def own_call(self) -> str | None:
        """The model's call that computes it, if it multiplies nothing: a shuffle, repetition, pad or pool."""
        return None


@dataclass(frozen=True, eq=False)
class Given(Deferred):
    """An operator of the model as it stands; ``source`` is the path of the module it belongs to."""

    operator: Convolution
    source: str = ""
    call: str | None = None  # see `own_call`
    sized: bool = False  # and if it names sizes, so that it cannot be made on a part of the signal
    scatters: bool = False  # the model's call is a transposed convolution
    place: tuple[int, int] | None = None  # the channel axis of its input, and how many axes that has
    how: OwnCall = field(default_factory=OwnCall)  # that call

    def calls_own(self, axis: int, dims: int) -> bool:
        """Can the model's call compute it there? Its arguments name axes."""
        return self.call is not None and self.place in (None, (axis, dims))

    @property
    def own_call(self) -> str | None:
        return self.call

    @cached_property
    def constants(self) -> bool:
        """Of what the model's call picks, or means: its rows sum to one."""
        op = self.operator
        picks = self.call is not None and self.geometry.pointwise and op.bias is None
        return picks and has_numbers(op.kernel) and bool((op.kernel.flatten(1).sum(1) == 1).all())

    @cached_property
    def value(self) -> Convolution:
        return self.operator.to(torch.float64)


@dataclass(frozen=True, eq=False)
class Uniform(Deferred):
    """``factor · x + shift`` with plain numbers: a scale of the channels, whichever axis they are on.

    So it commutes with every layout, the ones that split or join channels too.
    """

    factor: float | Tensor
    shift: float | Tensor
    source: str = ""

    @property
    def plain(self) -> bool:
        """Are its numbers known? Those that are learnt, and whose gradient is asked for, are tensors."""
        return not isinstance(self.factor, Tensor) and not isinstance(self.shift, Tensor)

    @cached_property
    def value(self) -> Convolution:
        channels = self.geometry.c_out
        kernel = torch.as_tensor(self.factor, dtype=torch.float64).expand(channels, 1)
        has_bias = self.geometry.period is not None
        bias = torch.as_tensor(self.shift, dtype=torch.float64).expand(channels) if has_bias else None
        return Convolution(kernel, bias, channels)

    def over(self, channels: int) -> Uniform:
        """The same for another number of channels."""
        return uniform(channels, self.factor, self.shift, self.source)


@dataclass(frozen=True, eq=False)
class Identity(Deferred):
    """The Dirac: what a branch that does nothing contributes to a sum."""

    @property
    def identity(self) -> bool:
        return True

    @cached_property
    def value(self) -> Convolution:
        return Convolution.identity(self.geometry.c_in, self.geometry.dims).to(torch.float64)


@dataclass(frozen=True, eq=False)
class Cut(Deferred):
    """Some positions of space: a tap of one a channel."""

    @cached_property
    def value(self) -> Convolution:
        g = self.geometry
        return Convolution(torch.ones(g.kernel_shape, dtype=torch.float64), None, g.groups, g.windows)


@dataclass(frozen=True, eq=False)
class Shuffle(Deferred):
    """Positions into channels (``down``) or back; ``order``: see `algebra.regroup`."""

    rates: tuple[int, ...]
    order: tuple[int, ...]
    down: bool

    @cached_property
    def value(self) -> Convolution:
        g = self.geometry
        return unshuffled(g.c_in, self.rates, self.order) if self.down else shuffled(g.c_out, self.rates, self.order)


@dataclass(frozen=True, eq=False)
class Series(Deferred):
    outer: Deferred
    inner: Deferred
    sizes: Sizes
    endless: bool = False

    @property
    def parts(self) -> tuple[Deferred, ...]:
        return (self.inner, self.outer)

    @cached_property
    def value(self) -> Convolution:
        return self.outer.value.after(self.inner.value, self.sizes, self.endless)


@dataclass(frozen=True, eq=False)
class Pair(Deferred):
    """Two operators on one input."""

    first: Deferred
    second: Deferred
    sizes: Sizes

    @property
    def parts(self) -> tuple[Deferred, ...]:
        return (self.first, self.second)


@dataclass(frozen=True, eq=False)
class Parallel(Pair):
    @cached_property
    def value(self) -> Convolution:
        return self.first.value.plus(self.second.value, self.sizes, alike=True)


@dataclass(frozen=True, eq=False)
class Stack(Pair):
    @cached_property
    def value(self) -> Convolution:
        return self.first.value.stack(self.second.value, self.sizes, alike=True)


@dataclass(frozen=True, eq=False)
class Beside(Pair):
    """Two operators on inputs of their own."""

    @cached_property
    def value(self) -> Convolution:
        return parallel_.beside(self.first.value, self.second.value)


@dataclass(frozen=True, eq=False)
class Derived(Deferred):
    """What is made of one other."""

    whole: Deferred

    @property
    def parts(self) -> tuple[Deferred, ...]:
        return (self.whole,)


@dataclass(frozen=True, eq=False)
class Block(Derived):
    rows: range
    cols: range
    bias: bool

    @cached_property
    def value(self) -> Convolution:
        part = self.whole.value.block(self.rows, self.cols)
        assert part is not None  # a zero block has no operator
        return part if self.bias else Convolution(part.kernel, None, part.groups, part.windows)


@dataclass(frozen=True, eq=False)
class Bias(Derived):
    @cached_property
    def value(self) -> Convolution:
        bias = self.whole.value.bias
        assert bias is not None
        return Convolution(torch.ones(len(bias), 1, dtype=torch.float64, device=bias.device), bias.flatten(), len(bias))


@dataclass(frozen=True, eq=False)
class Alive(Derived):
    """Without end taps that at the sizes there are read nothing but zeros."""

    taps: tuple[range, ...]

    @cached_property
    def value(self) -> Convolution:
        whole = self.whole.value
        index: tuple[Any, ...] = (..., *(slice(r.start, r.stop) for r in self.taps))
        return Convolution(whole.kernel[index], whole.bias, whole.groups, self.geometry.windows)


@dataclass(frozen=True, eq=False)
class Taps(Derived):
    """Every tap of an operator as a pointwise one of its own: channel ``o·∏taps + t`` is output o's tap t.

    The bias is that of one tap, ``bearer``, which must be one that never reads outside.
    """

    bearer: tuple[int, ...]

    @cached_property
    def value(self) -> Convolution:
        whole = self.whole.value
        kernel = whole.kernel.flatten(2).transpose(1, 2)  # (c_out, ∏taps, c_in // groups)
        bias = None
        if whole.bias is not None:
            one_hot = torch.zeros(whole.geometry.taps, dtype=torch.float64, device=whole.kernel.device)
            one_hot[self.bearer] = 1.0
            bias = (whole.bias.reshape(-1, 1) * one_hot.flatten()).flatten()
        return Convolution(kernel.flatten(0, 1), bias, whole.groups)


@dataclass(frozen=True, eq=False)
class Lifted(Derived):
    """A pointwise operator seen with another number of space axes."""

    @cached_property
    def linear(self) -> Deferred:
        return lifted(self.whole.linear, self.geometry.dims)

    @cached_property
    def value(self) -> Convolution:
        return self.whole.value.lifted(self.geometry.dims)


@dataclass(frozen=True, eq=False)
class Tiled(Derived):
    """1 ⊗ D ⊗ 1, D a scale and shift of channels that stand ``inner`` numbers apart, over and over."""

    inner: int

    @cached_property
    def value(self) -> Convolution:
        whole = self.whole.value
        n = self.geometry.c_out
        at = torch.arange(n, device=whole.kernel.device) // self.inner % whole.c_out
        bias = None if whole.bias is None else whole.bias.flatten()[at]
        return Convolution(whole.kernel.reshape(-1, 1)[at], bias, n)


@dataclass(frozen=True, eq=False)
class Composed(Derived):
    """An operator whose numbers have been seen: ``geometry`` knows of the zeros among them."""

    @cached_property
    def value(self) -> Convolution:
        return recovered(self.whole.value)


def composed(a: Deferred) -> Deferred:
    """The same with its numbers; what the model gave stays what it is."""
    if isinstance(a, Given | Composed):
        return a
    value = recovered(a.value)
    for part in (a, *a.given):  # the model's weights in float64 are twice as large as they were, and soon made again
        part.__dict__.pop("value", None)
    seen = Composed(value.geometry, a)
    seen.__dict__["value"] = value
    return seen


def is_move(step: Apply) -> bool:
    """Does the model's own call only move and add numbers, multiplying none?"""
    return isinstance(step.operator, Given) and step.operator.call is not None


def identity(channels: int, dims: int = 0) -> Deferred:
    return Identity(Geometry(channels, channels, channels, (Window(),) * dims))


def cut(channels: int, windows: tuple[Window, ...]) -> Deferred:
    return Cut(Geometry(channels, channels, channels, windows))


def shuffle(channels: int, rates: tuple[int, ...], order: tuple[int, ...], down: bool) -> Deferred:
    many = channels * prod(rates)
    groups = channels if list(order) == sorted(order) else 1
    ends = (many, channels) if down else (channels, many)
    return Shuffle(Geometry(*ends, groups, windows_of(rates, down=down)), rates, order, down)


def given(matrix: Tensor) -> Deferred:
    """(c_out, c_in)"""
    op = Convolution(matrix)
    return Given(op.geometry, op)


def chosen(channels: int, rows: range) -> Deferred:
    """Some channels: rows of the identity, (c_out, c_in)."""
    return given(torch.eye(channels, dtype=torch.float64)[list(rows)])


def uniform(channels: int, factor: float | Tensor, shift: float | Tensor, source: str = "") -> Uniform:
    period = () if isinstance(shift, Tensor) or shift else None
    return Uniform(Geometry(channels, channels, channels, (), period), factor, shift, source)


def tiled(a: Deferred, outer: int, inner: int) -> Deferred:
    """A diagonal operator where its channels have been merged with axes before and behind them."""
    n = outer * a.geometry.c_out * inner
    if isinstance(a, Uniform):
        return a.over(n)
    return Tiled(Geometry(n, n, n, (), None if a.geometry.period is None else ()), a, inner)


def negated(a: Deferred) -> Deferred:
    """−A: what it gives, bias too, with the sign turned."""
    if isinstance(a, Uniform):
        return uniform(a.geometry.c_in, -a.factor, -a.shift, a.source)
    return series(uniform(a.geometry.c_out, -1.0, 0.0), a, None)


def of_negative(a: Deferred) -> Deferred:
    """x ↦ A(−x): only what it reads has its sign turned."""
    if isinstance(a, Uniform):
        return uniform(a.geometry.c_in, -a.factor, a.shift, a.source)
    return series(a, uniform(a.geometry.c_in, -1.0, 0.0), None)


def series(outer: Deferred, inner: Deferred, sizes: Sizes, endless: bool = False) -> Deferred:
    """outer ∘ inner; raises :class:`NotFoldable` exactly where the algebra would."""
    if inner.identity:
        return outer
    if outer.identity:
        return inner
    if isinstance(outer, Uniform) and isinstance(inner, Uniform) and outer.plain and inner.plain:
        factor, shift = outer.factor * inner.factor, outer.factor * inner.shift + outer.shift
        return uniform(outer.geometry.c_out, factor, shift, inner.source or outer.source)
    g = geo.series(outer.geometry, inner.geometry, sizes, endless)
    return Series(g, outer, inner, sizes, endless)


def parallel(a: Deferred, b: Deferred, sizes: Sizes) -> Deferred:
    """A + B, which the model adds: it runs where they are as long as each other."""
    return Parallel(geo.parallel(a.geometry, b.geometry, sizes, alike=True), a, b, sizes)


def stack(a: Deferred, b: Deferred, sizes: Sizes) -> Deferred:
    return Stack(geo.stack(a.geometry, b.geometry, sizes, alike=True), a, b, sizes)


def beside(a: Deferred, b: Deferred) -> Deferred:
    """A on some channels, B on those that follow: one operator in groups."""
    return Beside(geo.beside(a.geometry, b.geometry), a, b, None)


def block(a: Deferred, rows: range, cols: range, bias: bool) -> Deferred | None:
    """A block of the channel matrix; None where it is all zero."""
    if len(rows) == a.geometry.c_out and len(cols) == a.geometry.c_in and (bias or a.geometry.period is None):
        return a
    if isinstance(a, Uniform) and rows == cols:
        return uniform(len(rows), a.factor, a.shift if bias else 0.0, a.source)
    g = geo.block(a.geometry, rows, cols)
    if g is None:
        return None
    if not bias:
        g = replace(g, period=None)
    return Block(g, a, rows, cols, bias)


def alive(a: Deferred, sizes: Sequence[int | None]) -> Deferred:
    """The same at these sizes of space, None where free: end taps that never read data are left out."""
    g = a.geometry
    taps = [range(w.taps) if n is None else axis.alive(w, n) for w, n in zip(g.windows, sizes, strict=True)]
    if all(len(r) == w.taps for r, w in zip(taps, g.windows, strict=True)):
        return a
    windows = tuple(axis.cut(w, r) for w, r in zip(g.windows, taps, strict=True))
    return Alive(replace(g, windows=windows), a, tuple(taps))


def taps(a: Deferred, bearer: tuple[int, ...]) -> Deferred:
    g = a.geometry
    return Taps(Geometry(g.c_out * prod(g.taps), g.c_in, g.groups, (), None if g.period is None else ()), a, bearer)


def lifted(a: Deferred, dims: int) -> Deferred:
    if a.geometry.dims == dims or isinstance(a, Uniform):
        return a
    return a.flat if dims == 0 else Lifted(a.geometry.lifted(dims), a)
