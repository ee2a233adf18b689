"""Numbers written over positions at an end of an axis: aten slice_scatter. With the pad before them: `lift.fills`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convfold.errors import NotFoldable
from convfold.layers.arithmetic import one_along
from convfold.layers.examples import Draw, Example, axis, example, flag, shape
from convfold.layers.spelling import Call, Reading, Step, aten

#: How torch says "to the end".
_END = 2**63 - 1


@dataclass(frozen=True, eq=False, slots=True)
class Fill:
    """``width`` positions at the first (``end`` 0) or last (1) end of an axis are ``values``.

    They vary along the axis ``channel``, or along none.

    No step of the algebra: `lift` makes one of it and the pad before it, or leaves it.
    """

    axis: int
    end: int
    width: int
    values: Tensor
    channel: int | None


@aten("slice_scatter.default")
def read(call: Call) -> Reading:
    x, src = call["self"], call["src"]
    axis_ = call["dim"] % x.dim
    start, stop, n = call["start"] or 0, call["end"], None if axis_ in x.signal.free else x.shape[axis_]
    to_end = stop is None or (isinstance(stop, int) and stop >= (_END if n is None else n))
    if call["step"] != 1 or not isinstance(start, int):
        raise NotFoldable("not-affine", "positions with steps between them are overwritten")
    if start == 0 and to_end and src.symbols == x.symbols:
        return src  # type: ignore[no-any-return]
    if start > 0 and n is not None:
        start -= n
    first, last = start == 0 and isinstance(stop, int) and stop > 0, start < 0 and to_end
    if not (first or last) or not src.constant:
        raise NotFoldable("not-affine", "a part of the signal is overwritten")
    values, channel = one_along(src, x)
    assert values is not None
    return Step(Fill(axis_, int(not first), stop if first else -start, values, channel), (x,))  # type: ignore[arg-type]


@example("slice_scatter.default")
def drawn(draw: Draw, spelling: str) -> Example:
    """The whole of an axis, or an end of it."""
    x = draw.signal(*shape(draw))
    i = axis(draw, x.dim())
    if flag(draw):
        return Example((x, draw.signal(*x.shape), i, 0, _END))
    n = draw.integer(1, x.shape[i])
    part: Any = draw.signal(*(n if k == i % x.dim() else m for k, m in enumerate(x.shape)))
    whole = n == x.shape[i]
    return Example((x, part, i, 0, n), None or {}, None if whole else "not-affine")
