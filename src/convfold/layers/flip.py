"""Positions in another order, or all again and again: aten flip, roll; ONNX Tile."""

from __future__ import annotations

from functools import partial

from convfold.algebra.spatial import Flip, Roll, Tile
from convfold.layers.examples import (
    Draw,
    Example,
    OnnxExample,
    axis,
    each,
    example,
    onnx_example,
    opset,
    shape,
    some_axes,
)
from convfold.layers.spelling import Call, Reading, aten, onnx, spatial


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


@onnx("Tile")
def read_onnx_tile(call: Call) -> Reading:
    repeats = call.numbers("repeats")
    axes = [i for i, n in enumerate(repeats) if n != 1]
    return spatial(call, axes, partial(Tile, repeats=repeats)) if axes else call["input"]


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


@onnx_example("Tile")
def drawn_onnx_tile(draw: Draw, spelling: str) -> OnnxExample:
    x = draw.signal(*shape(draw))
    return OnnxExample((x, list(each(draw, x.dim(), 1, 3))), opset=opset(draw))
