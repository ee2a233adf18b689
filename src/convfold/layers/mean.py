"""The mean or sum over some axes: aten mean, sum."""

from __future__ import annotations

from convfold.errors import NotFoldable
from convfold.layers.spelling import Call, Reading, aten, spatial


@aten("mean.dim", "sum.dim_IntList")
def read(call: Call) -> Reading:
    """``1/n Σ`` preserves constants, ``Σ`` does not."""
    x = call["self"]
    axes = sorted({axis % x.dim for axis in call["dim"] or ()})
    if not axes or (call["dtype"] is not None and call["dtype"] != x.dtype):
        raise NotFoldable("not-affine", "over all axes, or in another type")
    return spatial(call, axes, constants="mean" in str(call.target))
