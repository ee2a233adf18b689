"""Permutes and views: aten permute, transpose, t, view, reshape, flatten, unflatten, squeeze, unsqueeze; ONNX
Transpose, Reshape, Flatten, Squeeze, Unsqueeze."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from convfold.algebra.layout import Layout
from convfold.layers.examples import (
    Draw,
    Example,
    OnnxExample,
    axis,
    example,
    flag,
    onnx_example,
    opset,
    regrouped,
    shape,
    some_axes,
)
from convfold.layers.spelling import Call, Reading, Step, Value, aten, onnx


@aten("permute.default")
def read_permute(call: Call) -> Reading:
    return _permute(call["self"], [axis % call["self"].dim for axis in call["dims"]])


@onnx("Transpose")
def read_onnx(call: Call) -> Reading:
    x = call["data"]
    return _permute(x, list(call["perm"] or reversed(range(x.dim))))


@onnx("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def read_onnx_view(call: Call) -> Reading:
    x, y = call.first, call.out
    if call.kind in ("Squeeze", "Unsqueeze") and call["axes"] is not None:
        return _squeezed(x, y, call.numbers("axes"))
    return x if x.symbols == y.symbols else Step(Layout.view(x.symbols, y.symbols, y.shape), (x,))


@aten("transpose.int")
def read_transpose(call: Call) -> Reading:
    x = call["self"]
    order = list(range(x.dim))
    a, b = call["dim0"], call["dim1"]
    order[a], order[b] = order[b], order[a]
    return _permute(x, order)


def _permute(x: Value, order: list[int]) -> Reading:
    return x if order == sorted(order) else Step(Layout.permute(order), (x,))


@aten("t.default")
def read_t(call: Call) -> Reading:
    return Step(Layout.permute(range(call["self"].dim)[::-1]), (call["self"],))


@aten(
    "view.default",
    "_unsafe_view.default",
    "reshape.default",
    "flatten.using_ints",
    "unflatten.int",
)
def read_view(call: Call) -> Reading:
    x = call["self"]
    if x.symbols == call.out.symbols:
        return x  # type: ignore[no-any-return]
    return Step(Layout.view(x.symbols, call.out.symbols, call.out.shape), (x,))


@aten("squeeze.dim", "squeeze.dims", "unsqueeze.default")
def read_squeeze(call: Call) -> Reading:
    return _squeezed(call["self"], call.out, call.numbers("dim"))


def _squeezed(x: Value, y: Value, axes: Sequence[int]) -> Reading:
    """Which of several axes one long is meant only the call says: the shapes do not."""
    if x.symbols == y.symbols:
        return x
    longer, shorter = (x, y) if x.dim > y.dim else (y, x)
    named = {axis % longer.dim for axis in axes if longer.symbols[axis] == 1}
    kept = [axis for axis in range(longer.dim) if axis not in named]
    pairs = list(zip(kept, range(shorter.dim), strict=True))
    carried = tuple(pairs if longer is x else [(b, a) for a, b in pairs])
    return Step(replace(Layout.view(x.symbols, y.symbols, y.shape), carried=carried), (x,))


@example("permute.default")
def drawn_permute(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    rest = list(range(x.dim()))
    order = [rest.pop(draw.integer(0, len(rest) - 1)) - draw.pick((0, x.dim())) for _ in range(x.dim())]
    return Example((x, order))


@example("transpose.int")
def drawn_transpose(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    return Example((x, axis(draw, x.dim()), axis(draw, x.dim())))


@example("t.default")
def drawn_t(draw: Draw, spelling: str) -> Example:
    return Example((draw.signal(*shape(draw, 1, 2)),))


@example("view.default", "_unsafe_view.default", "reshape.default")
def drawn_view(draw: Draw, spelling: str) -> Example:
    """Axes split, joined, left alone, put in and taken out; one of them may be written −1."""
    factors = shape(draw, 1, 6)
    after = list(regrouped(draw, factors))
    if flag(draw):
        after[draw.integer(0, len(after) - 1)] = -1
    return Example((draw.signal(*regrouped(draw, factors)), after))


@example("flatten.using_ints")
def drawn_flatten(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    start, end = sorted((draw.integer(0, x.dim() - 1), draw.integer(0, x.dim() - 1)))
    return Example((x, start - draw.pick((0, x.dim())), end - draw.pick((0, x.dim()))))


@example("unflatten.int")
def drawn_unflatten(draw: Draw, spelling: str) -> Example:
    sizes, rest = shape(draw, 1, 3), shape(draw, 1, 3)
    i = draw.integer(0, len(rest) - 1)
    x = draw.signal(*rest[:i], prod(sizes), *rest[i + 1 :])
    return Example((x, i - draw.pick((0, x.dim())), list(sizes)))


@example("squeeze.dim", "squeeze.dims", "unsqueeze.default")
def drawn_squeeze(draw: Draw, spelling: str) -> Example:
    """Axes that are longer than one stay."""
    x = draw.signal(*(n if flag(draw) else 1 for n in shape(draw)))
    if spelling == "squeeze.dims":
        return Example((x, some_axes(draw, x.dim())))
    return Example((x, axis(draw, x.dim() + (spelling == "unsqueeze.default"))))


@onnx_example("Transpose")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """Without an order the axes are turned round."""
    x = draw.signal(*shape(draw))
    rest = list(range(x.dim()))
    order = [rest.pop(draw.integer(0, len(rest) - 1)) for _ in range(x.dim())]
    return OnnxExample((x,), {"perm": order} if flag(draw) else {}, opset=opset(draw))


@onnx_example("Reshape")
def drawn_onnx_view(draw: Draw, spelling: str) -> OnnxExample:
    """One size may be −1, and those that stay as they were 0."""
    factors = shape(draw, 1, 6)
    before, after = regrouped(draw, factors), list(regrouped(draw, factors))
    zeros = [i for i in range(min(len(before), len(after))) if before[i] == after[i] and flag(draw)]
    rest = [i for i in range(len(after)) if i not in zeros]
    if rest and flag(draw):
        after[draw.pick(rest)] = -1
    after = [0 if i in zeros else n for i, n in enumerate(after)]
    return OnnxExample((draw.signal(*before), after), opset=opset(draw))


@onnx_example("Flatten")
def drawn_onnx_flatten(draw: Draw, spelling: str) -> OnnxExample:
    version, x = opset(draw), draw.signal(*shape(draw))
    return OnnxExample((x,), {"axis": draw.integer(-x.dim() if version >= 11 else 0, x.dim())}, opset=version)


@onnx_example("Squeeze", "Unsqueeze")
def drawn_onnx_squeeze(draw: Draw, spelling: str) -> OnnxExample:
    """Axes are an attribute before they are an input, and were not counted from the end before opset 11."""
    version = opset(draw)
    x = draw.signal(*(n if flag(draw) else 1 for n in shape(draw)))
    if spelling == "Squeeze":
        ones: list[int] = [i for i, n in enumerate(x.shape) if n == 1]
        axes: Any = [i for i in ones if flag(draw)] if flag(draw) else ones
        rank = x.dim()
    else:
        rank = x.dim() + draw.integer(1, 2)
        axes = sorted({draw.integer(0, rank - 1) for _ in range(rank - x.dim())})
        rank = x.dim() + len(axes)
        axes = sorted({i % rank for i in axes})
        rank = x.dim() + len(axes)
    named = [i - draw.pick((0, rank if version >= 11 else 0)) for i in axes]
    if spelling == "Squeeze" and (not named or (axes == ones and flag(draw))):
        return OnnxExample((x,), opset=version)
    return (
        OnnxExample((x, named), opset=version) if version >= 13 else OnnxExample((x,), {"axes": named}, opset=version)
    )
