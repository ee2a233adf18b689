"""A slice of the channels of A(x) is A with only those rows; a slice along another axis is a move."""

from __future__ import annotations

from dataclasses import replace

from convfold.algebra.layout import Slice
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.deferred import Deferred
from convfold.plan.form import Form, Moved, Term, Terms
from convfold.plan.rules.commute import follow
from convfold.region import Signal


def cut(step: Slice, x: Form, y: Signal) -> Form:
    """``y`` is the signal behind the step."""
    if len(x.blocks) == 1:
        return Form((tuple(_cut(step, t, y) for t in x.blocks[0]),))
    if x.axis != step.axis:
        return follow(step, x, y)
    blocks, sizes, start = [], [], 0
    for terms, n in zip(x.blocks, x.sizes, strict=True):
        rows = range(max(step.start - start, 0), min(step.stop - start, n))
        if len(rows) == n:
            blocks.append(terms)
            sizes.append(n)
        elif len(rows) > 0:
            blocks.append(_rows(terms, step.axis, rows))
            sizes.append(len(rows))
        start += n
    return Form(tuple(blocks), x.axis, tuple(sizes)) if len(blocks) > 1 else Form(tuple(blocks))


def _cut(step: Slice, t: Term, y: Signal) -> Term:
    """Rows where the slice is of the operator's channels, else one move more."""
    try:
        if t.operator is not None and not t.operator.identity and t.traced(step.axis) == t.axis:
            (rows,) = _rows((t,), step.axis, range(step.start, step.stop))
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
