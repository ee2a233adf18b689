"""Positions by an index: aten index and index_select by constants; ONNX Gather, GatherND."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from convfold.algebra.layout import Slice
from convfold.algebra.spatial.positions import Table, Take, flat_index
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    OnnxExample,
    axis,
    constant,
    example,
    flag,
    indices,
    onnx_example,
    opset,
    shape,
)
from convfold.layers.slicing import chosen, part, selected
from convfold.layers.spelling import Call, Reading, Step, Value, aten, onnx


@aten("index.Tensor", "index_select.default")
def read_index(call: Call) -> Step:
    """Channels in another order, left out or repeated: a one-hot matrix (c_out, c_in)."""
    x = call["self"]
    indices = call["indices"] if call["indices"] is not None else [None] * (call["dim"] % x.dim) + [call["index"]]
    axes = [i for i, index in enumerate(indices) if index is not None]
    if not axes or any(i in x.signal.free or not isinstance(indices[i], Value) for i in axes):
        raise NotFoldable("not-affine", "indexed along an axis of unknown length")
    orders = [indices[i].tensor() for i in axes]
    if any(order.dtype == torch.bool for order in orders):
        raise NotFoldable("not-affine", "a mask, which may say another number of positions")
    if len(axes) == 1 and orders[0].dim() == 1:
        return chosen(x, axes[0], orders[0])
    together = axes == list(range(axes[0], axes[-1] + 1))
    return _taken(call, x, axes, orders, axes[0] if together else 0)


@aten("gather.default")
def read_gather(call: Call) -> Step:
    return _gathered(call["self"], call["dim"], call["index"])


@onnx("GatherElements")
def read_onnx_elements(call: Call) -> Step:
    return _gathered(call["data"], call["axis"] or 0, call["indices"])


def _gathered(x: Value, dim: int, index: Value) -> Step:
    """A number of every position by an index of its own: of an index that is the same along all other axes, an index
    of one."""
    dim %= max(x.dim, 1)
    if dim in x.signal.free or any(index.symbols[i] != x.symbols[i] for i in range(x.dim) if i != dim):
        raise NotFoldable("not-affine", "another map at every position, or along an axis of unknown length")
    order = index.tensor()
    for i in range(x.dim):
        if i != dim and order.dim() == x.dim:
            if not bool((order == order.narrow(i, 0, 1)).all()):
                raise NotFoldable("not-affine", "another map at every position")
            order = order.narrow(i, 0, 1)
    step = chosen(x, dim, order.flatten())
    if not isinstance(step.operation, Slice):  # the call itself takes signals of one size alone
        raise NotFoldable("not-affine", "an index for every position, that does not go on evenly")
    return step


def _taken(call: Call, x: Value, axes: Sequence[int], orders: Sequence[Tensor], at: int) -> Step:
    """Positions along some axes by an index of each, whose own axes begin at ``at``; of even grids slices."""
    kept = [i for i in range(x.dim) if i not in axes]
    if not kept:
        raise NotFoldable("not-affine", "indexed along every axis: none is left for channels")
    index = flat_index(orders, [x.shape[i] for i in axes])
    together = list(axes) == list(range(at, at + len(axes)))
    if together and (spans := _grid(index, [x.shape[i] for i in axes])) is not None:
        found: Value | Step = x
        for i, span in zip(axes, spans, strict=True):
            found = part(found, Slice(i, span.start, span.stop, span.step), call.out)
        return found  # type: ignore[return-value]
    carried = tuple((i, k if k < at else k + index.dim()) for k, i in enumerate(kept))
    sizes = tuple(x.symbols[i] for i in axes), tuple(index.shape)
    channel = axes[0] - 1 if x.dim - 1 in axes and axes[0] else kept[-1]
    kind = Take(
        axes=tuple(axes), index=Table(index), at=at, sizes=sizes, carried=carried, axis=channel, origin=call.name
    )
    return Step(kind, (x,))


def _grid(index: Tensor, sizes: Sequence[int]) -> list[range] | None:
    """Of an index with as many axes as it is of, the even steps that it takes along each; None of another."""
    if index.dim() != len(sizes) or not index.numel():
        return None
    spans = []
    for i, first in enumerate(torch.unravel_index(index[(0,) * index.dim()], tuple(sizes))):
        line = index.movedim(i, 0).reshape(index.shape[i], -1)[:, 0]
        steps = torch.unravel_index(line, tuple(sizes))[i].tolist()
        step = steps[1] - steps[0] if len(steps) > 1 else 1
        spans.append(range(int(first), steps[-1] + 1, max(step, 1)))
        if steps != list(spans[-1]):
            return None
    whole = torch.cartesian_prod(*(torch.tensor(span) for span in spans)).reshape(-1, len(spans))
    even = flat_index(whole.unbind(-1), sizes)
    return spans if torch.equal(even, index.flatten().cpu()) else None


@onnx("Gather")
def read_onnx_index(call: Call) -> Reading:
    """By one number the axis is gone; by several it has as many channels."""
    x, axis = call["data"], call["axis"] % call["data"].dim
    if axis in x.signal.free or not isinstance(x, Value) or x.constant:
        raise NotFoldable("not-affine", "indexed along an axis of unknown length, or a constant")
    order = call.tensor("indices")
    assert order is not None
    if order.dim() > 1:
        return _taken(call, x, [axis], [order], axis)
    if order.dim() == 1:
        return chosen(x, axis, order)
    return selected(x, axis, int(order))


@onnx("GatherND")
def read_onnx_gathered(call: Call) -> Reading:
    """By an index of the first axes; behind ``batch_dims`` of them it would differ from item to item."""
    x, index = call["data"], call.tensor("indices")
    if call["batch_dims"] or not isinstance(x, Value) or x.constant or index is None:
        raise NotFoldable("not-affine", "an index of its own for every item of the batch, or a constant")
    axes = list(range(index.shape[-1]))
    if any(i in x.signal.free for i in axes):
        raise NotFoldable("not-affine", "indexed along an axis of unknown length")
    return _taken(call, x, axes, index.unbind(-1), 0)


@example("index.Tensor", "index_select.default")
def drawn_index(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    n = x.shape[dim]
    if spelling.startswith("index_select"):
        return Example((x, dim, indices(draw, n)))
    some = indices(draw, n, -n)
    mask = torch.tensor([True, *(flag(draw) for _ in range(n - 1))])
    alone = None if x.dim() > 1 else "not-affine"
    index, refused = draw.pick(((some, None), (constant(some[None]), alone), (constant(mask), "not-affine")))
    if refused is None and flag(draw):
        return _several(draw, x)
    return Example((x, [*[None] * (dim % x.dim()), index]), refused=refused)


@example("gather.default")
def drawn_gather(draw: Draw, spelling: str) -> Example:
    """By an index that is the same along all other axes, or is not, or is shorter along one."""
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    i = dim % x.dim()
    some = indices(draw, x.shape[i])
    index = some.reshape([-1 if k == i else 1 for k in range(x.dim())]).expand(
        [len(some) if k == i else n for k, n in enumerate(x.shape)]
    )
    index, other = index.clone(), next((k for k, n in enumerate(x.shape) if k != i and n > 1), None)
    kind, at = draw.pick(("alike", "alike", "apart", "shorter")), some.remainder(x.shape[i]).tolist()
    even = at == list(range(at[0], at[-1] + 1, max(at[1] - at[0], 1) if len(at) > 1 else 1))
    if other is not None and kind == "shorter":
        index = index.narrow(other, 0, 1)
    apart = other is not None and kind == "apart" and x.shape[i] > 1
    if apart:
        assert other is not None
        index.select(other, 0).add_(1).remainder_(x.shape[i])
    refused = apart or not even or (other is not None and kind == "shorter")
    return Example((x, dim, constant(index)), refused="not-affine" if refused else None)


@onnx_example("GatherElements")
def drawn_onnx_elements(draw: Draw, spelling: str) -> OnnxExample:
    example = drawn_gather(draw, "gather.default")
    x, dim, index = example.args
    return OnnxExample((x, index), {"axis": dim}, example.refused, opset(draw, 11))


def _several(draw: Draw, x: Tensor) -> Example:
    """Indices of several axes, which broadcast, of one row or all of one shape; beside each other or not."""
    named = [flag(draw) for _ in x.shape]
    columns, rows = draw.integer(1, 3), draw.integer(1, 2)
    given: list[Any] = [None] * x.dim()
    for i, n in enumerate(x.shape):
        if named[i]:
            sizes = draw.pick(((columns,), (rows, columns), (rows, 1)))
            given[i] = constant(torch.tensor([draw.integer(-n, n - 1) for _ in range(prod(sizes))]).reshape(sizes))
    one = sum(named) == 1 and next(g for g in given if g is not None).dim() == 1
    affine = any(named) and (one or not all(named))
    return Example((x, given), refused=None if affine else "not-affine")


@onnx_example("Gather")
def drawn_onnx_index(draw: Draw, spelling: str) -> OnnxExample:
    version, x = opset(draw), draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    n, low = x.shape[dim], -x.shape[dim] if version >= 11 else 0
    one, several = constant(torch.tensor(draw.integer(low, n - 1))), indices(draw, n, low)
    index, refused = draw.pick(((several, None), (one, None), (constant(several[None].data), None)))
    if x.dim() == 1 and index is one:
        index = several
    if x.dim() == 1 and index.dim() == 2:
        refused = "not-affine"
    return OnnxExample((x, index), {"axis": dim}, refused, opset=version)


@onnx_example("GatherND")
def drawn_onnx_gathered(draw: Draw, spelling: str) -> OnnxExample:
    """Of the first axes; of all of them no axis is left for channels."""
    x = draw.signal(*shape(draw))
    many = draw.integer(1, x.dim())
    sizes = shape(draw, 0, 2)
    at = [torch.tensor([draw.integer(0, n - 1) for _ in range(prod(sizes))]).reshape(sizes) for n in x.shape[:many]]
    refused = "not-affine" if many == x.dim() else None
    return OnnxExample((x, constant(torch.stack(at, -1))), {}, refused, opset(draw, 11))
