"""Some positions of an axis: aten slice, select, unbind, split, split_with_sizes, chunk, narrow, index and index_select
by constants; ONNX Slice, Split, Gather, GatherND."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from convfold.algebra.convolution import Convolution
from convfold.algebra.layout import Select, Slice
from convfold.algebra.realisation import OwnCall
from convfold.algebra.spatial import Stride
from convfold.algebra.spatial.positions import Table, Take, flat_index
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    OnnxExample,
    axis,
    constant,
    each,
    example,
    flag,
    indices,
    onnx_example,
    opset,
    shape,
)
from convfold.layers.spelling import Call, Convolved, Reading, Step, Value, aten, onnx, spatial


def _axis(call: Call, x: Value) -> int:
    axis: int = call["dim"] % x.dim
    if axis in x.signal.free:
        raise NotFoldable("not-affine", "sliced along an axis of unknown length")
    return axis


def _slice(x: Value, y: Value, axis: int, start: Any, stop: Any, step: int) -> Slice:
    """As Python slices; of an axis that is free, from a number on, to one or to so many before its end."""
    n = x.shape[axis]
    if axis not in x.signal.free:
        if axis in y.signal.free:
            raise NotFoldable("not-affine", "how much is sliced is known at run time only")
        at = range(n)[slice(start, stop, step)]
        return Slice(axis, at.start, at.stop, step)
    if not isinstance(start, int | None) or step < 1:
        raise NotFoldable("not-affine", "where a slice starts is known at run time only")
    start = start or 0
    if not isinstance(stop, int | None):
        taken = _difference(x.symbols[axis], y.symbols[axis])
        if step > 1 or start < 0 or taken is None or taken < start:
            raise NotFoldable("not-affine", "how much is sliced is known at run time only")
        stop = start - taken
        return Slice(axis, start, stop or None)
    return Slice(axis, start, None if stop is None or stop >= _END else stop, step)


def _difference(a: Any, b: Any) -> int | None:
    """Of two sizes, where it is always the same."""
    found = a - b
    return int(found) if isinstance(found, int) or getattr(found, "is_Integer", False) else None


@aten("slice.Tensor", "narrow.default")
def read(call: Call) -> Reading:
    x = call["self"] if call["self"] is not None else call["input"]
    if x.symbols == call.out.symbols and call["step"] in (None, 1):
        return x  # type: ignore[no-any-return]
    axis = call["dim"] % x.dim
    start, stop, step = call["start"], call["end"], call["step"] or 1
    if call["length"] is not None:
        if axis in x.signal.free and not (isinstance(start, int) and start >= 0):
            raise NotFoldable("not-affine", "where a slice starts is known at run time only")
        start = start if axis in x.signal.free else start % x.shape[axis]
        stop = start + call["length"]
    return Step(_slice(x, call.out, axis, start, stop, step), (x,))


@aten("select.int")
def read_select(call: Call) -> Step:
    x, index = call["self"], call["index"]
    if not isinstance(index, int):
        raise NotFoldable("not-affine", "which position is taken is known at run time only")
    return _selected(x, call["dim"] % x.dim, index)


@aten("unbind.int")
def read_unbound(call: Call) -> list[Step | None]:
    x, axis = call["self"], _axis(call, call["self"])
    return [_selected(x, axis, i) for i in range(x.shape[axis])]


def _selected(x: Value, axis: int, index: int) -> Step:
    if axis in x.signal.free:
        return Step(Select(axis, index, None), (x,))
    n = x.shape[axis]
    return Step(Select(axis, index % n, n), (x,))


@aten("split.Tensor", "chunk.default", "split_with_sizes.default")
def read_parts(call: Call) -> list[Step | None]:
    x = call["self"]
    axis = _axis(call, x)
    n = x.shape[axis]
    if call["split_sizes"] is not None:
        sizes: Iterable[int] = call["split_sizes"]
    else:
        size = call["split_size"] or -(-n // call["chunks"])
        sizes = [min(size, n - i) for i in range(0, n, size)]
    steps: list[Step | None] = []
    start = 0
    for size in sizes:
        steps.append(Step(Slice(axis, start, start + size), (x,)))
        start += size
    return steps


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
        return _chosen(x, axes[0], orders[0])
    together = axes == list(range(axes[0], axes[-1] + 1))
    return _taken(call, x, axes, orders, axes[0] if together else 0)


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
            found = _part(found, Slice(i, span.start, span.stop, span.step), call.out)
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


@onnx("Slice")
def read_onnx(call: Call) -> Reading:
    """Of one axis or several: one slice after another; backwards along some of them, one map."""
    x = call["data"]
    starts, stops = call.numbers("starts"), call.numbers("ends")
    named = call.numbers("axes") if call["axes"] is not None else range(len(starts))
    steps = call.numbers("steps") if call["steps"] is not None else (1,) * len(starts)
    found: Value | Step = x
    spans: dict[int, tuple[int, int | None, int]] = {}
    backwards = any(step < 0 for step in steps)
    for i, start, stop, step in zip(named, starts, stops, steps, strict=True):
        i %= x.dim
        if step < 0:
            if i in x.signal.free:
                raise NotFoldable("not-affine", "sliced along an axis of unknown length")
            at = range(x.shape[i])[slice(start, stop, step)]
            spans[i] = (at.start, at.stop if at.stop >= 0 else None, step)
            continue
        cut = _slice(x, call.out, i, start, stop, step)
        if backwards:
            spans[i] = (cut.start, cut.stop, step)
        elif x.symbols[i] != call.out.symbols[i] or step > 1:
            found = _part(found, cut, call.out)
    if not backwards:
        return found
    if len(axes := tuple(sorted(spans))) == 1 and (axes[0] == 1 or x.dim == 2):
        (i,) = axes
        return _chosen(x, i, torch.tensor(range(x.shape[i])[slice(*spans[i])]))
    return spatial(call, axes, partial(Stride, axes=axes, ranges=tuple(spans[i] for i in axes)))


def _part(x: Value | Step, cut: Slice, y: Value) -> Step:
    """One of several slices whose result is ``y``."""
    signal = x.signal
    assert signal is not None
    shape = tuple(len(cut.positions(n)) if i == cut.axis else n for i, n in enumerate(signal.shape))
    free = frozenset(i for i in signal.free if i != cut.axis or i in y.signal.free)
    return Step(cut, (x,), replace(signal, shape=shape, free=free))


#: What exporters write for the end of an axis: the largest number, or nearly.
_END = 2**31 - 1


@onnx("Split")
def read_onnx_parts(call: Call) -> Reading:
    """Parts of given sizes, or of one size but for the last."""
    x, axis = call["input"], call["axis"] % call["input"].dim
    if axis in x.signal.free:
        raise NotFoldable("not-affine", "sliced along an axis of unknown length")
    n, size = x.shape[axis], call.out.shape[axis]
    sizes = call.numbers("split") if call["split"] is not None else [min(size, n - i) for i in range(0, n, size)]
    if len(sizes) == 1:
        return x  # type: ignore[no-any-return]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [Step(Slice(axis, a, a + size), (x,)) for a, size in zip(starts, sizes, strict=True)]


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
        return _chosen(x, axis, order)
    return _selected(x, axis, int(order))


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


def _chosen(x: Value, axis: int, order: Tensor) -> Step:
    """A slice where positions go on evenly; in any other order channels, by a one-hot matrix (c_out, c_in)."""
    at = (order.long() % x.shape[axis]).tolist()
    step = at[1] - at[0] if len(at) > 1 else 1
    if at and step > 0 and at == list(range(at[0], at[-1] + 1, step)):
        return Step(Slice(axis, at[0], at[-1] + 1, step), (x,))
    one_hot = torch.eye(x.shape[axis], dtype=torch.float64, device=order.device)[order.long()]
    return Step(Convolved(Convolution(one_hot), axis, OwnCall()), (x,))


@example("slice.Tensor")
def drawn(draw: Draw, spelling: str) -> Example:
    """From either end, open on either side, beyond the last position too; never empty."""
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    n = x.shape[dim]
    start, step = draw.integer(0, n - 1), draw.pick((1, 1, 2))
    stop = draw.integer(start + 1, n)
    first = draw.pick((start, start - n, *((None,) if start == 0 else ())))
    last = draw.pick((stop, *((stop - n,) if stop < n else (None, n + 5))))
    return Example((x, dim, first, last, step))


@example("narrow.default")
def drawn_narrow(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    n = x.shape[dim]
    start = draw.integer(0, n - 1)
    return Example((x, dim, draw.pick((start, start - n)), draw.integer(1, n - start)))


@example("select.int")
def drawn_select(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw, 2))
    dim = axis(draw, x.dim())
    n = x.shape[dim]
    return Example((x, dim, draw.integer(-n, n - 1)))


@example("unbind.int")
def drawn_unbound(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw, 2))
    return Example((x, axis(draw, x.dim())))


@example("split.Tensor", "chunk.default", "split_with_sizes.default")
def drawn_parts(draw: Draw, spelling: str) -> Example:
    """Of one length but for the last, or of any; more chunks are asked for than there may be."""
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    n = x.shape[dim]
    cuts = sorted(each(draw, draw.integer(0, 3), 0, n))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    return Example((x, sizes if "sizes" in spelling else draw.integer(1, n + 1), dim))


@example("index.Tensor", "index_select.default")
def drawn_index(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    n = x.shape[dim]
    if spelling.startswith("index_select"):
        return Example((x, dim, indices(draw, n)))
    chosen = indices(draw, n, -n)
    mask = torch.tensor([True, *(flag(draw) for _ in range(n - 1))])
    alone = None if x.dim() > 1 else "not-affine"
    index, refused = draw.pick(((chosen, None), (constant(chosen[None]), alone), (constant(mask), "not-affine")))
    if refused is None and flag(draw):
        return _several(draw, x)
    return Example((x, [*[None] * (dim % x.dim()), index]), refused=refused)


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


@onnx_example("Slice")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """Of one axis or several, from either end, backwards too; never empty."""
    version, x = opset(draw), draw.signal(*shape(draw))
    axes = sorted({draw.integer(0, x.dim() - 1) for _ in range(draw.integer(1, 2))})
    starts, stops, steps = [], [], []
    for i in axes:
        n = x.shape[i]
        first, step = draw.integer(0, n - 1), draw.pick((1, 1, 2, 3, -1, -2)) if version >= 10 else 1
        last = draw.integer(first + 1, n) if step > 0 else draw.integer(-1, first - 1)
        starts.append(draw.pick((first, first - n)))
        far = n + 5 if step > 0 else -n - 5
        stops.append(far if last in (n, -1) else draw.pick((last, last - n)) if last != n else last)
        steps.append(step)
    if version < 10:
        how = {"starts": starts, "ends": stops}
        if axes != list(range(len(axes))) or flag(draw):
            how["axes"] = axes
        return OnnxExample((x,), how, opset=version)
    named: list[Any] = [[i - draw.pick((0, x.dim())) for i in axes]]
    named += [steps] if set(steps) != {1} or flag(draw) else []
    if axes == list(range(len(axes))) and set(steps) == {1} and flag(draw):
        named = []
    return OnnxExample((x, starts, stops, *named), opset=version)


@onnx_example("Split")
def drawn_onnx_parts(draw: Draw, spelling: str) -> OnnxExample:
    version, sizes = opset(draw), list(shape(draw, 1, 3))
    i = draw.integer(0, len(sizes) - 1)
    parts = list(each(draw, draw.integer(1, 3), 1, 3))
    even = flag(draw)
    parts = parts[:1] * len(parts) if even else parts
    if even and version >= 18 and parts[0] > 1 and flag(draw):
        parts[-1] -= 1
    sizes[i] = sum(parts)
    x, how = draw.signal(*sizes), {"axis": i - draw.pick((0, len(sizes) if version >= 11 else 0))}
    uneven = len(set(parts)) > 1
    if even:
        wanted = -(-sum(parts) // len(parts)) if version >= 18 else parts[0]
        sound = [min(wanted, sizes[i] - k) for k in range(0, sizes[i], wanted)] == parts
        if sound and (version >= 18 or not uneven):
            more = {"num_outputs": len(parts)} if version >= 18 else {}
            return OnnxExample((x,), how | more, opset=version, outputs=len(parts))
    if version < 13:
        return OnnxExample((x,), how | {"split": parts}, opset=version, outputs=len(parts))
    return OnnxExample((x, parts), how, opset=version, outputs=len(parts))


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
