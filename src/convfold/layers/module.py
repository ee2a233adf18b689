"""From a value of the algebra back to a module: the torch.nn layer that computes it, or `Affine` where none does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from convfold.algebra import doors
from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import Convolve, Linear, Transpose
from convfold.algebra.untraced import untraced
from convfold.algebra.window import Window
from convfold.layers.examples import Draw, ModuleExample, each, flag, grouped_channels, module_example, optional
from convfold.layers.known import module

CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSE: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_PAD: dict[int, type[nn.Module]] = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}


class Affine(nn.Module):
    """Any :class:`Convolution` as a module: for the few (periodic bias, stride and upsample at once) torch.nn lacks."""

    def __init__(self, value: Convolution, attached: bool = False) -> None:
        super().__init__()
        self.groups, self.windows = value.groups, value.windows
        _assign(self, "weight", value.kernel, attached)
        _assign(self, "bias", value.bias, attached)

    @property
    def value(self) -> Convolution:
        return Convolution(self.weight, self.bias, self.groups, self.windows)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, *space) → (N, c_out, *size(space))"""
        return self.value(x)

    def extra_repr(self) -> str:
        return repr(self.value)


@module(Affine)
def of_affine(m: Affine, channels: int | None = None, dims: int | None = None) -> Convolution:
    return m.value


@doors.to_module.register(Convolution)
@untraced
def to_module(value: Convolution, attached: bool = False) -> nn.Module:
    """nn.Linear, nn.ConvNd or nn.ConvTransposeNd, with a pad before or a crop after it in a Sequential where needed.

    Parameters are fresh leaves; ``attached`` keeps the tensors with their history instead, so that gradients reach
    what they were computed from (they are then attributes, not parameters).
    """
    how = Transpose() if value.geometry.upsamples else Convolve() if value.dims else Linear()
    if value.dims == 0 and value.groups > 1:
        return Affine(value, attached)
    try:
        made = how.lower(cast(Any, _Layers(attached)), value, 1, (), 2 + value.dims, lambda _, content: content)
    except _NoLayer:
        return Affine(value, attached)
    return made[0] if len(made) == 1 else nn.Sequential(*made)


Row = tuple[nn.Module, ...]


class _NoLayer(Exception):
    """No layer of torch.nn computes it."""


class _Layers:
    """The operations of the algebra as modules in a row, as far as torch.nn has them; weights are tensors."""

    def __init__(self, attached: bool) -> None:
        self.attached = attached

    def __getattr__(self, name: str) -> Any:
        raise _NoLayer(name)

    def linear(self, x: Row, weight: Tensor, bias: Tensor | None) -> Row:
        return (*x, self._filled(nn.Linear, weight, bias, *weight.shape[::-1]))

    def pad(self, x: Row, flat: Sequence[int]) -> Row:
        return (*x, _PAD[len(flat) // 2](tuple(flat), 0.0))

    def conv(
        self, x: Row, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Row:
        c_out, c_in, *taps = weight.shape
        numbers = tuple(stride), tuple(lo for lo, _ in padding), tuple(dilation)
        kind = CONV[len(taps)]
        return (*x, self._filled(kind, weight, bias, c_in * groups, c_out, tuple(taps), *numbers, groups))

    def conv_transpose(
        self,
        x: Row,
        weight: Tensor,
        bias: Tensor | None,
        stride: Any,
        padding: Any,
        extra: Any,
        groups: int,
        dilation: Any,
    ) -> Row:
        c_in, c_out, *taps = weight.shape
        numbers = tuple(stride), tuple(lo for lo, _ in padding), tuple(extra), groups, bias is not None, tuple(dilation)
        kind = _TRANSPOSE[len(taps)]
        return (*x, self._filled(kind, weight, bias, c_in, c_out * groups, tuple(taps), *numbers))

    def _filled(self, kind: type[nn.Module], weight: Tensor, bias: Tensor | None, *arguments: Any) -> nn.Module:
        layer = kind(*arguments, device="meta", dtype=weight.dtype)
        return filled(layer, weight, bias, self.attached)


def filled(layer: nn.Module, weight: Tensor, bias: Tensor | None, attached: bool) -> nn.Module:
    """The layer with these for its own."""
    _assign(layer, "weight", weight, attached)
    _assign(layer, "bias", bias, attached)
    return layer


def _assign(layer: nn.Module, name: str, tensor: Tensor | None, attached: bool) -> None:
    layer._parameters.pop(name, None)
    if tensor is None:
        layer.register_parameter(name, None)
    elif attached:
        setattr(layer, name, tensor)
    else:
        own = tensor.detach().clone(memory_format=torch.preserve_format)
        layer.register_parameter(name, nn.Parameter(own, requires_grad=tensor.requires_grad))


@module_example(Affine)
def drawn(draw: Draw, cls: type[Affine]) -> ModuleExample:
    """A stride and an upsampling at once, uneven pads and crops, a bias that repeats with the phase."""
    dims = draw.integer(1, 2)
    c_in, c_out, groups = grouped_channels(draw)
    windows = tuple(Window(*each(draw, 4, 1, 3), *each(draw, 2, -1, 3)) for _ in range(dims))
    kernel = draw.weight(c_out, c_in // groups, *(w.taps for w in windows))
    bias = optional(draw, c_out, *(each(draw, dims, 1, 3) if flag(draw) else ()))
    x = draw.signal(draw.integer(1, 2), c_in, *each(draw, dims, 7, 9))
    return ModuleExample(cls(Convolution(kernel, bias, groups, windows)), x)
