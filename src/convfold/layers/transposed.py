"""Transposed convolution: nn.ConvTranspose1d-3d; aten conv_transpose1d, conv_transpose2d-3d.input; ONNX
ConvTranspose."""

from __future__ import annotations

from typing import Any

from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import Transpose, transposed_weight
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    ModuleExample,
    OnnxExample,
    dims_of,
    example,
    flag,
    grouped_channels,
    lead,
    module_example,
    onnx_example,
    opset,
    optional,
    spelled,
    transposed_windows,
)
from convfold.layers.known import module
from convfold.layers.spelling import Call, Convolved, Step, aten, nonzero, onnx


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


@onnx("ConvTranspose")
def read_onnx(call: Call) -> Step:
    """``output_shape`` or ``auto_pad`` say how large the result is: what is written beyond that is cropped; what is not
    written, at the end, is the bias.

    Padding crops what is scattered; (lo, hi) of the normal form are what is left of the kernel's reach.
    """
    weight, x = call.tensor("W"), call["X"]
    assert weight is not None
    taps, groups = tuple(weight.shape[2:]), call["group"]
    dims = len(taps)
    strides, dilations = call["strides"] or (1,) * dims, call["dilations"] or (1,) * dims
    extra = call["output_padding"] or (0,) * dims
    pairs = _crops(call, taps, strides, dilations, extra)
    windows = tuple(
        Window(t, 1, s, d, d * (t - 1) - lo, d * (t - 1) - hi + e)
        for t, s, d, e, (lo, hi) in zip(taps, strides, dilations, extra, pairs, strict=True)
    )
    kernel = transposed_weight(weight, groups)
    op = Convolution(kernel, nonzero(call.tensor("B")), groups, windows)
    return Step(Convolved(op, 1, Transpose(ends=True)), (x,))


def _crops(call: Call, taps: Any, strides: Any, dilations: Any, extra: Any) -> list[tuple[int, int]]:
    """(lo, hi) of each axis, as the standard has it: the odd position at the end only with SAME_UPPER."""
    dims, auto = len(taps), call["auto_pad"] or "NOTSET"
    wanted = call["output_shape"]
    if wanted is None and auto in ("NOTSET", "VALID"):
        flat = [0] * (2 * dims) if auto == "VALID" else list(call["pads"] or [0] * (2 * dims))
        return list(zip(flat[:dims], flat[dims:], strict=True))
    known = call["X"].signal.known(1, dims)
    if wanted is None:  # one input a stride
        totals = [d * (t - 1) + 1 + e - s for t, s, d, e in zip(taps, strides, dilations, extra, strict=True)]
        if min(totals) < 0:
            raise NotFoldable("not-affine", f"auto_pad={auto} of gaps: the standard and its runtimes differ in size")
    elif None in known:
        raise NotFoldable("size-depends-on-remainder", "output_shape is given, and the input's size is free")
    else:
        space = list(wanted)[-dims:]
        totals = [
            s * (n - 1) + e + d * (t - 1) + 1 - m
            for n, m, t, s, d, e in zip(known, space, taps, strides, dilations, extra, strict=True)
            if n is not None
        ]
    found = []
    for total in totals:
        less, more = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        lo, hi = (less, more) if auto == "SAME_UPPER" else (more, less)
        found.append((lo, hi + min(total, 0)))
    return found


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


@onnx_example("ConvTranspose")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """Crops that differ from one end to the other, or such that the size is what is asked for."""
    (c_in, c_out, groups), dims = grouped_channels(draw), draw.integer(1, 3)
    w = transposed_windows(draw, dims)
    how: dict[str, Any] = {"group": groups, "strides": list(w.stride)}
    how |= {"kernel_shape": list(w.taps)} if flag(draw) else {}
    dilation = w.dilation if flag(draw) else (1,) * dims
    how |= {"dilations": list(dilation)} if max(dilation) > 1 else {}
    extra = [min(e, max(s, 1) - 1) for e, s in zip(w.output_padding, w.stride, strict=True)]
    how |= {"output_padding": extra} if max(extra) and flag(draw) else {}
    sizes = zip(w.space, w.stride, dilation, w.taps, how.get("output_padding", [0] * dims), strict=True)
    whole = [(n - 1) * s + d * (t - 1) + 1 + e for n, s, d, t, e in sizes]
    way = draw.pick(("none", "pads", "output_shape", "SAME_UPPER", "SAME_LOWER", "VALID"))
    if way == "pads":
        lo = [draw.integer(0, min(2, n - 1)) for n in whole]
        how["pads"] = [*lo, *(draw.integer(0, min(2, n - 1 - a)) for n, a in zip(whole, lo, strict=True))]
    elif way == "output_shape":
        # No shorter than the signal, which ONNX Runtime does not take, and no gap of a stride, where it reads too far.
        ends = zip(whole, w.space, w.stride, how.get("output_padding", [0] * dims), strict=True)
        how["output_shape"] = [draw.integer(max(m, n - 3), max(m, n + s - 1 - e)) for n, m, s, e in ends]
        how |= {"auto_pad": draw.pick(("SAME_UPPER", "SAME_LOWER"))} if flag(draw) else {}
    elif way != "none":
        how["auto_pad"] = way
    spans = zip(w.stride, dilation, w.taps, how.get("output_padding", [0] * dims), strict=True)
    gaps = way.startswith("SAME") and any(d * (t - 1) + 1 + e < s for s, d, t, e in spans)
    x, weight = draw.signal(draw.integer(1, 2), c_in, *w.space), draw.weight(c_in, c_out // groups, *w.taps)
    bias = optional(draw, c_out)
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return OnnxExample(inputs, how, "not-affine" if gaps else None, opset(draw))
