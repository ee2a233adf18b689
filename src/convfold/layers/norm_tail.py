"""The affine tail of LayerNorm, GroupNorm, InstanceNorm, RMSNorm: scale and shift after normalising fold forward."""

from __future__ import annotations

from convfold.algebra.realisation import Scale
from convfold.errors import NotFoldable
from convfold.layers import batch_norm
from convfold.layers.spelling import Call, Map, Step, aten, diagonal


def _tail(call: Call, axis: int) -> Step:
    weight, bias = call.tensor("weight"), call.tensor("bias")
    if weight is None and bias is None:
        raise NotFoldable("not-affine", "a norm without scale or shift")
    bare = call.bare(weight=None, bias=None) if "bias" in call.arguments else call.bare(weight=None)
    return Step(Map(diagonal(weight, bias, call.out.shape[axis]), axis, Scale()), (bare,))


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
