"""Transposed convolution: nn.ConvTranspose1d-3d; aten conv_transpose1d, conv_transpose2d-3d.input."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from convfold.algebra import spelling
from convfold.algebra.convolution import Convolution, transposed_weight
from convfold.algebra.realisation import Transpose
from convfold.algebra.window import transposed
from convfold.layers.spelling import Call, Map, Step, aten, nonzero, per_axis


def transposed_convolution(
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    output_padding: Any,
) -> Convolution:
    """The value of ``F.conv_transposeNd``: kernel flipped, u = stride, lo = d(T−1) − p, hi = lo + output_padding.

    weight: (c_in, c_out // groups, *taps), as in PyTorch.
    """
    dims = weight.dim() - 2
    args = (per_axis(a, dims) for a in (stride, dilation, padding, output_padding))
    windows = tuple(transposed(t, *axis) for t, *axis in zip(weight.shape[2:], *args, strict=True))
    return Convolution(transposed_weight(weight, groups), bias, groups, windows)


@spelling.of.register(nn.ConvTranspose1d)
@spelling.of.register(nn.ConvTranspose2d)
@spelling.of.register(nn.ConvTranspose3d)
def of_module(
    m: nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d,
    channels: int | None = None,
    dims: int | None = None,
) -> Convolution:
    return transposed_convolution(m.weight, m.bias, m.stride, m.padding, m.dilation, m.groups, m.output_padding)


@aten("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
def read(call: Call) -> Step:
    weight = call.tensor("weight")
    assert weight is not None
    op = transposed_convolution(
        weight,
        nonzero(call.tensor("bias")),
        *(call[name] for name in ("stride", "padding", "dilation", "groups", "output_padding")),
    )
    return Step(Map(op, call["input"].dim - 1 - op.dims, Transpose()), (call["input"],))
