"""The affine tail of LayerNorm, GroupNorm, InstanceNorm, RMSNorm: scale and shift after normalising fold forward."""

from __future__ import annotations

from convfold.algebra.realisation import Scale
from convfold.errors import NotFoldable
from convfold.layers import batch_norm
from convfold.layers.examples import Draw, Example, constant, example, flag, optional, shape, space
from convfold.layers.spelling import Call, Convolved, Step, aten, diagonal


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
