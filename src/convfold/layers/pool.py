"""Average pooling, of every kind: nn.AvgPool1d-3d; aten avg_pool1d-3d, adaptive_avg_pool1d-3d."""

from __future__ import annotations

from math import prod
from typing import Any

from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window, per_axis
from convfold.errors import NotFoldable
from convfold.layers.known import module
from convfold.layers.spelling import Call, Step, aten, depthwise, known_channels, spatial


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
    """A mean of as many values as the window holds preserves constants; zeros of the padding that count do not."""
    x = call["self"]
    dims = int(str(call.target).rpartition("pool")[2][0])
    kernel = per_axis(call["kernel_size"], dims)
    padding = per_axis(call["padding"], dims)
    divisor = call["divisor_override"]
    counted = any(padding) and call["count_include_pad"]
    whole = divisor is None or (divisor == prod(kernel) and not any(padding) and not call["ceil_mode"])
    channel = x.dim - 1 - dims
    try:
        convolution = average_pool(
            x.shape[channel], kernel, call["stride"], padding, call["ceil_mode"], call["count_include_pad"], divisor,
            x.signal.known(channel, dims),
        )  # fmt: skip
        reason = None
    except NotFoldable as e:
        convolution, reason = None, e
    axes = range(channel + 1, x.dim)
    return spatial(call, axes, constants=whole and not counted, convolution=convolution, reason=reason)


@aten("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default")
@aten("_adaptive_avg_pool2d.default", "_adaptive_avg_pool3d.default")
def read_adaptive(call: Call) -> Step:
    """A convolution only where the output size divides the input size, which must be known."""
    x = call["self"]
    dims = int(str(call.target).rpartition("pool")[2][0])
    channel = x.dim - 1 - dims
    sizes = list(zip(x.signal.known(channel, dims), per_axis(call["output_size"], dims), strict=True))
    convolution = None
    if all(n is not None and isinstance(m, int) and n % m == 0 for n, m in sizes):
        windows = [Window(n // m, n // m) for n, m in sizes if n is not None]
        convolution = depthwise(x.shape[channel], windows, 1.0 / prod(w.taps for w in windows))
    reason = None if convolution else NotFoldable("window-not-uniform", "adaptive windows of different sizes")
    return spatial(call, range(channel + 1, x.dim), constants=True, convolution=convolution, reason=reason)


@module(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
def of_module(m: Any, channels: int | None = None, dims: int | None = None) -> Convolution:
    dims = next(i + 1 for i, kind in enumerate((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)) if isinstance(m, kind))
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
