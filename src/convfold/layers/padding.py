"""Padding and cropping of the space axes in every mode: nn.ZeroPad; aten pad and its kin; ONNX Pad,
CenterCropPad."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.spatial import Pad
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    ModuleExample,
    OnnxExample,
    constant,
    dims_of,
    each,
    example,
    flag,
    lead,
    module_example,
    onnx_example,
    opset,
    shape,
)
from convfold.layers.known import module
from convfold.layers.spelling import Call, Reading, Step, Value, aten, depthwise, known_channels, onnx, spatial


def zero_padding(channels: int, pads: Sequence[int], dims: int) -> Convolution:
    """A depthwise one with pads; ``pads`` in PyTorch's order: last axis first, (lo, hi) each."""
    pairs = list(zip(pads[::2], pads[1::2], strict=True))
    windows = [Window()] * (dims - len(pairs)) + [Window(lo=lo, hi=hi) for lo, hi in reversed(pairs)]
    return depthwise(channels, windows, 1.0)


@aten("pad.default", "constant_pad_nd.default")
def read(call: Call) -> Reading:
    return _padded(call, call["pad"], call["mode"] or "constant", call["value"])


@onnx("Pad")
def read_onnx(call: Call) -> Reading:
    """All low ends, then all high ones, of all axes or of those that are named."""
    x = call["data"]
    axes = [a % x.dim for a in call.numbers("axes")] if call["axes"] is not None else list(range(x.dim))
    flat, value = call.numbers("pads"), call["constant_value"] if call["value"] is None else call["value"]
    if isinstance(value, Value):
        value = float(value.tensor())
    pairs = dict(zip(axes, zip(flat[: len(axes)], flat[len(axes) :], strict=True), strict=True))
    pads = [n for i in reversed(range(x.dim)) for n in pairs.get(i, (0, 0))]
    mode = {"edge": "replicate", "wrap": "circular"}.get(call["mode"], call["mode"])
    return _padded(call, pads, mode, value)


