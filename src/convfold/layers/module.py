"""From a value of the algebra back to a module: the torch.nn layer that computes it, or `Affine` where none does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convfold.algebra import spelling
from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import adds, flat_pads, pad_arguments, transposed_arguments, transposed_weight
from convfold.algebra.untraced import untraced
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


@spelling.to_module.register(Convolution)
@untraced
def to_module(value: Convolution, attached: bool = False) -> nn.Module:
    """nn.Linear, nn.ConvNd or nn.ConvTransposeNd, with a pad before or a crop after it in a Sequential where needed.

    Parameters are fresh leaves; ``attached`` keeps the tensors with their history instead, so that gradients reach
    what they were computed from (they are then attributes, not parameters).
    """
    dims = value.dims
    upsampled, strided = any(w.upsample > 1 for w in value.windows), any(w.stride > 1 for w in value.windows)
    if value.geometry.periodic or (upsampled and strided) or (dims == 0 and value.groups > 1):
        return Affine(value, attached)
    if dims == 0:
        return _filled(nn.Linear(value.c_in, value.c_out, **_common(value)), value.kernel, value.bias, attached)
    if upsampled:
        padding, extra, after = zip(*map(transposed_arguments, value.windows), strict=True)
        if value.bias is not None and adds(after):
            return Affine(value, attached)  # the bias would be missing from the padded positions
        layer = _TRANSPOSE[dims](
            value.c_in, value.c_out, padding=padding, output_padding=extra, **_spatial(value), **_common(value)
        )
        _filled(layer, transposed_weight(value.kernel, value.groups), value.bias, attached)
        return nn.Sequential(layer, *_pads(dims, after)) if any(p != (0, 0) for p in after) else layer
    padding, before = zip(*map(pad_arguments, value.windows), strict=True)
    layer = convolution(value, attached, padding=padding)
    return nn.Sequential(*_pads(dims, before), layer) if any(p != (0, 0) for p in before) else layer


def convolution(
    value: Convolution, attached: bool, kinds: Mapping[int, type[nn.Module]] = CONV, **padding: Any
) -> nn.Module:
    """nn.ConvNd, or another of its kind, with the value's kernel and the given padding arguments."""
    layer = kinds[value.dims](value.c_in, value.c_out, **padding, **_spatial(value), **_common(value))
    return _filled(layer, value.kernel, value.bias, attached)


def _common(value: Convolution) -> dict[str, Any]:
    return {"bias": value.bias is not None, "device": "meta", "dtype": value.kernel.dtype}


def _spatial(value: Convolution) -> dict[str, Any]:
    return {
        "kernel_size": tuple(w.taps for w in value.windows),
        "stride": tuple(w.upsample * w.stride for w in value.windows),
        "dilation": tuple(w.dilation for w in value.windows),
        "groups": value.groups,
    }


def _pads(dims: int, pairs: Iterable[tuple[int, int]]) -> Iterator[nn.Module]:
    for flat in flat_pads(pairs):
        yield _PAD[dims](tuple(flat), 0.0)


def _filled(layer: nn.Module, weight: Tensor, bias: Tensor | None, attached: bool) -> nn.Module:
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
