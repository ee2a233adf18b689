"""Permutes and views: aten permute, transpose, t, view, reshape, flatten, unflatten, squeeze, unsqueeze."""

from __future__ import annotations

from convfold.algebra.layout import Layout
from convfold.layers.spelling import Call, Reading, Step, Value, aten


@aten("permute.default")
def read_permute(call: Call) -> Reading:
    return _permute(call["self"], [axis % call["self"].dim for axis in call["dims"]])


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
    "squeeze.dim",
    "squeeze.dims",
    "unsqueeze.default",
)
def read_view(call: Call) -> Reading:
    x = call["self"]
    if x.symbols == call.out.symbols:
        return x  # type: ignore[no-any-return]
    return Step(Layout.view(x.symbols, call.out.symbols, call.out.shape), (x,))
