"""Positions in another order, or all again and again: aten flip, roll, repeat, tile, repeat_interleave; ONNX Tile."""

from __future__ import annotations

from functools import partial

from convfold.algebra.spatial import Flip, Repeat, Roll, Tile
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
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
from convfold.layers.spelling import Call, Reading, aten, depthwise, onnx, spatial


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


@aten("repeat.default", "tile.default")
def read_repeat(call: Call) -> Reading:
    """As often as it says of the last axes; ``repeat`` names all of them, or more, which is refused."""
    x, named = call["self"], call.numbers("repeats" if call["repeats"] is not None else "dims")
    if len(named) > x.dim or any(not isinstance(n, int) for n in call["repeats"] or call["dims"]):
        raise NotFoldable("not-affine", "repeated along axes that are new, or as often as is known at run time only")
    repeats = (*(1,) * (x.dim - len(named)), *named)
    axes = [i for i, n in enumerate(repeats) if n != 1]
    return spatial(call, axes, partial(Tile, repeats=repeats)) if axes else x


@aten("repeat_interleave.self_int")
def read_interleave(call: Call) -> Reading:
    """Every position so many times: of space a transposed convolution."""
    x, times = call["self"], call["repeats"]
    if not isinstance(times, int) or call["dim"] is None:
        raise NotFoldable("not-affine", "repeated as often as is known at run time only, or all as one axis")
    axis = call["dim"] % x.dim
    if times == 1:
        return x  # type: ignore[no-any-return]
    kind = partial(Repeat, along=axis, times=times)
    if axis < 2 or x.dim > 5:
        return spatial(call, [axis], kind)
    windows = [Window(times, 1, times, 1, times - 1, times - 1) if i == axis else Window() for i in range(2, x.dim)]
    return spatial(call, [axis], kind, channel=1, convolution=depthwise(x.shape[1], windows, 1.0))


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


@example("repeat.default", "tile.default")
def drawn_repeat(draw: Draw, spelling: str) -> Example:
    """Of more axes than there are, which is refused, or of fewer, which only ``tile`` takes."""
    x = draw.signal(*shape(draw))
    more = draw.integer(0, 4) == 4
    named = x.dim() + 1 if more else draw.integer(1, x.dim()) if spelling == "tile.default" else x.dim()
    return Example((x, list(each(draw, named, 1, 3))), refused="not-affine" if more else None)


@example("repeat_interleave.self_int")
def drawn_interleave(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    dim = draw.pick((axis(draw, x.dim()), axis(draw, x.dim()), None))
    return Example((x, draw.integer(1, 3), dim), refused="not-affine" if dim is None else None)


@onnx_example("Tile")
def drawn_onnx_tile(draw: Draw, spelling: str) -> OnnxExample:
    x = draw.signal(*shape(draw))
    return OnnxExample((x, list(each(draw, x.dim(), 1, 3))), opset=opset(draw))
