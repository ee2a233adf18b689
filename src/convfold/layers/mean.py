"""The mean or sum over some axes: aten mean, sum; ONNX ReduceMean, ReduceSum."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from convfold.algebra.spatial import Reduce
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    OnnxExample,
    example,
    flag,
    onnx_example,
    opset,
    shape,
    some_axes,
)
from convfold.layers.spelling import Call, Reading, aten, onnx, spatial


@aten("mean.dim")
def read_mean(call: Call) -> Reading:
    return _reduced(call, call["dim"], bool(call["keepdim"]), mean=True)


@aten("sum.dim_IntList")
def read_sum(call: Call) -> Reading:
    return _reduced(call, call["dim"], bool(call["keepdim"]), mean=False)


@onnx("ReduceMean", "ReduceSum")
def read_onnx(call: Call) -> Reading:
    """Without axes over all of them, or over none where ``noop_with_empty_axes`` says so."""
    axes = call.numbers("axes") if call["axes"] is not None else ()
    if not axes and call["noop_with_empty_axes"]:
        return call["data"]  # type: ignore[no-any-return]
    return _reduced(call, axes, bool(call["keepdims"]), mean=call.kind == "ReduceMean")


def _reduced(call: Call, named: Sequence[int] | None, kept: bool, mean: bool) -> Reading:
    x = call.first
    axes = sorted({axis % x.dim for axis in named or ()}) if x.dim else []
    if len(axes) in (0, x.dim) or (call["dtype"] is not None and call["dtype"] != x.dtype):
        raise NotFoldable("not-affine", "over all axes, or in another type")
    return spatial(call, axes, partial(Reduce, axes=tuple(axes), mean=mean, kept=kept))


@example("mean.dim", "sum.dim_IntList")
def drawn(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    dims = draw.pick((some_axes(draw, x.dim()), some_axes(draw, x.dim()), None))
    dtype = draw.pick((None, torch.float64, torch.float32))
    every = not dims or len(dims) == x.dim()
    refused = "not-affine" if every or dtype == torch.float32 else None
    return Example((x, dims, flag(draw)), {"dtype": dtype}, refused)


@onnx_example("ReduceMean", "ReduceSum")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """Axes are an attribute before they are an input, and were not counted from the end before opset 11."""
    version, x = opset(draw), draw.signal(*shape(draw))
    given = version >= (13 if spelling == "ReduceSum" else 18)
    axes: list[int] | None = draw.pick((some_axes(draw, x.dim()), some_axes(draw, x.dim()), None))
    if axes is not None and version < 11:
        axes = [a % x.dim() for a in axes]
    if not axes and not given:
        axes = None
    how: dict[str, Any] = {"keepdims": int(flag(draw))}
    if given and flag(draw):
        how["noop_with_empty_axes"] = 1
    if axes is not None and not given:
        how["axes"] = axes
    every = (not axes and "noop_with_empty_axes" not in how) or len(axes or ()) == x.dim()
    inputs = (x, axes) if given and axes is not None else (x,)
    return OnnxExample(inputs, how, "not-affine" if every else None, opset=version)
