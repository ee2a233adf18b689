"""Average pooling, of every kind: nn.AvgPool1d-3d; aten avg_pool1d-3d, adaptive_avg_pool1d-3d; ONNX AveragePool,
GlobalAveragePool."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.spatial import AdaptivePool, AveragePool, Reduce, WindowMean
from convfold.algebra.spatial.pool import counts
from convfold.algebra.window import Window, per_axis
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    ModuleExample,
    OnnxExample,
    dims_of,
    each,
    example,
    flag,
    lead,
    module_example,
    onnx_example,
    opset,
    space,
    spelled,
)
from convfold.layers.known import module
from convfold.layers.onnx import windows_of
from convfold.layers.spelling import Call, Step, aten, depthwise, known_channels, onnx, spatial


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


def _read(call: Call, dims: int) -> Step:
    x = call["self"]
    kernel, padding = per_axis(call["kernel_size"], dims), per_axis(call["padding"], dims)
    stride = per_axis(call["stride"] or kernel, dims)
    ceil, counted, divisor = call["ceil_mode"], call["count_include_pad"], call["divisor_override"]
    channel = x.dim - 1 - dims
    convolution = reason = None
    try:
        sizes = x.signal.known(channel, dims)
        convolution = average_pool(x.shape[channel], kernel, stride, padding, ceil, counted, divisor, sizes)
    except NotFoldable as e:
        reason = e
    kind = partial(AveragePool, kernel=kernel, stride=stride, padding=padding)
    kind = partial(kind, ceil=ceil, counted=counted, divisor=divisor)
    return spatial(call, range(channel + 1, x.dim), kind, convolution=convolution, reason=reason)


def _read_adaptive(call: Call, dims: int) -> Step:
    """A convolution only where the output size divides the input size, which must be known."""
    x = call["self"]
    channel = x.dim - 1 - dims
    output = tuple(None if n is None else call.number(n) for n in per_axis(call["output_size"], dims))
    sizes = list(zip(x.signal.known(channel, dims), per_axis(call["output_size"], dims), strict=True))
    convolution = None
    if all(n is not None and isinstance(m, int) and n % m == 0 for n, m in sizes):
        windows = [Window(n // m, n // m) for n, m in sizes if n is not None]
        convolution = depthwise(x.shape[channel], windows, 1.0 / prod(w.taps for w in windows))
    reason = None if convolution else NotFoldable("window-not-uniform", "adaptive windows of different sizes")
    axes = range(channel + 1, x.dim)
    return spatial(call, axes, partial(AdaptivePool, output=output), convolution=convolution, reason=reason)


for _dims in (1, 2, 3):
    aten(f"avg_pool{_dims}d.default")(partial(_read, dims=_dims))
    aten(f"adaptive_avg_pool{_dims}d.default")(partial(_read_adaptive, dims=_dims))
for _dims in (2, 3):
    aten(f"_adaptive_avg_pool{_dims}d.default")(partial(_read_adaptive, dims=_dims))


@onnx("AveragePool")
def read_onnx(call: Call) -> Step:
    """A convolution where every window holds as many positions as any other."""
    x, counted = call["X"], bool(call["count_include_pad"])
    windows, output = windows_of(call, call["kernel_shape"]), call.out.shape[2:]
    sizes, ceil = x.signal.known(1, len(windows)), bool(call["ceil_mode"])
    if str(call["auto_pad"]).startswith("SAME") and any(
        w.lo + n + w.hi - (m - 1) * w.stride - w.reach > 2 for w, n, m in zip(windows, x.shape[2:], output, strict=True)
    ):
        raise NotFoldable("not-affine", "auto_pad takes positions off both ends, where windows leave some out")
    even = all(
        bool((counts(w, n, m, counted) == w.taps).all())
        if n is not None
        else (counted or not (w.lo or w.hi)) and not (ceil and w.stride > 1)
        for w, n, m in zip(windows, sizes, output, strict=True)
    )
    convolution = reason = None
    if even and len(windows) <= 3:
        convolution = depthwise(x.shape[1], windows, 1.0 / prod(w.taps for w in windows))
    else:
        reason = NotFoldable("window-not-uniform", "windows at the border hold fewer positions")
    kind = partial(WindowMean, windows=windows, counted=counted, output=output)
    return spatial(call, range(2, x.dim), kind, convolution=convolution, reason=reason)


@onnx("GlobalAveragePool")
def read_onnx_global(call: Call) -> Step:
    x = call["X"]
    if x.dim < 3:
        raise NotFoldable("not-affine", "a mean over no axes")
    axes, sizes = tuple(range(2, x.dim)), x.signal.known(1, x.dim - 2)
    whole = [n for n in sizes if n is not None]
    convolution = None
    if len(whole) == len(sizes) <= 3:
        convolution = depthwise(x.shape[1], [Window(n, n) for n in whole], 1.0 / prod(whole))
    reason = None if convolution else NotFoldable("window-not-uniform", "a window as large as a signal of any size")
    kind = partial(Reduce, axes=axes, mean=True, kept=True)
    return spatial(call, axes, kind, convolution=convolution, reason=reason)


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


def _drawn(draw: Draw, dims: int) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The arguments by name, and a space with room for them; no window is nothing but padding."""
    kernel = each(draw, dims, 1, 4 if dims < 3 else 3)
    padding = tuple(draw.integer(0, k // 2) for k in kernel)
    least = [max(1, k - 2 * p) if dims < 3 else k for k, p in zip(kernel, padding, strict=True)]  # as torch asks
    stride = draw.pick((None, each(draw, dims, 1, 4)))
    how: dict[str, Any] = {"ceil_mode": flag(draw), "count_include_pad": flag(draw)}
    if dims > 1:
        how["divisor_override"] = draw.pick((None, 5, prod(kernel)))
    numbers = {"kernel_size": kernel, "stride": stride, "padding": padding}
    return numbers | how, tuple(n + draw.integer(0, 4 if dims < 3 else 2) for n in least)


@example(*(f"avg_pool{d}d.default" for d in (1, 2, 3)))
def drawn(draw: Draw, spelling: str) -> Example:
    numbers, space = _drawn(draw, dims_of(spelling))
    kernel, stride, padding, *rest = numbers.values()
    x = draw.signal(*lead(draw), draw.integer(1, 3), *space)
    strides: Any = [] if stride is None else spelled(draw, stride)
    return Example((x, spelled(draw, kernel), strides, spelled(draw, padding), *rest))


@example(*(f"adaptive_avg_pool{d}d.default" for d in (1, 2, 3)), *(f"_adaptive_avg_pool{d}d.default" for d in (2, 3)))
def drawn_adaptive(draw: Draw, spelling: str) -> Example:
    """To fewer positions or more, evenly or not."""
    dims = dims_of(spelling)
    x = draw.signal(*lead(draw), draw.integer(1, 3), *space(draw, dims))
    return Example((x, list(each(draw, dims, 1, 5))))


@module_example(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
def drawn_module(draw: Draw, cls: Any) -> ModuleExample:
    numbers, space = _drawn(draw, dims_of(cls))
    uneven = any(numbers["padding"]) and not numbers["count_include_pad"] and numbers.get("divisor_override") is None
    refused = "window-not-uniform" if uneven or numbers["ceil_mode"] else None
    return ModuleExample(cls(**numbers), draw.signal(draw.integer(1, 2), draw.integer(1, 3), *space), refused)


@onnx_example("AveragePool")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """No window lies in the padding alone."""
    version, dims = opset(draw), draw.integer(1, 3)
    kernel = each(draw, dims, 1, 4 if dims < 3 else 3)
    dilations = each(draw, dims, 1, 3) if version >= 19 and flag(draw) else (1,) * dims
    how: dict[str, Any] = {"kernel_shape": list(kernel)}
    if version >= 19:
        how["dilations"] = list(dilations)
    if flag(draw):
        how["strides"] = list(each(draw, dims, 1, 3))
    if version >= 10 and flag(draw):
        how["ceil_mode"] = 1
    how["count_include_pad"] = int(flag(draw))
    ways = ("NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
    auto = draw.pick(ways if max(dilations) == 1 else ("NOTSET", "VALID"))  # in ONNX Runtime SAME knows no dilation
    pads = [draw.integer(0, k - 1) if max(dilations) == 1 else 0 for k in 2 * kernel]
    if auto != "NOTSET":
        how["auto_pad"] = auto
        how.pop("ceil_mode", None)
        pads = [0] * (2 * dims)
    else:
        how["pads"] = pads
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    least = [max(s - lo - hi, 1) for s, lo, hi in zip(spans, pads[:dims], pads[dims:], strict=True)]
    space = (n + draw.integer(0, 4 if dims < 3 else 2) for n in least)
    x = draw.signal(draw.integer(1, 2), draw.integer(1, 3), *space)
    strides = how.get("strides", [1] * dims)
    left = [(n - 1) % s + 1 - span for n, s, span in zip(x.shape[2:], strides, spans, strict=True)]
    refused = "not-affine" if auto.startswith("SAME") and max(left) > 1 else None
    return OnnxExample((x,), how, refused, opset=version)


@onnx_example("GlobalAveragePool")
def drawn_onnx_global(draw: Draw, spelling: str) -> OnnxExample:
    x = draw.signal(draw.integer(1, 2), draw.integer(1, 3), *space(draw, draw.integer(1, 3)))
    return OnnxExample((x,), opset=opset(draw))
