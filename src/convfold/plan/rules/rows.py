"""A slice of the channels of A(x) is A with only those rows; of its space, A with other windows; else a move."""

from __future__ import annotations

from dataclasses import replace

from convfold.algebra.apply import Apply
from convfold.algebra.layout import Select, Slice
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.deferred import Deferred
from convfold.plan.form import Context, Form, Moved, Term, Terms, with_length
from convfold.plan.rules import distribute
from convfold.plan.rules.commute import follow
from convfold.plan.rules.windows import cut_of
from convfold.region import Signal


def cut(step: Slice, x: Form, before: Signal, y: Signal, context: Context) -> list[Form]:
    """``before`` and ``y`` are the signals before and behind the step."""
    forms = []
    try:
        forms.append(_moved(step, x, before, y, context))
        reason = None
    except NotFoldable as e:
        reason = e
    neighbours = [t for terms in x.blocks for t in terms if not t.movable and t.operator is not None]
    axes = {t.axis for t in neighbours}
    if len(axes) == 1 and all(t.at == len(t.moves) for t in neighbours):  # operators that read them, and come last
        (axis,) = axes
        try:
            dims = max(t.operator.geometry.dims for terms in x.blocks for t in terms if t.operator is not None)
            operator = cut_of(step, before, axis, dims)
            if operator is not None:
                forms.append(distribute.apply(Apply(operator, axis), x, context))
        except NotFoldable as e:
            reason = e
    if not forms:
        assert reason is not None
        raise reason
    return forms


def select(step: Select, x: Form, before: Signal, y: Signal, context: Context) -> list[Form]:
    """One position: as it is, or cut to it first."""
    one = with_length(before, step.axis, 1)
    forms = []
    try:
        forms.append(follow(step, x, y))
        reason = None
    except NotFoldable as e:
        reason = e
    if any(t.operator is not None for terms in x.blocks for t in terms) or len(x.blocks) > 1:
        try:
            cuts = cut(step.sliced, x, before, one, context)
            forms += [follow(Select(step.axis, 0, 1), form, y) for form in cuts]
        except NotFoldable as e:
            reason = e
    if not forms:
        assert reason is not None
        raise reason
    return forms


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
        if t.operator is None or t.operator.identity:
            raise NotFoldable("partition-differs", "nothing to cut rows from")
        if t.traced(axis) != t.axis:
            raise NotFoldable("layout-mixes-channels", "sliced along another axis than the channels")
        if len(rows) == 0:
            raise NotFoldable("partition-differs", "an empty slice")
        paths = tuple((*path, _block(last, rows)) for *path, last in t.paths)
        out.append(replace(t, operator=_block(t.operator, rows), moves=t.resized(axis, len(rows)), paths=paths))
    return tuple(out)
