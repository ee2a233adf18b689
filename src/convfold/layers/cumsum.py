"""Running sums along one axis: aten cumsum; ONNX CumSum."""

from __future__ import annotations

from functools import partial

from convfold.algebra.spatial import Cumulate
from convfold.errors import NotFoldable
from convfold.layers.examples import Draw, Example, OnnxExample, axis, example, flag, onnx_example, opset, shape
from convfold.layers.spelling import Call, Reading, aten, onnx, spatial


@aten("cumsum.default")
def read(call: Call) -> Reading:
    x = call["self"]
    if x.dim < 2 or (call["dtype"] is not None and call["dtype"] != x.dtype):
        raise NotFoldable("not-affine", "of one axis alone, or in another type")
    along = call["dim"] % x.dim
    return spatial(call, [along], partial(Cumulate, along=along))


@onnx("CumSum")
def read_onnx(call: Call) -> Reading:
    x = call["x"]
    if x.dim < 2:
        raise NotFoldable("not-affine", "of one axis alone")
    along = call.numbers("axis")[0] % x.dim
    kind = partial(Cumulate, along=along, exclusive=bool(call["exclusive"]), backward=bool(call["reverse"]))
    return spatial(call, [along], kind)


@example("cumsum.default")
def drawn(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    refused = "not-affine" if x.dim() < 2 else None
    return Example((x, axis(draw, x.dim())), refused=refused)


@onnx_example("CumSum")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    x = draw.signal(*shape(draw))
    how = {"exclusive": int(flag(draw)), "reverse": int(flag(draw))}
    along = draw.pick((axis(draw, x.dim()), [axis(draw, x.dim())]))  # one number, or the only one of a list
    return OnnxExample((x, along), how, "not-affine" if x.dim() < 2 else None, opset(draw, 11))
