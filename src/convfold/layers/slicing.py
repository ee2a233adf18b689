"""Some positions of an axis: aten slice, select, unbind, split, split_with_sizes, chunk, narrow; ONNX Slice, Split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convfold.algebra.convolution import Convolution
from convfold.algebra.layout import Select, Slice
from convfold.algebra.realisation import OwnCall
from convfold.algebra.spatial import Stride
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    OnnxExample,
    axis,
    each,
    example,
    flag,
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
    return selected(x, call["dim"] % x.dim, index)


@aten("unbind.int")
def read_unbound(call: Call) -> list[Step | None]:
    x, axis = call["self"], _axis(call, call["self"])
    return [selected(x, axis, i) for i in range(x.shape[axis])]


def selected(x: Value, axis: int, index: int) -> Step:
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
            found = part(found, cut, call.out)
    if not backwards:
        return found
    if len(axes := tuple(sorted(spans))) == 1 and (axes[0] == 1 or x.dim == 2):
        (i,) = axes
        return chosen(x, i, torch.tensor(range(x.shape[i])[slice(*spans[i])]))
    return spatial(call, axes, partial(Stride, axes=axes, ranges=tuple(spans[i] for i in axes)))


def part(x: Value | Step, cut: Slice, y: Value) -> Step:
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


def chosen(x: Value, axis: int, order: Tensor) -> Step:
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
