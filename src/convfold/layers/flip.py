"""Positions in another order: aten flip, roll."""

from __future__ import annotations

from functools import partial

from convfold.algebra.spatial import Flip, Roll
from convfold.layers.examples import Draw, Example, axis, each, example, shape, some_axes
from convfold.layers.spelling import Call, Reading, aten, spatial


@aten("flip.default")
def read_flip(call: Call) -> Reading:
    x = call["self"]
    axes = sorted({axis % x.dim for axis in call["dims"]})
    return spatial(call, axes, partial(Flip, axes=tuple(axes))) if axes else x


@aten("roll.default")
def read_roll(call: Call) -> Reading:
    """Without ``dims`` all axes are rolled as one: none is carried."""
    x = call["self"]
    axes = sorted({axis % x.dim for axis in call["dims"]} or range(x.dim))
    return spatial(call, axes, partial(Roll, shifts=call.numbers("shifts"), axes=tuple(call["dims"])))


@example("flip.default")
def drawn_flip(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    return Example((x, some_axes(draw, x.dim())))


@example("roll.default")
def drawn_roll(draw: Draw, spelling: str) -> Example:
    """By more than there are positions too, either way; along one axis twice."""
    x = draw.signal(*shape(draw))
    dims = [axis(draw, x.dim()) for _ in range(draw.integer(0, 3))]
    return Example((x, list(each(draw, max(len(dims), 1), -6, 6)), dims))
