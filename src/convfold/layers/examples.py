"""Examples of the calls and modules that the layer files read, declared beside each reader; the tests draw them.

An example takes every parameter anywhere in its legal range, in as many dimensions as there are, and sizes down to 1.
It knows nothing of the reader: what torch computes for it is what the reading must compute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class Draw(Protocol):
    """Where choices come from; the first option and the smallest integer are the simplest. Numbers are random."""

    def pick(self, options: Sequence[T]) -> T: ...

    def integer(self, low: int, high: int) -> int:
        """Both ends included."""

    def signal(self, *shape: int) -> Tensor:
        """What the model computes: a plain tensor."""

    def weight(self, *shape: int) -> nn.Parameter:
        """What the model holds: of the tensors of an example parameters are constants, and no others."""


@dataclass(frozen=True, eq=False)
class Example:
    """The arguments of a call. ``refused``: the reason that its reading gives for not being affine with these."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    refused: str | None = None


@dataclass(frozen=True, eq=False)
class ModuleExample:
    """A module and an input, batch first. ``refused``: the reason for which it is no one convolution."""

    module: nn.Module
    x: Tensor
    refused: str | None = None


@dataclass(frozen=True, eq=False)
class OnnxExample(Example):
    """Inputs of an ONNX operator in order, None where one is left out, and its attributes.

    Lists of whole numbers are constants of the model, as parameters are. ``outputs``: how many are asked for.
    """

    opset: int = 13
    outputs: int = 1


Drawn = Callable[[Draw, str], Example]
DrawnOnnx = Callable[[Draw, str], OnnxExample]
DrawnModule = Callable[[Draw, Any], ModuleExample]

#: By ATen overload and by ONNX operator, as in `spelling`; and by class of module, as `known.module` registers them.
EXAMPLES: dict[str, Drawn] = {}
ONNX_EXAMPLES: dict[str, DrawnOnnx] = {}
MODULE_EXAMPLES: dict[type[nn.Module], DrawnModule] = {}


def example(*names: str) -> Callable[[Drawn], Drawn]:
    """Declare how examples of calls are drawn; beside ``aten`` or ``operator``, with the same names."""

    def declare(drawn: Drawn) -> Drawn:
        EXAMPLES.update((name if name.count(".") > 1 else f"aten.{name}", drawn) for name in names)
        return drawn

    return declare


def onnx_example(*names: str) -> Callable[[DrawnOnnx], DrawnOnnx]:
    """Declare how examples of ONNX operators are drawn; beside ``onnx``, with the same names."""

    def declare(drawn: DrawnOnnx) -> DrawnOnnx:
        ONNX_EXAMPLES.update((name, drawn) for name in names)
        return drawn

    return declare


def module_example(*classes: type[nn.Module]) -> Callable[[DrawnModule], DrawnModule]:
    """Declare how examples of classes of modules are drawn; beside ``module``, with the same classes."""

    def declare(drawn: DrawnModule) -> DrawnModule:
        MODULE_EXAMPLES.update((cls, drawn) for cls in classes)
        return drawn

    return declare


# --- what many of them draw ------------------------------------------------------------------------------------------


def flag(draw: Draw) -> bool:
    return draw.pick((False, True))


def opset(draw: Draw, low: int = 7, high: int = 26) -> int:
    """A version of the standard, the operator's first and last ones among them."""
    return draw.pick((max(low, min(13, high)), low, high, draw.integer(low, high)))


def dims_of(name: str | type) -> int:
    """``conv2d.default``, ``BatchNorm3d``: the number of space axes that a name says."""
    found = re.search(r"(\d)d", name if isinstance(name, str) else name.__name__)
    assert found is not None, name
    return int(found[1])


def each(draw: Draw, dims: int, low: int, high: int) -> tuple[int, ...]:
    """One integer an axis."""
    return tuple(draw.integer(low, high) for _ in range(dims))


def spelled(draw: Draw, numbers: tuple[int, ...]) -> list[int]:
    """As a call takes them: one an axis or, where they are equal, one for all."""
    return draw.pick((list(numbers), list(numbers[:1]))) if len(set(numbers)) == 1 else list(numbers)


def space(draw: Draw, dims: int) -> tuple[int, ...]:
    """Lengths of the space axes, odd and tiny ones too; short where there are many."""
    return each(draw, dims, 1, {0: 1, 1: 9, 2: 6}.get(dims, 4))


def shape(draw: Draw, low: int = 1, high: int = 4) -> tuple[int, ...]:
    """Any shape of so many axes."""
    return each(draw, draw.integer(low, high), 1, 4)


def lead(draw: Draw) -> tuple[int, ...]:
    """The batch, of one or two; or none."""
    return draw.pick(((2,), (1,), ()))


