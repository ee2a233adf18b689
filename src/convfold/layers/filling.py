"""Positions of an axis written over: aten slice_scatter, select_scatter; ONNX ScatterND.

What is written stands between what is left: that is a concatenation; into zeros it is a pad, or an upsampling by zeros.
Numbers at an end of an axis, with the pad before them, may be more: `lift.fills`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from convfold.algebra.joins import Concat
from convfold.algebra.layout import Layout, Slice
from convfold.algebra.numbers import has_numbers
from convfold.algebra.spatial import Pad
from convfold.errors import NotFoldable
from convfold.layers.arithmetic import one_along
from convfold.layers.examples import Draw, Example, OnnxExample, axis, constant, example, flag, onnx_example, opset
from convfold.layers.examples import shape as drawn_shape
from convfold.layers.spelling import Call, Reading, Step, Value, aten, onnx
from convfold.region import Signal

#: How torch says "to the end".
_END = 2**63 - 1


@dataclass(frozen=True, eq=False, slots=True)
class Fill:
    """``width`` positions at the first (``end`` 0) or last (1) end of an axis are ``values``.

    They vary along the axis ``channel``, or along none. ``laid``: the same as a concatenation, where that is known.

    No step of the algebra: `lift` makes one of it and the pad before it, or takes the concatenation, or leaves it.
    """

    axis: int
    end: int
    width: int
    values: Tensor
    channel: int | None
    laid: Step | None


@aten("slice_scatter.default")
def read(call: Call) -> Reading:
    x, src, step = call["self"], call["src"], call["step"]
    axis_, start, stop = call["dim"] % x.dim, call["start"] or 0, call["end"]
    if not isinstance(start, int) or not isinstance(stop, int | None):
        raise NotFoldable("not-affine", "where positions are overwritten is known at run time only")
    if axis_ not in x.signal.free:
        at = range(x.shape[axis_])[slice(start, stop, step)]
        return src if at == range(x.shape[axis_]) else _written(x, axis_, at, src)
    to_end = stop is None or stop >= _END
    if start == 0 and to_end and step == 1:
        return src  # type: ignore[no-any-return]
    first, last = start == 0 and isinstance(stop, int) and stop > 0, start < 0 and to_end
    if step != 1 or not (first or last) or not src.constant:
        raise NotFoldable("not-affine", "a part of an axis of unknown length is overwritten")
    return _filled(x, axis_, int(last), stop if first and stop else -start, src, None)


@aten("select_scatter.default")
def read_select(call: Call) -> Reading:
    """One position, of a value that has not its axis."""
    x, src, i = call["self"], call["src"], call["dim"] % call["self"].dim
    if i in x.signal.free or not isinstance(call["index"], int) or src.constant:
        raise NotFoldable("not-affine", "where numbers are written is known at run time only, or they are constant")
    _refuse_parts(x, i)
    symbols, shape = ((*n[:i], 1, *n[i:]) for n in (src.symbols, src.shape))
    free = frozenset(k + (k >= i) for k in src.signal.free)
    view = Step(_view(src.symbols, symbols, shape, free), (src,), replace(src.signal, shape=shape, free=free))
    at = call["index"] % x.shape[i]
    return _laid(x, i, range(at, at + 1), view)


@onnx("ScatterND")
def read_onnx(call: Call) -> Reading:
    """Rows in turn, as exporters write slices of the first axis."""
    x, indices, src = call["data"], call["indices"].tensor(), call["updates"]
    if indices.dim() != 2 or indices.shape[1] != 1 or call["reduction"] not in (None, "none"):
        raise NotFoldable("not-affine", "single numbers are overwritten, or added up")
    if 0 in x.signal.free | src.signal.free or src.dim != x.dim:
        raise NotFoldable("not-affine", "how many rows are overwritten is known at run time only")
    n = x.shape[0]
    rows = (indices.flatten() % n).tolist()
    step = rows[1] - rows[0] if len(rows) > 1 else 1
    at = range(rows[0], rows[-1] + 1, max(step, 1)) if rows else range(0)
    if not rows or list(at) != rows:
        raise NotFoldable("not-affine", "rows that are overwritten do not go on evenly")
    if at == range(n) and src.constant:
        raise NotFoldable("not-affine", "nothing is left of the signal")
    return src if at == range(n) else _written(x, 0, at, src)


def _written(x: Value, axis_: int, at: range, src: Value) -> Reading:
    n = x.shape[axis_]
    if not src.constant:
        _refuse_parts(x, axis_)
        if axis_ != 1 and _is_zero(x):
            return _spread(src, axis_, at, n)
    whole = n % at.step == 0 and at == range(at.start, n, at.step) and at.start < at.step
    laid = _laid(x, axis_, at, src) if at.step == 1 else _interleaved(x, axis_, at, src) if whole else None
    if at.step == 1 and src.constant and (at.start == 0 or at.stop == n):
        try:
            return _filled(x, axis_, int(at.start > 0), len(at), src, laid)
        except NotFoldable:
            pass
    if laid is None:
        raise NotFoldable("not-affine", "a part of the positions with steps between them is overwritten")
    return laid


def _filled(x: Value, axis_: int, end: int, width: int, src: Value, laid: Step | None) -> Step:
    values, channel = one_along(src, x)
    assert values is not None
    if has_numbers(values) and not values.requires_grad and bool((values == values.flatten()[0]).all()):
        values, channel = values.flatten()[0], None
    return Step(Fill(axis_, end, width, values, channel, laid), (x,))  # type: ignore[arg-type]


def _refuse_parts(x: Value, axis_: int) -> None:
    """Maps that are mended in parts are left: such is the border of a folded layer, which would be planned anew."""
    if axis_ != 1 and not x.constant:
        raise NotFoldable("not-affine", "a part of a map is overwritten")


def _laid(x: Value | Step, axis_: int, at: range, src: Value | Step) -> Step:
    """What is left before it, what is written, what is left behind it."""
    signal = x.signal
    assert signal is not None
    parts: list[Value | Step] = [src]
    for place, start, stop in ((0, 0, at.start), (2, at.stop, signal.shape[axis_])):
        if start < stop:
            shape = tuple(stop - start if i == axis_ else n for i, n in enumerate(signal.shape))
            parts.insert(place, Step(Slice(axis_, start, stop), (x,), replace(signal, shape=shape)))
    return Step(Concat(axis_), tuple(parts))


def _is_zero(x: Value) -> bool:
    if not x.constant:
        return False
    t = x.tensor()
    return has_numbers(t) and not t.requires_grad and not bool(t.any())


def _spread(src: Value, axis_: int, at: range, n: int) -> Step:
    """Into nothing but zeros: zeros before, between and behind."""
    if at.step == 1:
        return Step(_zeros(src.signal, axis_, at.start, n - at.stop), (src,))
    if n % at.step or at != range(at.start, n, at.step) or at.start >= at.step:
        raise NotFoldable("not-affine", "a part of the positions with steps between them is overwritten")
    one = _split(src, axis_, len(at), 1)
    assert one.signal is not None
    signal = replace(one.signal, shape=(*one.signal.shape[: axis_ + 1], at.step, *one.signal.shape[axis_ + 2 :]))
    wide = Step(_zeros(one.signal, axis_ + 1, at.start, at.step - 1 - at.start), (one,), signal)
    apart, together, shape = (
        (*sizes[:axis_], *inner, *sizes[axis_ + 1 :])
        for sizes, inner in ((src.symbols, (len(at), at.step)), (src.symbols, (n,)), (src.shape, (n,)))
    )
    return Step(_view(apart, together, shape, src.signal.free), (wide,))


def _zeros(x: Signal, axis_: int, before: int, after: int) -> Pad:
    rank, n = len(x.shape), x.shape[axis_]
    carried = tuple((i, i) for i in range(rank) if i != axis_)
    pads = (*(0, 0) * (rank - 1 - axis_), before, after)
    return Pad(sizes=((n,), (before + n + after,)), carried=carried, axis=max(axis_ - 1, 0), pads=pads)


def _interleaved(x: Value, axis_: int, at: range, src: Value) -> Step:
    """Every so many positions: of a view that has them, and those between them, on an axis of their own."""
    wide = _split(x, axis_, len(at), at.step)
    assert wide.signal is not None and isinstance(wide.operation, Layout)
    laid = _laid(wide, axis_ + 1, range(at.start, at.start + 1), _split(src, axis_, len(at), 1))
    before, after = wide.operation.symbols
    return Step(_view(after, before, x.shape, x.signal.free), (replace(laid, signal=wide.signal),))


def _split(v: Value, axis_: int, many: int, inner: int) -> Step:
    """An axis as ``many`` times ``inner`` positions."""
    shape = (*v.shape[:axis_], many, inner, *v.shape[axis_ + 1 :])
    after = (*v.symbols[:axis_], many, inner, *v.symbols[axis_ + 1 :])
    free = frozenset(i + (i > axis_) for i in v.signal.free)
    return Step(_view(v.symbols, after, shape, free), (v,), Signal(shape, free, v.signal.itemsize))


def _view(before: Sequence[Hashable], after: Sequence[Hashable], shape: Sequence[int], free: frozenset[int]) -> Layout:
    if len(free) > 1:
        raise NotFoldable("not-affine", "a view of more than one axis of unknown length")
    return Layout.own(before, after, [-1 if i in free else n for i, n in enumerate(shape)])


@example("slice_scatter.default")
def drawn(draw: Draw, spelling: str) -> Example:
    """The whole of an axis, some of it, every second position."""
    x = draw.signal(*drawn_shape(draw))
    i = axis(draw, x.dim())
    n = x.shape[i]
    if flag(draw):
        return Example((x, draw.signal(*x.shape), i, 0, _END))
    step = draw.pick((1, 1, 2))
    start = draw.integer(0, n - 1) if step == 1 else draw.integer(0, min(1, n - 1))
    stop = draw.integer(start + 1, n) if step == 1 else n
    at = range(start, stop, step)
    part: Any = draw.signal(*(len(at) if k == i % x.dim() else m for k, m in enumerate(x.shape)))
    whole = at == range(n) or (i % x.dim() == 1 and (step == 1 or n % 2 == 0))
    return Example((x, part, i, draw.pick((start, start - n)), stop, step), refused=None if whole else "not-affine")


@example("select_scatter.default")
def drawn_select(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*drawn_shape(draw, 2))
    i = axis(draw, x.dim())
    part = draw.signal(*(m for k, m in enumerate(x.shape) if k != i % x.dim()))
    refused = None if i % x.dim() == 1 else "not-affine"
    return Example((x, part, i, draw.integer(-x.shape[i], x.shape[i] - 1)), refused=refused)


@onnx_example("ScatterND")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """Numbers over rows of a signal, rows of a signal over zeros or numbers; rows of a signal over others are left."""
    x = draw.signal(*drawn_shape(draw, 2))
    n, step = x.shape[0], draw.pick((1, 1, 2))
    start = draw.integer(0, n - 1) if step == 1 else draw.integer(0, min(1, n - 1))
    at = range(start, draw.integer(start + 1, n) if step == 1 else n, step)
    rows = constant(torch.tensor([[i - n if flag(draw) else i] for i in at]))
    part = [len(at), *x.shape[1:]]
    zeros = constant(torch.zeros_like(x))
    data, updates = draw.pick(
        (
            (x, draw.weight(*part)),
            (zeros, draw.signal(*part)),
            (draw.weight(*x.shape), draw.signal(*part)),
            (x, draw.signal(*part)),
        )
    )
    both = data is x and not isinstance(updates, nn.Parameter)
    even = at.step == 1 or n % 2 == 0 or len(at) == 1
    fits = (
        isinstance(updates, Tensor) and not isinstance(updates, nn.Parameter) if at == range(n) else even and not both
    )
    return OnnxExample((data, rows, updates), {}, None if fits else "not-affine", opset(draw, 11))
