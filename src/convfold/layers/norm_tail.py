"""The affine tail of LayerNorm, GroupNorm, InstanceNorm, RMSNorm: scale and shift after normalising fold forward.

ONNX LayerNormalization, GroupNormalization, InstanceNormalization, RMSNormalization.
"""

from __future__ import annotations

from torch import Tensor

from convfold.algebra.realisation import Scale
from convfold.errors import NotFoldable
from convfold.layers import batch_norm
from convfold.layers.examples import (
    Draw,
    Example,
    OnnxExample,
    constant,
    example,
    flag,
    onnx_example,
    opset,
    optional,
    shape,
    space,
)
from convfold.layers.spelling import Call, Convolved, Step, aten, diagonal, onnx


def _tail(call: Call, axis: int) -> Step:
    weight, bias = call.tensor("weight"), call.tensor("bias")
    if weight is None and bias is None:
        raise NotFoldable("not-affine", "a norm without scale or shift")
    bare = call.bare(weight=None, bias=None) if "bias" in call.arguments else call.bare(weight=None)
    return Step(Convolved(diagonal(weight, bias, call.out.shape[axis]), axis, Scale()), (bare,))


@aten("layer_norm.default", "rms_norm.default")
def read(call: Call) -> Step:
    if len(call["normalized_shape"]) != 1:
        raise NotFoldable("not-affine", "a norm over several axes scales positions, not channels")
    return _tail(call, call.out.dim - 1)


@aten("group_norm.default")
def read_group(call: Call) -> Step:
    return _tail(call, 1)


@aten("instance_norm.default")
def read_instance(call: Call) -> Step:
    return _tail(call, 1) if call["use_input_stats"] else batch_norm.read_kept(call)


@onnx("LayerNormalization", "RMSNormalization")
def read_onnx(call: Call) -> Step:
    """Scale and shift are broadcast to the signal, from its last axis on."""
    weight, bias = call.tensor("Scale" if call.kind == "LayerNormalization" else "scale"), call.tensor("B")
    assert weight is not None
    x, several = call["X"], [t for t in (weight, bias) if t is not None and t.numel() > 1]
    axes = {x.dim - t.dim() + i for t in several for i, n in enumerate(t.shape) if n > 1}
    if len(axes) > 1:
        raise NotFoldable("not-affine", "a norm over several axes scales positions, not channels")
    axis = axes.pop() if axes else x.dim - 1
    if not x.is_fixed(axis):
        raise NotFoldable("not-affine", "a scale along an axis of unknown length")
    return _spread(call, weight, bias, axis)


@onnx("InstanceNormalization", "GroupNormalization")
def read_onnx_grouped(call: Call) -> Step:
    """The group norm of opset 18 has one scale a group, those after it one a channel."""
    names = list(call.arguments)
    weight, bias = call.tensor(names[1]), call.tensor(names[2])
    assert weight is not None and bias is not None
    each = call.out.shape[1] // len(weight)
    return _spread(call, weight.repeat_interleave(each), bias.repeat_interleave(each), 1)


def _spread(call: Call, weight: Tensor, bias: Tensor | None, axis: int) -> Step:
    """The norm itself is called with ones and zeros, which are no scale and no shift."""
    if bool((weight == 1).all()) and (bias is None or not bool(bias.any())):
        raise NotFoldable("not-affine", "a norm without scale or shift")
    channels = call.out.shape[axis]
    vectors = [None if t is None else t.reshape(-1).expand(channels) for t in (weight, bias)]
    bare = call.bare(**dict.fromkeys(("scale", "Scale", "B", "bias"), None))
    return Step(Convolved(diagonal(vectors[0], vectors[1], channels), axis, Scale()), (bare,))


@example("layer_norm.default", "rms_norm.default")
def drawn(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw, 2))
    over = x.shape[draw.pick((-1, -2)) :]
    weight = optional(draw, *over)
    bias = (optional(draw, *over),) if spelling.startswith("layer") else ()
    affine = weight is not None or any(b is not None for b in bias)
    refused = "not-affine" if len(over) > 1 or not affine else None
    return Example((x, list(over), weight, *bias, draw.pick((1e-5, 0.1))), refused=refused)


@example("group_norm.default")
def drawn_group(draw: Draw, spelling: str) -> Example:
    groups = draw.integer(1, 3)
    c = groups * draw.integer(1, 2)
    x = draw.signal(draw.integer(1, 2), c, *space(draw, draw.integer(0, 3)))
    weight, bias = optional(draw, c), optional(draw, c)
    return Example((x, groups, weight, bias), refused="not-affine" if weight is bias else None)


@example("instance_norm.default")
def drawn_instance(draw: Draw, spelling: str) -> Example:
    """With statistics of its own input, or with those it has kept."""
    c, own = draw.integer(1, 3), flag(draw)
    x = draw.signal(draw.integer(1, 2), c, *(n + 1 for n in space(draw, draw.integer(1, 3))))
    weight, bias = optional(draw, c), optional(draw, c)
    stats = (None, None) if own else (draw.weight(c), constant(draw.weight(c).abs() + 0.1))
    refused = "not-affine" if own and weight is bias else None
    return Example((x, weight, bias, *stats, own, 0.1, 1e-5, False), refused=refused)


@onnx_example("LayerNormalization", "RMSNormalization")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """Over one axis or several; of several that are longer than one the scale differs from position to position."""
    rms = spelling == "RMSNormalization"
    x = draw.signal(*shape(draw, 2))
    first = draw.integer(1, min(2, x.dim()))
    over = x.shape[-first:]
    bias = () if rms else (optional(draw, *over),)
    how = {"axis": draw.pick((-first, x.dim() - first)), "epsilon": draw.pick((1e-5, 0.1))}
    refused = "not-affine" if sum(n > 1 for n in over) > 1 else None
    return OnnxExample((x, draw.weight(*over), *bias), how, refused, opset(draw, 23 if rms else 17))


@onnx_example("InstanceNormalization", "GroupNormalization")
def drawn_onnx_grouped(draw: Draw, spelling: str) -> OnnxExample:
    groups = draw.integer(1, 3)
    c = groups * draw.integer(1, 2)
    x = draw.signal(draw.integer(1, 2), c, *(n + 1 for n in space(draw, draw.integer(1, 3))))
    if spelling == "InstanceNormalization":
        return OnnxExample((x, draw.weight(c), draw.weight(c)), {"epsilon": draw.pick((1e-5, 0.1))}, opset=opset(draw))
    version = opset(draw, 21)
    n = groups if version < 21 else c
    return OnnxExample((x, draw.weight(n), draw.weight(n)), {"num_groups": groups}, opset=version)