def axis(draw: Draw, dims: int) -> int:
    """Counted from the first or from the last."""
    return draw.integer(-dims, dims - 1)


def some_axes(draw: Draw, dims: int) -> list[int]:
    """Some, each once, in any order, counted from either end."""
    rest, found = list(range(dims)), []
    for _ in range(draw.integer(0, dims)):
        found.append(rest.pop(draw.integer(0, len(rest) - 1)) - draw.pick((0, dims)))
    return found


def grouped_channels(draw: Draw) -> tuple[int, int, int]:
    """(c_in, c_out, groups)"""
    groups = draw.pick((1, 1, 2, 3))
    return groups * draw.integer(1, 3), groups * draw.integer(1, 3), groups


@dataclass(frozen=True)
class Windows:
    """What a convolution reads along each axis, and a space with room for it."""

    taps: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    space: tuple[int, ...]
    output_padding: tuple[int, ...] = ()  # of a transposed one


def windows(draw: Draw, dims: int) -> Windows:
    taps, padding = each(draw, dims, 1, 4 if dims < 3 else 3), each(draw, dims, 0, 3)
    stride, dilation = each(draw, dims, 1, 3), each(draw, dims, 1, 3)
    least = [max(1, 1 + d * (t - 1) - 2 * p) for t, d, p in zip(taps, dilation, padding, strict=True)]
    return Windows(taps, stride, dilation, padding, tuple(n + draw.integer(0, 4 if dims < 3 else 2) for n in least))


def transposed_windows(draw: Draw, dims: int) -> Windows:
    """Of what they write no more is padding than leaves something."""
    taps, space = each(draw, dims, 1, 4 if dims < 3 else 3), each(draw, dims, 1, 5 if dims < 3 else 3)
    stride, dilation = each(draw, dims, 1, 3), each(draw, dims, 1, 3)
    extra = tuple(draw.integer(0, max(n) - 1) for n in zip(stride, dilation, strict=True))
    axes = zip(space, stride, dilation, taps, extra, strict=True)
    padding = tuple(draw.integer(0, min(3, ((n - 1) * s + d * (t - 1) + q) // 2)) for n, s, d, t, q in axes)
    return Windows(taps, stride, dilation, padding, space, extra)


def optional(draw: Draw, *shape: int) -> nn.Parameter | None:
    """A bias, or another weight that may be left out."""
    return draw.weight(*shape) if flag(draw) else None


def along(draw: Draw, shape: Sequence[int]) -> nn.Parameter:
    """A constant that varies along one axis of a signal, with as few axes as it needs or more, or along none."""
    i = draw.integer(0, len(shape))
    if i == len(shape):
        return draw.weight(*(1,) * draw.integer(0, i))
    return draw.weight(*(1,) * draw.integer(0, i), shape[i], *(1,) * (len(shape) - 1 - i))


def constant(t: Tensor) -> nn.Parameter:
    """Some numbers as the model's own: an index, a variance."""
    return nn.Parameter(t, requires_grad=False)


def indices(draw: Draw, n: int, low: int = 0) -> nn.Parameter:
    """Some of n positions in any order, left out or repeated."""
    return constant(torch.tensor(each(draw, draw.integer(1, 2 * n), low, n - 1)))


def held(a: Any) -> bool:
    """Is it the model's own, or a plain number?"""
    return not isinstance(a, Tensor) or isinstance(a, nn.Parameter)


def is_one_a_position(c: Any, x: Tensor) -> bool:
    """Is a constant one number, or one a position of one axis of a signal, which it does not make larger?"""
    if not isinstance(c, Tensor):
        return True
    return sum(n != 1 for n in c.shape) <= 1 and torch.broadcast_shapes(c.shape, x.shape) == x.shape


def fits(c: Any, x: Tensor) -> bool:
    """Does a constant not make a signal larger?"""
    return not isinstance(c, Tensor) or torch.broadcast_shapes(c.shape, x.shape) == x.shape


def weighs(c: Any, x: Tensor) -> bool:
    """Is a constant the same along one axis at least of a signal, which it does not make larger, or one along one?"""
    if is_one_a_position(c, x):
        return True
    return fits(c, x) and not (c.dim() == x.dim() and all(n != 1 for n in c.shape))


def regrouped(draw: Draw, factors: Sequence[int]) -> tuple[int, ...]:
    """A shape of ∏factors numbers: neighbours among the factors multiplied, as a view may."""
    cuts = [0, *(i for i in range(1, len(factors)) if flag(draw)), len(factors)]
    return tuple(prod(factors[a:b]) for a, b in pairwise(cuts))
