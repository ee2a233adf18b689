"""Convolution: nn.Conv1d-3d; aten conv1d-3d, conv*d.padding, convolution; ONNX Conv."""

from __future__ import annotations

from typing import Any

from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import Convolve, Realisation, Transpose
from convfold.algebra.window import Window, per_axis
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
    windows,
)
from convfold.layers.known import module
from convfold.layers.links import Link
from convfold.layers.onnx import windows_of
from convfold.layers.spelling import Call, Convolved, Step, aten, nonzero, onnx


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
@aten("convolution.default")
def read(call: Call) -> Step:
    weight, bias = call.tensor("weight"), nonzero(call.tensor("bias"))
    assert weight is not None
    numbers = {name: call[name] for name in ("groups", "stride", "padding", "dilation")}
    how: Realisation = Convolve()
    if call["transposed"]:
        op, how = (
            Convolution.conv_transpose(weight, bias, output_padding=call["output_padding"], **numbers),
            Transpose(),
        )
    else:
        op = Convolution(weight, bias, **numbers)
    return Step(Convolved(op, call["input"].dim - 1 - op.dims, how), (call["input"],))


@onnx("Conv")
def read_onnx(call: Call) -> Step:
    weight, x = call.tensor("W"), call["X"]
    assert weight is not None
    op = Convolution(weight, nonzero(call.tensor("B")), call["group"], windows_of(call, tuple(weight.shape[2:])))
    return Step(Convolved(op, 1, Convolve(ends=True)), (x,))


@example("conv1d.default", "conv2d.default", "conv3d.default")
def drawn(draw: Draw, spelling: str) -> Example:
    (c_in, c_out, groups), w = grouped_channels(draw), windows(draw, dims_of(spelling))
    weight = draw.weight(c_out, c_in // groups, *w.taps)
    numbers = [spelled(draw, n) for n in (w.stride, w.padding, w.dilation)]
    return Example((draw.signal(*lead(draw), c_in, *w.space), weight, optional(draw, c_out), *numbers, groups))


@example("conv1d.padding", "conv2d.padding", "conv3d.padding")
def drawn_by_name(draw: Draw, spelling: str) -> Example:
    (c_in, c_out, groups), w = grouped_channels(draw), windows(draw, dims_of(spelling))
    same = flag(draw)
    stride = (1,) * len(w.taps) if same else w.stride
    space = (n if same else n + d * (t - 1) for n, d, t in zip(w.space, w.dilation, w.taps, strict=True))
    numbers = spelled(draw, stride), "same" if same else "valid", spelled(draw, w.dilation), groups
    weight = draw.weight(c_out, c_in // groups, *w.taps)
    return Example((draw.signal(*lead(draw), c_in, *space), weight, optional(draw, c_out), *numbers))


@example("convolution.default")
def drawn_core(draw: Draw, spelling: str) -> Example:
    (c_in, c_out, groups), dims, transposed = grouped_channels(draw), draw.integer(1, 3), flag(draw)
    w = transposed_windows(draw, dims) if transposed else windows(draw, dims)
    ends = (c_in, c_out // groups) if transposed else (c_out, c_in // groups)
    extra = list(w.output_padding) or [0] * dims
    numbers = list(w.stride), list(w.padding), list(w.dilation), transposed, extra, groups
    x = draw.signal(draw.integer(1, 2), c_in, *w.space)
    return Example((x, draw.weight(*ends, *w.taps), optional(draw, c_out), *numbers))


@module_example(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def drawn_module(draw: Draw, cls: Any) -> ModuleExample:
    (c_in, c_out, groups), w = grouped_channels(draw), windows(draw, dims_of(cls))
    mode = draw.pick(("zeros", "reflect", "replicate", "circular"))
    padding = "same" if flag(draw) and max(w.stride) == 1 else w.padding
    m = cls(c_in, c_out, w.taps, w.stride, padding, w.dilation, groups, flag(draw), mode)
    pads = max(m._reversed_padding_repeated_twice)
    copies = mode != "zeros"  # of what is there: no more than that
    space = (max(n, copies * (pads + 1)) for n in w.space)
    return ModuleExample(m, draw.signal(draw.integer(1, 2), c_in, *space), "padding-mode" if copies and pads else None)


@onnx_example("Conv")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """Other zeros at one end than at the other, or as many as sizes ask for; some attributes are left out."""
    (c_in, c_out, groups), dims = grouped_channels(draw), draw.integer(1, 3)
    w = windows(draw, dims)
    how: dict[str, Any] = {"group": groups} if groups > 1 or flag(draw) else {}
    how |= {"kernel_shape": list(w.taps)} if flag(draw) else {}
    dilation = w.dilation if flag(draw) else (1,) * dims
    how |= {"dilations": list(dilation)} if max(dilation) > 1 or flag(draw) else {}
    how |= {"strides": list(w.stride)} if flag(draw) else {}
    auto = draw.pick(("NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))
    pads, spans = [0] * (2 * dims), [d * (t - 1) + 1 for d, t in zip(dilation, w.taps, strict=True)]
    if auto != "NOTSET":
        how["auto_pad"] = auto
    elif flag(draw):
        pads = [draw.integer(0, 3) for _ in pads]
        how["pads"] = pads
    least = [max(s - lo - hi, 1) for s, lo, hi in zip(spans, pads[:dims], pads[dims:], strict=True)]
    space = (n + draw.integer(0, 4 if dims < 3 else 2) for n in least)
    x, weight = draw.signal(draw.integer(1, 2), c_in, *space), draw.weight(c_out, c_in // groups, *w.taps)
    bias = optional(draw, c_out)
    return OnnxExample((x, weight, bias) if bias is not None else (x, weight), how, opset=opset(draw))
