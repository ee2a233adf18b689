"""The mean or sum over some axes: aten mean, sum."""

from __future__ import annotations

from functools import partial

from convfold.algebra.spatial import Reduce
from convfold.errors import NotFoldable
from convfold.layers.spelling import Call, Reading, aten, spatial


@aten("mean.dim")
def read_mean(call: Call) -> Reading:
    return _reduced(call, mean=True)


@aten("sum.dim_IntList")
def read_sum(call: Call) -> Reading:
    return _reduced(call, mean=False)


def _reduced(call: Call, mean: bool) -> Reading:
    x = call["self"]
    axes = sorted({axis % x.dim for axis in call["dim"] or ()})
    if len(axes) in (0, x.dim) or (call["dtype"] is not None and call["dtype"] != x.dtype):
        raise NotFoldable("not-affine", "over all axes, or in another type")
    return spatial(call, axes, partial(Reduce, axes=tuple(axes), mean=mean, kept=bool(call["keepdim"])))
