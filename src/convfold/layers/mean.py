"""The mean or sum over some axes: aten mean, sum."""

from __future__ import annotations

from functools import partial

import torch

from convfold.algebra.spatial import Reduce
from convfold.errors import NotFoldable
from convfold.layers.examples import Draw, Example, example, flag, shape, some_axes
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


@example("mean.dim", "sum.dim_IntList")
def drawn(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    dims = draw.pick((some_axes(draw, x.dim()), some_axes(draw, x.dim()), None))
    dtype = draw.pick((None, torch.float64, torch.float32))
    every = not dims or len(dims) == x.dim()
    refused = "not-affine" if every or dtype == torch.float32 else None
    return Example((x, dims, flag(draw)), {"dtype": dtype}, refused)
