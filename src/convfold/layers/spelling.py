"""How a layer file sees the model: values, calls, and what a call turns out to be."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from convfold.algebra.convolution import Convolution
from convfold.algebra.joins import Concat
from convfold.algebra.numbers import has_numbers
from convfold.algebra.operation import Operation
from convfold.algebra.realisation import Convolve, Realisation
from convfold.algebra.spatial import Spatial
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.region import Signal


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """A tensor in the model: its shape in example numbers and in symbols, and its content if that is constant.

    Content broadcasts to the shape: of what has been expanded it is what it was before.
    """

    name: str
    signal: Signal
    symbols: tuple[Hashable, ...]
    dtype: torch.dtype
    content: Callable[[], Tensor] | None = None
    bare: dict[str, Any] | None = None  # arguments to replace in the call `name`, for a norm without its affine tail

    @property
    def shape(self) -> tuple[int, ...]:
        return self.signal.shape

    @property
    def dim(self) -> int:
        return len(self.signal.shape)

    def is_fixed(self, axis: int) -> bool:
        """Is there such an axis, and is its length known?"""
        return 0 <= axis < self.dim and axis not in self.signal.free

    @property
    def constant(self) -> bool:
        return self.content is not None

    def tensor(self) -> Tensor:
        if self.content is None:
            raise NotFoldable("not-affine", f"{self.name} is computed from the input")
        return self.content()


@dataclass(frozen=True, eq=False, slots=True)
class Scaled:
    """``factor · x + shift`` with plain numbers: the same for every channel, wherever the channels are.

    A number that is learnt and whose gradient is asked for is a tensor of no axes.
    """

    factor: float | Tensor = 1.0
    shift: float | Tensor = 0.0

    @property
    def numbers(self) -> tuple[float | Tensor, ...]:
        return self.factor, self.shift


@dataclass(frozen=True, eq=False, slots=True)
class Convolved:
    """A convolution on channel axis ``axis``; ``how`` the model's call computes it."""

    operator: Convolution
    axis: int
    how: Realisation

    @property
    def numbers(self) -> tuple[Tensor, ...]:
        op = self.operator
        return (op.kernel,) if op.bias is None else (op.kernel, op.bias)


@dataclass(frozen=True, eq=False, slots=True)
class Held:
    """Numbers that no value of the model is: a multiple of ``like``. They broadcast to what the call gives."""

    content: Callable[[], Tensor]
    like: Signal

    @property
    def numbers(self) -> tuple[Tensor]:
        return (self.content(),)


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """What a call computes: an operation on values, or on other steps.

    ``signal``: what a step inside a call gives, where that has not the shape of what the call gives.
    """

    operation: Operation | Convolved | Scaled | Held
    inputs: tuple[Value | Step, ...]
    signal: Signal | None = None

    @property
    def axis(self) -> int | None:
        """The channel axis, if it says."""
        return self.operation.axis if isinstance(self.operation, Convolved | Concat | Spatial) else None


@dataclass(frozen=True, slots=True)
class Call:
    """One call in the model: its arguments by name, tensors as values, and the value it returns."""

    name: str
    arguments: dict[str, Any]
    out: Value = field(repr=False)
    number: Callable[[Any], int] = field(repr=False)  # a size, perhaps symbolic, at the example
    kind: str = ""  # what the framework calls it, where one reader takes several

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    @property
    def first(self) -> Any:
        """The first argument: what most calls map."""
        return next(iter(self.arguments.values()))

    def place(self, x: Value) -> int:
        """Which argument it is."""
        return next(i for i, a in enumerate(self.arguments.values()) if a is x)

    def numbers(self, name: str) -> tuple[int, ...]:
        """An argument that is one number or several, perhaps symbolic, at the example."""
        given = self.arguments[name]
        if isinstance(given, Value):
            given = given.tensor().tolist()
        return tuple(map(self.number, given if isinstance(given, list | tuple) else (given,)))

    def tensor(self, name: str) -> Tensor | None:
        """A constant tensor argument; None if it was not given."""
        value = self.arguments.get(name)
        if value is None:
            return None
        return value.tensor() if isinstance(value, Value) else torch.as_tensor(value)

    def bare(self, **replaced: Any) -> Value:
        """This call's value with some arguments replaced: a norm before its scale and shift."""
        out = self.out
        return Value(out.name, out.signal, out.symbols, out.dtype, None, replaced)


