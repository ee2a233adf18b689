"""Convolution: nn.Conv1d-3d; aten conv1d-3d, conv*d.padding, convolution."""

from __future__ import annotations

from typing import Any

from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import Convolve, Transpose
from convfold.algebra.window import Window, per_axis
from convfold.layers.known import module
from convfold.layers.links import Link
from convfold.layers.spelling import Call, Map, Step, aten, nonzero


@module(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def of_module(
    m: nn.Conv1d | nn.Conv2d | nn.Conv3d, channels: int | None = None, dims: int | None = None
) -> Convolution | Link:
    """As `forward` reads its attributes: a padding mode other than zeros pads by what was given at construction."""
    if m.padding_mode == "zeros":
        numbers: dict[str, Any] = {"stride": m.stride, "padding": m.padding, "dilation": m.dilation}
        return Convolution(m.weight, m.bias, m.groups, **numbers)
    flat = m._reversed_padding_repeated_twice  # (lo, hi) from the last axis to the first
    pairs = list(zip(flat[::2], flat[1::2], strict=True))[::-1]
    taps, dims = m.weight.shape[2:], m.weight.dim() - 2
    steps = zip(taps, per_axis(m.stride, dims), per_axis(m.dilation, dims), pairs, strict=True)
    windows = tuple(Window(t, s, 1, d, lo, hi) for t, s, d, (lo, hi) in steps)
    value = Convolution(m.weight, m.bias, m.groups, windows)
    return Link(((value,),), m.padding_mode if any(flat) else None)


@aten("conv1d.default", "conv2d.default", "conv3d.default", "conv1d.padding", "conv2d.padding", "conv3d.padding")
def read(call: Call) -> Step:
    weight = call.tensor("weight")
    assert weight is not None
    numbers = {name: call[name] for name in ("groups", "stride", "padding", "dilation")}
    op = Convolution(weight, nonzero(call.tensor("bias")), **numbers)
    return Step(Map(op, call["input"].dim - 1 - op.dims, Convolve()), (call["input"],))


@aten("convolution.default")
def read_core(call: Call) -> Step:
    weight, bias = call.tensor("weight"), nonzero(call.tensor("bias"))
    assert weight is not None
    numbers = {name: call[name] for name in ("groups", "stride", "padding", "dilation")}
    if call["transposed"]:
        op = Convolution.conv_transpose(weight, bias, output_padding=call["output_padding"], **numbers)
    else:
        op = Convolution(weight, bias, **numbers)
    how = Transpose() if call["transposed"] else Convolve()
    return Step(Map(op, call["input"].dim - 1 - op.dims, how), (call["input"],))