@onnx("CenterCropPad")
def read_onnx_centre(call: Call) -> Reading:
    """To given sizes: the odd position is added at the end, and cropped there."""
    x, y = call["input_data"], call.out
    changed = [i for i, (n, m) in enumerate(zip(x.symbols, y.symbols, strict=True)) if n != m]
    if (x.signal.free | y.signal.free).intersection(changed):
        raise NotFoldable("padding-mode", "padding by an unknown amount, or of the batch")
    grown = [m - n for n, m in zip(x.shape, y.shape, strict=True)]
    halves = [abs(d) // 2 * (1 if d > 0 else -1) for d in grown]
    pads = [n for d, half in reversed(list(zip(grown, halves, strict=True))) for n in (half, d - half)]
    return _padded(call, pads, "constant", None)


def _padded(call: Call, given: Sequence[int], mode: str, value: float | None) -> Reading:
    """Cropping preserves constants, as does padding with copies of the data; zeros do not, but are a convolution."""
    x, pads = call.first, list(given)
    copies = mode != "constant"
    fill = 0.0 if copies or value is None or not any(isinstance(n, int) and n > 0 for n in pads) else float(value)
    if not isfinite(fill):
        raise NotFoldable("padding-mode", "padding with infinity, or with what is no number")
    unknown = NotFoldable("padding-mode", "padding by an unknown amount, or of the batch")
    if not all(isinstance(p, int) for p in pads):  # one that is 0 at the example is not always
        raise unknown
    while len(pads) >= 2 and pads[-2:] == [0, 0]:
        del pads[-2:]
    if not pads:
        return x  # type: ignore[no-any-return]
    if len(pads) >= 2 * x.dim:
        raise unknown
    axes = [x.dim - 1 - i for i in reversed(range(len(pads) // 2)) if pads[2 * i] or pads[2 * i + 1]]
    dims, kind = x.dim - 2, partial(Pad, pads=tuple(pads), mode=mode, fill=fill)
    if copies or not 1 <= dims <= 3 or len(pads) > 2 * dims:
        circular = mode == "circular" and 1 <= dims <= 3 and min(pads) >= 0
        pairs = list(zip(pads[::2], pads[1::2], strict=True))[::-1]
        wraps = ((0, 0),) * (dims - len(pairs)) + tuple(pairs) if circular else ()
        return spatial(call, axes, partial(kind, wraps=wraps), channel=1 if circular else None, reason=_reason(copies))
    if fill:
        return spatial(
            call, axes, kind, channel=1, reason=NotFoldable("padding-mode", "padding with another value than zero")
        )
    return spatial(call, axes, kind, channel=1, convolution=zero_padding(x.shape[1], pads, dims))


def _reason(copies: bool) -> NotFoldable | None:
    return NotFoldable("padding-mode", "padding with copies of the data") if copies else None


def _read_copies(call: Call, mode: str) -> Step:
    x, pads = call["self"], call.numbers("padding")
    axes = range(x.dim - len(pads) // 2, x.dim)
    return spatial(call, axes, partial(Pad, pads=pads, mode=mode), reason=_reason(copies=True))


aten(*(f"reflection_pad{d}d.default" for d in (1, 2, 3)))(partial(_read_copies, mode="reflect"))
aten(*(f"replication_pad{d}d.default" for d in (1, 2, 3)))(partial(_read_copies, mode="replicate"))


@module(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
def of_module(m: Any, channels: int | None = None, dims: int | None = None) -> Convolution:
    if m.value != 0:
        raise NotFoldable("padding-mode", f"pads with {m.value}, not zero")
    return zero_padding(known_channels(m, channels), m.padding, len(m.padding) // 2)


@example("pad.default", "constant_pad_nd.default")
def drawn(draw: Draw, spelling: str) -> Example:
    """Any axes, the batch too, by zeros, by another number or by copies; some cropped, none to nothing."""
    mode = draw.pick(("constant", "reflect", "replicate", "circular") if spelling.startswith("pad") else ("constant",))
    rank = draw.integer(1, 5) if mode == "constant" else draw.integer(2, 5)
    sizes = tuple(n + 2 for n in each(draw, rank, 1, 3 if rank < 4 else 2))
    padded = draw.integer(0, rank) if mode == "constant" else draw.integer(max(1, rank - 2), min(rank - 1, 3))
    low = -1 if mode in ("constant", "circular") else 0
    pads = each(draw, 2 * padded, low, 2)
    value = draw.pick((0, 0.0, 1.5)) if mode == "constant" else None
    batch = padded == rank and any(pads[-2:])
    refused = "padding-mode" if batch else None
    given = (mode, value) if spelling.startswith("pad") else (value,)
    return Example((draw.signal(*sizes), list(pads), *given), refused=refused)


@example(*(f"{kind}_pad{d}d.default" for kind in ("reflection", "replication") for d in (1, 2, 3)))
def drawn_copies(draw: Draw, spelling: str) -> Example:
    dims = dims_of(spelling)
    pads = list(each(draw, 2 * dims, 0, 2))
    return Example((draw.signal(*lead(draw), draw.integer(1, 3), *each(draw, dims, 3, 5)), pads))


@module_example(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
def drawn_module(draw: Draw, cls: Any) -> ModuleExample:
    pads, value = each(draw, 2 * dims_of(cls), -1, 2), draw.pick((0.0, 1.5))
    zeros = "Zero" in cls.__name__
    x = draw.signal(draw.integer(1, 2), draw.integer(1, 3), *each(draw, dims_of(cls), 3, 5))
    return ModuleExample(cls(pads) if zeros else cls(pads, value), x, "padding-mode" if value and not zeros else None)


@onnx_example("Pad")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """Copies of no more than is there; some axes are named or all given, cropped or padded."""
    version = opset(draw)
    mode = draw.pick(("constant", "reflect", "edge", *(("wrap",) if version >= 19 else ())))
    rank = draw.integer(2, 5)
    sizes = tuple(n + 3 for n in each(draw, rank, 1, 3 if rank < 4 else 2))
    padded = sorted({draw.integer(1, rank - 1) for _ in range(draw.integer(0, 3))})
    crops = -1 if mode == "constant" or flag(draw) else 0
    pairs = {i: (draw.integer(crops, 2), draw.integer(crops, 2)) for i in padded}
    if draw.integer(0, 9) == 9:
        pairs[0] = (1, 0)
    value = draw.pick((0.0, 0.0, None, 1.5)) if mode == "constant" else None
    axes = [i - draw.pick((0, rank)) for i in pairs] if version >= 18 and pairs and flag(draw) else None
    named = list(pairs) if axes is not None else list(range(rank))
    pads = [pairs.get(i, (0, 0))[end] for end in (0, 1) for i in named]
    refused = "padding-mode" if 0 in pairs else None
    x, how = draw.signal(*sizes), {"mode": mode}
    if version < 11:
        return OnnxExample((x,), {**how, "pads": pads, "value": value or 0.0}, refused, opset=version)
    number = None if value is None else constant(torch.tensor(value))
    return OnnxExample((x, pads, number, axes), how, refused, opset=version)


@onnx_example("CenterCropPad")
def drawn_onnx_centre(draw: Draw, spelling: str) -> OnnxExample:
    version, x = opset(draw, 18), draw.signal(*shape(draw, 2))
    sizes = [x.shape[0], *(draw.integer(1, 6) for _ in x.shape[1:])]
    if flag(draw):
        back = draw.pick((0, x.dim()))
        return OnnxExample((x, sizes[1:]), {"axes": [i - back for i in range(1, x.dim())]}, opset=version)
    return OnnxExample((x, sizes), opset=version)
