"""Some of the channels: aten slice, split, split_with_sizes, chunk, narrow, index and index_select by constants; ONNX
Slice, Split, Gather."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convfold.algebra.convolution import Convolution
from convfold.algebra.layout import Layout, Slice
from convfold.algebra.realisation import OwnCall
from convfold.algebra.spatial import Stride
from convfold.algebra.window import Window
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
from convfold.layers.spelling import Call, Convolved, Reading, Step, Value, aten, depthwise, onnx, spatial


def _axis(call: Call, x: Value) -> int:
    axis: int = call["dim"] % x.dim
    if axis in x.signal.free:
        raise NotFoldable("not-affine", "sliced along an axis of unknown length")
    return axis


@aten("slice.Tensor", "narrow.default")
def read(call: Call) -> Reading:
    x = call["self"] if call["self"] is not None else call["input"]
    if x.symbols == call.out.symbols and call["step"] in (None, 1):
        return x  # type: ignore[no-any-return]
    axis = _axis(call, x)
    n = x.shape[axis]
    start, stop, step = call["start"] or 0, call["end"], call["step"] or 1
    if call["length"] is not None:
        start %= n
        stop = start + call["length"]
    if step != 1:
        raise NotFoldable("not-affine", "a slice with steps")
    start, stop, _ = slice(start, stop).indices(n)
    return Step(Slice(axis, start, stop), (x,))


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
    if len(axes) != 1 or axes[0] in x.signal.free or not isinstance(indices[axes[0]], Value):
        raise NotFoldable("not-affine", "indexed along several axes, or one of unknown length")
    order = indices[axes[0]].tensor()
    if order.dim() != 1 or order.dtype == torch.bool:
        raise NotFoldable("not-affine", "an index of more than one axis, or a mask")
    return _chosen(x, axes[0], order)


@onnx("Slice")
def read_onnx(call: Call) -> Reading:
    """Of one axis or several. Without steps it is one slice after another; with them, of space, one map."""
    x = call["data"]
    starts, stops = call.numbers("starts"), call.numbers("ends")
    named = call.numbers("axes") if call["axes"] is not None else range(len(starts))
    steps = call.numbers("steps") if call["steps"] is not None else (1,) * len(starts)
    spans: dict[int, tuple[int, int | None, int]] = {}
    for i, start, stop, step in zip(named, starts, stops, steps, strict=True):
        i %= x.dim
        n = x.shape[i]
        if i in x.signal.free:
            if start < 0 or step < 1 or stop < _END:
                raise NotFoldable("not-affine", "sliced along an axis of unknown length")
            span: tuple[int, int | None, int] = (start, None, step)
        else:
            at = range(n)[slice(start, stop, step)]
            span = (at.start, at.stop if at.stop >= 0 else None, step)
        if span not in ((0, n, 1), (0, None, 1)):
            spans[i] = span
    if not spans:
        return x  # type: ignore[no-any-return]
    if all(step == 1 for *_, step in spans.values()) and not spans.keys() & x.signal.free:
        found: Value | Step = x
        for i, (start, end, _) in spans.items():
            found = _part(found, i, start, x.shape[i] if end is None else end)
        return found
    return _strided(call, x, spans)


def _part(x: Value | Step, axis: int, start: int, stop: int) -> Step:
    signal = x.signal
    assert signal is not None
    shape = tuple(stop - start if i == axis else n for i, n in enumerate(signal.shape))
    return Step(Slice(axis, start, stop), (x,), replace(signal, shape=shape))


#: What exporters write for the end of an axis: the largest number, or nearly.
_END = 2**31 - 1


def _strided(call: Call, x: Value, spans: dict[int, tuple[int, int | None, int]]) -> Step:
    """Positions of space are a depthwise tap with a stride where they go forward; of channels, a one-hot matrix."""
    axes = sorted(spans)
    if len(axes) == 1 and (axes[0] == 1 or x.dim == 2):
        (i,) = axes
        return _chosen(x, i, torch.tensor(range(x.shape[i])[slice(*spans[i])]))
    kind = partial(Stride, axes=tuple(axes), ranges=tuple(spans[i] for i in axes))
    convolution = None
    if axes[0] > 1 and x.dim <= 5 and all(step > 0 for *_, step in spans.values()):
        windows = []
        for i in range(2, x.dim):
            start, stop, step = spans.get(i, (0, None, 1))
            windows.append(Window(1, step, lo=-start, hi=0 if stop is None else stop - x.shape[i]))
        convolution = depthwise(x.shape[1], windows, 1.0)
        axes = list(range(2, x.dim))
    return spatial(call, axes, kind, channel=1 if convolution else None, convolution=convolution)


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
        raise NotFoldable("not-affine", "an index of more than one axis")
    if order.dim() == 1:
        return _chosen(x, axis, order)
    start = int(order) % x.shape[axis]
    kept = [i for i in range(x.dim) if i != axis]
    one = tuple(1 if i == axis else n for i, n in enumerate(x.symbols))
    carried = tuple((i, j) for j, i in enumerate(kept))
    view = Layout(carried, None, call.out.shape, (one, tuple(x.symbols[i] for i in kept)))
    return Step(view, (_part(x, axis, start, start + 1),))


def _chosen(x: Value, axis: int, order: Tensor) -> Step:
    """Some channels, in any order: a one-hot matrix (c_out, c_in)."""
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
    return Example((x, dim, first, last, step), refused="not-affine" if step > 1 else None)


@example("narrow.default")
def drawn_narrow(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    n = x.shape[dim]
    start = draw.integer(0, n - 1)
    return Example((x, dim, draw.pick((start, start - n)), draw.integer(1, n - start)))


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
    index, refused = draw.pick(((chosen, None), (constant(chosen[None]), "not-affine"), (constant(mask), "not-affine")))
    return Example((x, [*[None] * (dim % x.dim()), index]), refused=refused)


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
    index, refused = draw.pick(((several, None), (one, None), (constant(several[None].data), "not-affine")))
    if x.dim() == 1 and index is one:
        index = several
    return OnnxExample((x, index), {"axis": dim}, refused, opset=version)
