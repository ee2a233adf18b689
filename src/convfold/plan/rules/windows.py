"""A slice of space before an operator is part of how the operator reads: a window of one tap, composed with it."""

from __future__ import annotations

from dataclasses import replace

from convfold.algebra.layout import Slice
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.deferred import Deferred
from convfold.plan.form import Context, Term
from convfold.plan.rules.onto import onto
from convfold.region import Signal

#: Axes of space that a convolution may have.
DIMS = 3


def cut_of(step: Slice, x: Signal, axis: int, dims: int) -> Deferred | None:
    """A slice of x, whose channels are on ``axis``, as a depthwise operator of space; or None.

    One axis is before them: of more no framework's convolution takes.
    """
    i = step.axis - axis - 1
    if axis != 1 or not 0 <= i < dims or axis + dims >= len(x.shape):
        return None
    window = step.window(x.known(axis, dims)[i])
    if window is None:
        return None
    windows = tuple(window if k == i else Window() for k in range(dims))
    return deferred.cut(x.shape[axis], windows)


def windowed(t: Term, axis: int, dims: int, context: Context) -> Term | None:
    """The term with its first run of slices in its operator's windows, where they are next to it; None if they are not.

    ``axis`` is where the operator has its channels there, or would have them; ``dims`` how many axes of space.
    """
    first = next((i for i, moved in enumerate(t.moves) if isinstance(moved.move, Slice)), None)
    if first is None or t.paths:
        return None
    end = next((i for i in range(first, len(t.moves)) if not isinstance(t.moves[i].move, Slice)), len(t.moves))
    try:
        if t.operator is None or t.operator.identity:
            signal = t.moves[end - 1].signal
            t = replace(t, operator=deferred.identity(signal.shape[axis], dims), at=end, axis=axis)
        elif t.movable:
            t = t.placed(end)
        assert t.operator is not None
        if t.at != end or t.axis != axis:
            return None
        inner = Term(t.leaf, t.moves[:first], None, first, axis, sign=t.sign)
        for i in range(first, end):
            before = t.moves[i - 1].signal if i else context.signals[t.leaf]
            move = t.moves[i].move
            assert isinstance(move, Slice)
            cut = cut_of(move, before, axis, dims)
            if cut is None:
                return None
            inner = replace(inner, operator=cut) if inner.operator is None else onto(cut, inner, context)
        done = inner if t.operator.identity else onto(deferred.lifted(t.operator, dims), inner, context)
    except NotFoldable:
        return None
    return replace(done, moves=(*t.moves[:first], *t.moves[end:]))
