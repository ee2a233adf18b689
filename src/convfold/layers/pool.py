"""Average pooling where it is a convolution: nn.AvgPool1d-3d; aten avg_pool1d-3d, adaptive_avg_pool1d-3d."""

from __future__ import annotations

from math import prod
from typing import Any

from torch import nn

from convfold.algebra import spelling
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.layers.spelling import Call, Map, Step, aten, depthwise, known_channels, per_axis


def average_pool(
    channels: int,
    kernel: tuple[int, ...],
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
    sizes: tuple[int | None, ...] | None,
) -> Convolution:
    """A depthwise constant 1/∏k. At a border where fewer values are counted it is not: ``window-not-uniform``."""
    dims = len(kernel)
    stride = per_axis(stride if stride not in (None, [], ()) else kernel, dims)
    windows = tuple(Window(k, s, 1, 1, p, p) for k, s, p in zip(kernel, stride, per_axis(padding, dims), strict=True))
    if any(w.lo for w in windows) and not count_include_pad and divisor is None:
        raise NotFoldable("window-not-uniform", "count_include_pad=False with padding")
    if ceil_mode and any(
        n is None or (n + w.slack - 1) % w.stride for w, n in zip(windows, sizes or (None,) * dims, strict=True)
    ):
        raise NotFoldable("window-not-uniform", "ceil_mode lets the last window hang over the end")
    return depthwise(channels, windows, 1.0 / (divisor or prod(kernel)))


@aten("avg_pool1d.default", "avg_pool2d.default", "avg_pool3d.default")
def read(call: Call) -> Step:
    x = call["self"]
    dims = call.out.dim - 2
    kernel = call["kernel_size"]
    if len(kernel) not in (1, dims) or dims < 1:
        raise NotFoldable("not-affine", "a pool without a batch axis")
    op = average_pool(
        x.shape[1],
        per_axis(kernel, dims),
        call["stride"],
        call["padding"],
        call["ceil_mode"],
        call["count_include_pad"],
        call["divisor_override"],
        x.signal.known(1, dims),
    )
    return Step(Map(op, 1, moves=True), (x,))


@aten("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default")
def read_adaptive(call: Call) -> Step:
    """Windows of one size only where the output size divides the input size, which must be known."""
    x = call["self"]
    dims = x.dim - 2
    windows = []
    for n, m in zip(x.signal.known(1, dims), per_axis(call["output_size"], dims), strict=True):
        if n is None or not isinstance(m, int) or n % m:
            raise NotFoldable("window-not-uniform", "adaptive windows of different sizes")
        windows.append(Window(n // m, n // m))
    return Step(Map(depthwise(x.shape[1], windows, 1.0 / prod(w.taps for w in windows)), 1, moves=True), (x,))


@spelling.of.register(nn.AvgPool1d)
@spelling.of.register(nn.AvgPool2d)
@spelling.of.register(nn.AvgPool3d)
def of_module(m: Any, channels: int | None = None, dims: int | None = None) -> Convolution:
    dims = {nn.AvgPool1d: 1, nn.AvgPool2d: 2, nn.AvgPool3d: 3}[type(m)]
    return average_pool(
        known_channels(m, channels),
        per_axis(m.kernel_size, dims),
        m.stride,
        m.padding,
        m.ceil_mode,
        m.count_include_pad,
        getattr(m, "divisor_override", None),  # AvgPool1d has none
        None,
    )
