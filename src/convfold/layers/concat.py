"""Concatenation: aten cat, concat, concatenate."""

from __future__ import annotations

from convfold.algebra.joins import Concat
from convfold.errors import NotFoldable
from convfold.layers.spelling import Call, Step, aten


@aten("cat.default", "concat.default", "concatenate.default")
def read(call: Call) -> Step:
    parts = call["tensors"]
    axis = call["dim"] % call.out.dim
    if any(p.dim != call.out.dim or p.dtype != call.out.dtype or axis in p.signal.free for p in parts):
        raise NotFoldable("not-affine", "parts of unknown length or of another type")
    return Step(Concat(axis), tuple(parts))
