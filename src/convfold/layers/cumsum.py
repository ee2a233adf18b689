"""Running sums along one axis: aten cumsum."""

from __future__ import annotations

from functools import partial

from convfold.algebra.spatial.cumulate import Cumulate
from convfold.errors import NotFoldable
from convfold.layers.examples import Draw, Example, axis, example, shape
from convfold.layers.spelling import Call, Reading, aten, spatial


@aten("cumsum.default")
def read(call: Call) -> Reading:
    x = call["self"]
    if x.dim < 2 or (call["dtype"] is not None and call["dtype"] != x.dtype):
        raise NotFoldable("not-affine", "of one axis alone, or in another type")
    along = call["dim"] % x.dim
    return spatial(call, [along], partial(Cumulate, along=along))


@example("cumsum.default")
def drawn(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    refused = "not-affine" if x.dim() < 2 else None
    return Example((x, axis(draw, x.dim())), refused=refused)
