"""A slice of the channels of A(x) is A with only those rows; of its space, A with other windows; else a move."""

from __future__ import annotations

from dataclasses import replace

from convfold.algebra.apply import Apply
from convfold.algebra.layout import Select, Slice
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.deferred import Deferred
from convfold.plan.form import Context, Form, Moved, Term, Terms, forms_of, with_length
from convfold.plan.rules import distribute
from convfold.plan.rules.commute import follow
from convfold.plan.rules.windows import cut_of
from convfold.region import Signal


def cut(step: Slice, x: Form, before: Signal, y: Signal, context: Context) -> list[Form]:
    """``before`` and ``y`` are the signals before and behind the step."""
    return forms_of(lambda: [_moved(step, x, before, y, context)], lambda: _windowed(step, x, before, context))


def select(step: Select, x: Form, before: Signal, y: Signal, context: Context) -> list[Form]:
    """One position: as it is, or cut to it first."""
    one = with_length(before, step.axis, 1)
    bare = len(x.blocks) == 1 and all(t.operator is None for t in x.blocks[0])
    return forms_of(
        lambda: [follow(step, x, y)],
        lambda: [] if bare else [_without(step, f, y) for f in cut(step.sliced, x, before, one, context)],
    )


def _without(step: Select, x: Form, y: Signal) -> Form:
    """What is one long there, and the axis gone."""
    return follow(Select(step.axis, 0, 1), x, y)


def _windowed(step: Slice, x: Form, before: Signal, context: Context) -> list[Form]:
    """Where operators that read neighbours come last, on one axis."""
    terms = [t for terms in x.blocks for t in terms if t.operator is not None]
    neighbours = [t for t in terms if not t.movable]
    axes = {t.axis for t in neighbours}
    if len(axes) != 1 or any(t.at < len(t.moves) for t in neighbours):
        return []
    (axis,) = axes
    operator = cut_of(step, before, axis, max(t.operator.geometry.dims for t in terms if t.operator is not None))
    return [] if operator is None else [distribute.apply(Apply(operator, axis), x, context)]


def _moved(step: Slice, x: Form, before: Signal, y: Signal, context: Context) -> Form:
    if len(x.blocks) == 1:
        return Form((tuple(_cut(step, t, before, y, context) for t in x.blocks[0]),))
    if x.axis != step.axis:
        return follow(step, x, y)
    at = step.positions(sum(x.sizes))
    if step.step > 1:
        return distribute.apply(Apply(deferred.chosen(sum(x.sizes), at), step.axis), x, context)
    blocks, sizes, start = [], [], 0
    for terms, n in zip(x.blocks, x.sizes, strict=True):
        rows = range(max(at.start - start, 0), min(at.stop - start, n))
        if len(rows) == n:
            blocks.append(terms)
            sizes.append(n)
        elif len(rows) > 0:
            blocks.append(_rows(terms, step.axis, rows))
            sizes.append(len(rows))
        start += n
    return Form(tuple(blocks), x.axis, tuple(sizes)) if len(blocks) > 1 else Form(tuple(blocks))


def _cut(step: Slice, t: Term, before: Signal, y: Signal, context: Context) -> Term:
    """Rows where the slice is of the operator's channels, else one move more."""
    try:
        if t.operator is not None and not t.operator.identity and t.traced(step.axis) == t.axis:
            at = step.positions(before.shape[step.axis])
            if step.step > 1:
                chosen = Apply(deferred.chosen(before.shape[step.axis], at), step.axis)
                return distribute.apply(chosen, Form(((t,),)), context).blocks[0][0]
            (rows,) = _rows((t,), step.axis, range(at.start, at.stop))
            return rows
    except NotFoldable:
        pass
    return t.followed(Moved(step, y))


def _block(operator: Deferred, rows: range) -> Deferred:
    part = deferred.block(operator, rows, range(operator.geometry.c_in), bias=True)
    assert part is not None
    return part


def _rows(terms: Terms, axis: int, rows: range) -> Terms:
    out = []
    for t in terms:
        if t.constant is not None:
            cut = Slice(axis, rows.start, rows.stop)
            out.append(t.followed(Moved(cut, with_length(t.constant.signal, axis, len(rows)))))
            continue
        if t.operator is None or t.operator.identity:
            raise NotFoldable("partition-differs", "nothing to cut rows from")
        if t.traced(axis) != t.axis:
            raise NotFoldable("layout-mixes-channels", "sliced along another axis than the channels")
        if len(rows) == 0:
            raise NotFoldable("partition-differs", "an empty slice")
        paths = tuple((*path, _block(last, rows)) for *path, last in t.paths)
        out.append(replace(t, operator=_block(t.operator, rows), moves=t.resized(axis, len(rows)), paths=paths))
    return tuple(out)
