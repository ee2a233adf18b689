"""Convolutions and products of matrices, with every way ONNX has to say where their borders lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from convfold.frontends.onnx.running.spelled import operator
from convfold.frontends.torch.running import double

Ends = list[tuple[int, int]]


def ends(
    auto: str | None,
    pads: Sequence[int] | None,
    sizes: Sequence[int],
    spans: Sequence[int],
    strides: Sequence[int],
    least: float = 0,
) -> Ends:
    """Of each axis, what is padded before and after it, where that is not said at least so much in all.

    spans: positions from a kernel's first tap to its last.
    """
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for n, span, s in zip(sizes, spans, strides, strict=True):
            total = int(max((-(-n // s) - 1) * s + span - n, least))
            found.append(_shared(total, auto == "SAME_UPPER"))
        return found
    given = list(pads or [0] * (2 * len(sizes)))
    return list(zip(given[: len(sizes)], given[len(sizes) :], strict=True))


def _shared(total: int, upper: bool) -> tuple[int, int]:
    first = int((total + (not upper)) / 2)  # towards 0, also of less than nothing
    return first, total - first


def padded(x: Tensor, at: Ends, value: float = 0.0) -> Tensor:
    """The last axes, cropped where an end is negative."""
    flat = [n for lo, hi in reversed(at) for n in (lo, hi)]
    return F.pad(x, flat, value=value) if any(flat) else x


@operator("Conv")
def Conv(
    version: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str | None = None,
    dilations: Any = None,
    group: int | None = None,
    pads: Any = None,
    strides: Any = None,
    **_: Any,
) -> Tensor:
    axes = x.dim() - 2
    stride, dilation, groups = list(strides or [1] * axes), list(dilations or [1] * axes), group or 1
    spans = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    x = padded(x, ends(auto_pad, pads, x.shape[2:], spans, stride))
    counts = [(n - span) // s + 1 for n, span, s in zip(x.shape[2:], spans, stride, strict=True)]
    if min(counts, default=1) == 0 or x.numel() == 0:
        return x.new_empty(x.shape[0], weight.shape[0], *counts)
    given = x, weight, bias, stride, [0] * axes, dilation, False, [0] * axes, groups
    if x.dtype is torch.float64 and (fast := double.convolution(*given)) is not None:
        return fast
    return torch.convolution(*given)


@operator("ConvTranspose")
def ConvTranspose(
    version: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str | None = None,
    dilations: Any = None,
    group: int | None = None,
    output_padding: Any = None,
    output_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
    **_: Any,
) -> Tensor:
    axes = x.dim() - 2
    stride, dilation, more = (list(v or [n] * axes) for v, n in ((strides, 1), (dilations, 1), (output_padding, 0)))
    y = torch.convolution(x, weight, None, stride, [0] * axes, dilation, True, [0] * axes, group or 1)
    y = padded(y, [(0, n) for n in more])
    at = ends(None, pads, y.shape[2:], [], [])
    if output_shape or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        wanted = list(output_shape or [n * s for n, s in zip(x.shape[2:], stride, strict=True)])[-axes:]
        excess = [max(n - m, 0) for n, m in zip(y.shape[2:], wanted, strict=True)]
        at = [_shared(n, auto_pad == "SAME_UPPER") for n in excess]
    y = padded(y, [(-lo, -hi) for lo, hi in at])
    return y if bias is None else y + bias.reshape(-1, *[1] * axes)


@operator("MatMul")
def MatMul(version: int, a: Tensor, b: Tensor, **_: Any) -> Tensor:
    return torch.matmul(a, b)


@operator("Gemm")
def Gemm(
    version: int,
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    transA: int | None = None,
    transB: int | None = None,
    **_: Any,
) -> Tensor:
    y = torch.matmul(a.mT if transA else a, b.mT if transB else b)
    y = y if alpha in (None, 1) else y * alpha
    return y if c is None else y + (c if beta in (None, 1) else c * beta)