def spatial(
    call: Call,
    axes: Sequence[int],
    kind: Callable[..., Spatial],
    *,
    x: Value | None = None,
    channel: int | None = None,
    convolution: Convolution | None = None,
    reason: NotFoldable | None = None,
) -> Step:
    """A call that maps ``axes`` of ``x``, else its first argument, treating all others alike; see :class:`Spatial`.

    ``kind`` makes the value of what all kinds have. The axes the call keeps stay in order: where its output has fewer,
    those it maps are gone. Unless said otherwise the channels are taken to be the axis before those it maps, or the
    last of all if it does not map that.
    """
    x = x or call.first
    kept = [i for i in range(x.dim) if i not in axes]
    gone = x.dim - call.out.dim
    carried = tuple((i, i if not gone else kept.index(i)) for i in kept)
    after = [] if gone else axes
    sizes = tuple(x.symbols[i] for i in axes), tuple(call.out.symbols[i] for i in after)
    if channel is None:
        channel = axes[0] - 1 if x.dim - 1 in axes and axes[0] else kept[-1] if kept else x.dim - 1
    common = {"sizes": sizes, "carried": carried, "axis": channel, "origin": call.name}
    return Step(kind(**common, convolution=convolution, reason=reason), (x,))


#: What a call is: a step, one per output for calls that return several, or a value it merely passes on.
Reading = Step | Value | list["Step | None"]
Reader = Callable[[Call], Reading]

#: Every ATen overload convfold reads, and every operator of others.
ATEN: dict[str, Reader] = {}


def aten(*names: str) -> Callable[[Reader], Reader]:
    """Register a reader for ATen overloads, by name: ``conv2d.default``."""
    return operator(*(f"aten.{name}" for name in names))


def operator(*names: str) -> Callable[[Reader], Reader]:
    """Register a reader for torch operators of any namespace, by their whole names: ``mine.blur.default``."""

    def register(reader: Reader) -> Reader:
        ATEN.update(dict.fromkeys(names, reader))
        return reader

    return register


def convolved(op: Convolution, x: Value, axis: int = 1) -> Step:
    """``op`` on the channel axis ``axis`` of a signal, as a call that costs what a convolution does."""
    return Step(Convolved(op, axis, Convolve()), (x,))


#: Every ONNX operator convfold reads.
ONNX: dict[str, Reader] = {}


def onnx(*names: str) -> Callable[[Reader], Reader]:
    """Register a reader for operators of the standard domain, by name: ``Conv``."""

    def register(reader: Reader) -> Reader:
        ONNX.update(dict.fromkeys(names, reader))
        return reader

    return register


def diagonal(scale: Tensor | None, shift: Tensor | None, channels: int) -> Convolution:
    """scale · x + shift per channel, in float64: a depthwise tap. A shift of nothing but zeros is none."""
    like = scale if scale is not None else shift
    assert like is not None
    if scale is None:
        scale = torch.ones(channels, dtype=torch.float64, device=like.device)
    kernel = scale.double().expand(channels).reshape(channels, 1)
    return Convolution(kernel, nonzero(None if shift is None else shift.double().expand(channels)), channels)


def nonzero(bias: Tensor | None) -> Tensor | None:
    """The bias, or None if it is all zeros: then what lies outside the border is zero too, and folds.

    Not where its gradient is asked for: it will not stay zero.
    """
    if bias is None or not has_numbers(bias) or (torch.is_grad_enabled() and bias.requires_grad):
        return bias
    return bias if bool(bias.detach().any()) else None


def depthwise(channels: int, windows: Sequence[Window], value: float) -> Convolution:
    """Every tap of every channel the same number: pools, repeats, pads."""
    taps = [w.taps for w in windows]
    kernel = torch.full((channels, 1, *taps), value, dtype=torch.float64)
    return Convolution(kernel, None, channels, tuple(windows))


def known_channels(module: object, channels: int | None) -> int:
    """For modules that treat all channels alike and do not know how many there are."""
    if channels is None:
        raise NotFoldable(
            "channels-differ",
            f"{type(module).__name__} does not say how many channels it has; pass channels=, or merge it with a layer",
        )
    return channels
