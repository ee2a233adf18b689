"""Positions in another order: aten flip, roll."""

from __future__ import annotations

from functools import partial

from convfold.algebra.spatial import Flip, Roll
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
