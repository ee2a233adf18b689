"""A slice of the channels of A(x) is A with only those rows."""

from __future__ import annotations

from convfold.algebra.operation import Slice
from convfold.errors import NotFoldable
from convfold.plan import recipe
from convfold.plan.form import Form, Term, Terms


def cut(step: Slice, x: Form) -> Form:
    if len(x.blocks) == 1:
        return Form((_rows(x.blocks[0], step.axis, range(step.start, step.stop)),))
    if x.axis != step.axis:
        raise NotFoldable("partition-differs", "sliced along another axis than concatenated")
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


def _rows(terms: Terms, axis: int, rows: range) -> Terms:
    out = []
    for t in terms:
        if t.operator is None or t.operator.identity:
            raise NotFoldable("partition-differs", "nothing to cut rows from")
        if t.traced(axis) != t.axis:
            raise NotFoldable("layout-mixes-channels", "sliced along another axis than the channels")
        if len(rows) == 0:
            raise NotFoldable("partition-differs", "an empty slice")
        part = recipe.block(t.operator, rows, range(t.operator.geometry.c_in), bias=True)
        assert part is not None
        out.append(Term(t.leaf, part, t.axis, t.resized(axis, len(rows))))
    return tuple(out)
