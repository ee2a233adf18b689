"""Transposed convolution: nn.ConvTranspose1d-3d; aten conv_transpose1d, conv_transpose2d-3d.input."""

from __future__ import annotations

from typing import Any

from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import Transpose
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    ModuleExample,
    dims_of,
    example,
    flag,
    grouped_channels,
    lead,
    module_example,
    optional,
    spelled,
    transposed_windows,
)
from convfold.layers.known import module
from convfold.layers.spelling import Call, Convolved, Step, aten, nonzero


@module(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def of_module(
    m: nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d,
    channels: int | None = None,
    dims: int | None = None,
) -> Convolution:
    if m.padding_mode != "zeros":
        raise NotFoldable("padding-mode", f"a transposed convolution with padding_mode={m.padding_mode!r}")
    return Convolution.conv_transpose(m.weight, m.bias, m.stride, m.padding, m.output_padding, m.groups, m.dilation)


@aten("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
def read(call: Call) -> Step:
    weight = call.tensor("weight")
    assert weight is not None
    numbers = {name: call[name] for name in ("stride", "padding", "output_padding", "groups", "dilation")}
    op = Convolution.conv_transpose(weight, nonzero(call.tensor("bias")), **numbers)
    return Step(Convolved(op, call["input"].dim - 1 - op.dims, Transpose()), (call["input"],))


@example("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
def drawn(draw: Draw, spelling: str) -> Example:
    (c_in, c_out, groups), w = grouped_channels(draw), transposed_windows(draw, dims_of(spelling))
    weight = draw.weight(c_in, c_out // groups, *w.taps)
    numbers = [spelled(draw, n) for n in (w.stride, w.padding, w.output_padding)]
    x = draw.signal(*lead(draw), c_in, *w.space)
    return Example((x, weight, optional(draw, c_out), *numbers, groups, spelled(draw, w.dilation)))


@module_example(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def drawn_module(draw: Draw, cls: Any) -> ModuleExample:
    (c_in, c_out, groups), w = grouped_channels(draw), transposed_windows(draw, dims_of(cls))
    m = cls(c_in, c_out, w.taps, w.stride, w.padding, w.output_padding, groups, flag(draw), w.dilation)
    return ModuleExample(m, draw.signal(draw.integer(1, 2), c_in, *w.space))
