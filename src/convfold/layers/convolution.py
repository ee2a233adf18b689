"""Convolution: nn.Conv1d-3d; aten conv1d-3d, conv*d.padding, convolution."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from convfold.algebra import spelling
from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import Convolve, Transpose
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.layers.spelling import Call, Map, Step, aten, nonzero, per_axis
from convfold.layers.transposed import transposed_convolution


def convolution(
    weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Convolution:
    """The value of ``F.convNd``: u = 1, lo = hi = padding; 'same' puts the odd position of an even reach at the end.

    weight: (c_out, c_in // groups, *taps), as in PyTorch.
    """
    dims = weight.dim() - 2
    windows = []
    for taps, s, d, (lo, hi) in zip(
        weight.shape[2:],
        per_axis(stride, dims),
        per_axis(dilation, dims),
        pads(padding, weight.shape[2:], per_axis(dilation, dims)),
        strict=True,
    ):
        windows.append(Window(taps, s, 1, d, lo, hi))
    return Convolution(weight, bias, groups, tuple(windows))


def pads(padding: Any, taps: Any, dilation: Any) -> list[tuple[int, int]]:
    """(lo, hi) per axis for PyTorch's padding argument: a number, one per axis, 'valid' or 'same'."""
    if padding == "valid":
        return [(0, 0)] * len(taps)
    if padding == "same":
        return [(d * (t - 1) // 2, d * (t - 1) - d * (t - 1) // 2) for t, d in zip(taps, dilation, strict=True)]
    return [(p, p) for p in per_axis(padding, len(taps))]


@spelling.of.register(nn.Conv1d)
@spelling.of.register(nn.Conv2d)
@spelling.of.register(nn.Conv3d)
def of_module(
    m: nn.Conv1d | nn.Conv2d | nn.Conv3d, channels: int | None = None, dims: int | None = None
) -> Convolution:
    if m.padding_mode != "zeros" and any(p != (0, 0) for p in pads(m.padding, m.kernel_size, m.dilation)):
        raise NotFoldable("padding-mode", f"padding_mode={m.padding_mode!r} copies data into the border")
    return convolution(m.weight, m.bias, m.stride, m.padding, m.dilation, m.groups)


@aten("conv1d.default", "conv2d.default", "conv3d.default", "conv1d.padding", "conv2d.padding", "conv3d.padding")
def read(call: Call) -> Step:
    weight = call.tensor("weight")
    assert weight is not None
    op = convolution(
        weight,
        nonzero(call.tensor("bias")),
        call["stride"],
        call["padding"],
        call["dilation"],
        call["groups"],
    )
    return Step(Map(op, call["input"].dim - 1 - op.dims, Convolve()), (call["input"],))


@aten("convolution.default")
def read_core(call: Call) -> Step:
    weight, bias = call.tensor("weight"), nonzero(call.tensor("bias"))
    assert weight is not None
    rest = (call["stride"], call["padding"], call["dilation"], call["groups"])
    if call["transposed"]:
        op = transposed_convolution(weight, bias, *rest, call["output_padding"])
    else:
        op = convolution(weight, bias, *rest)
    how = Transpose() if call["transposed"] else Convolve()
    return Step(Map(op, call["input"].dim - 1 - op.dims, how), (call["input"],))
