"""B∘Σ x_i = Σ B∘x_i and B∘concat(x_i) = Σ B_i∘x_i, B_i the column blocks: an operator goes to every term.

Where the concat is along another axis, a pointwise B goes to every part whole.

At a term it composes with the term's own: B∘S∘A = S∘(B∘A) if B is pointwise and S a move, (B∘A)∘S if A is. Where it
reads beyond the ends of what A gives, the two compose as if there were no ends, and the term remembers the steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from convfold.algebra.apply import Apply
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.along import along
from convfold.plan.deferred import Deferred, Uniform
from convfold.plan.form import Context, Form, Moved, Term, Terms, spaced, with_length
from convfold.plan.rules.combine import combined
from convfold.plan.rules.onto import onto


def apply(step: Apply, x: Form, context: Context) -> Form:
    b = step.operator
    assert isinstance(b, Deferred)
    g = b.geometry
    if len(x.blocks) == 1:
        return Form((_over_sum(b, step.axis, x.blocks[0], context),))
    if x.axis != step.axis:
        if not g.pointwise or g.periodic:
            raise NotFoldable("layout-mixes-channels", "the concat is along another axis than the channels")
        return Form(tuple(_over_sum(b, step.axis, part, context) for part in x.blocks), x.axis, x.sizes)
    columns = list(_ranges(x.sizes))
    if g.groups == 1:
        terms: list[Term] = []
        bearer = next((i for i, part in enumerate(x.blocks) if any(t.constant is None for t in part)), 0)
        for i, (cols, part) in enumerate(zip(columns, x.blocks, strict=True)):
            column = context.once("block", deferred.block, b, range(g.c_out), cols, i == bearer)
            assert column is not None  # one group: no block is empty
            terms += _over_sum(column, step.axis, part, context)
        return Form((combined(terms, context),))
    blocks, sizes = [], []
    for cols, part in zip(columns, x.blocks, strict=True):
        rows = range(cols.start * g.c_out // g.c_in, cols.stop * g.c_out // g.c_in)
        diagonal = context.once("block", deferred.block, b, rows, cols, True)
        assert diagonal is not None
        blocks.append(_over_sum(diagonal, step.axis, part, context))
        sizes.append(len(rows))
    return Form(tuple(blocks), step.axis, tuple(sizes))


def _over_sum(b: Deferred, axis: int, terms: Terms, context: Context) -> Terms:
    rest = b.linear if len(terms) > 1 else b
    composed = [
        context.once("compose", lambda b, axis, t: _compose(b, axis, t, context), b if i == 0 else rest, axis, t)
        for i, t in enumerate(terms)
    ]
    return combined(composed, context)


def _compose(b: Deferred, axis: int, t: Term, context: Context) -> Term:
    if t.sign < 0:
        b, t = context.once("of_negative", deferred.of_negative, b), t.turned()
    if t.constant is not None:
        g, x = b.geometry, t.constant.signal
        y = with_length(spaced(x, axis, g.size(x.space(axis, g.dims))), axis, g.c_out)
        return Term("", constant=t.constant.behind(Apply(b, axis), y))
    outer = Term(t.leaf, t.moves, b, len(t.moves), axis)
    try:
        return _on_axis(b, axis, t, outer, context)
    except NotFoldable:
        if (across := _across(outer, t, context)) is None:
            raise
        return across


def _on_axis(b: Deferred, axis: int, t: Term, outer: Term, context: Context) -> Term:
    """Where both have their channels on one axis, or one of them has none of its own."""
    a, end = t.operator, len(t.moves)
    if a is None or a.identity:
        return outer.lowest() if outer.movable else outer
    if isinstance(b, Uniform):  # on any axis: on the operator's, behind it
        _past(t, b)
        return onto(b.over(a.geometry.c_out), t, context)
    if isinstance(a, Uniform):
        _past(t, a)
        length = b.geometry.c_in
        composed = onto(b, replace(outer, operator=a.over(length)), context)
        return composed.lowest() if composed.movable else composed
    if outer.movable:
        try:
            return _below(outer, t, context)
        except NotFoldable:
            if not t.movable:
                raise
    elif not t.movable and t.at < end:
        raise NotFoldable("layout-mixes-channels", "a step lies between, and both operators read neighbours")
    up = t.placed(end)
    if up.axis != axis:
        raise NotFoldable("layout-mixes-channels", f"channel axes differ: {up.axis} and {axis}")
    composed = onto(b, up, context)
    return composed.lowest() if composed.movable else composed


def _below(outer: Term, t: Term, context: Context) -> Term:
    """The outer operator, pointwise, moved down to the inner one's place."""
    down = outer.placed(t.at)
    if down.axis != t.axis:
        raise NotFoldable("layout-mixes-channels", f"channel axes differ: {t.axis} and {down.axis}")
    assert down.operator is not None
    # Before the inner operator the moves is what it was; behind it, what the outer one made of it.
    return replace(onto(down.operator, t, context), moves=(*t.moves[: t.at], *down.moves[t.at :]))


def _across(outer: Term, t: Term, context: Context) -> Term | None:
    """(1 ⊗ B)∘(A ⊗ 1): the inner operator, on another axis, as a move; None where it is none."""
    if not t.movable:
        return None
    try:
        t = t.placed(len(t.moves))
    except NotFoldable:
        return None
    assert t.operator is not None
    move = along(t.operator, t.axis)
    if move is None or t.axis == outer.axis:
        return None
    y = with_length(t.read(context), t.axis, t.operator.geometry.c_out)
    moves = (*t.moves, Moved(move, y))
    across = replace(outer, moves=moves, at=len(moves))
    return across.lowest() if across.movable else across


def _past(t: Term, u: Uniform) -> None:
    """May a plain number's shift pass every move between the operator and the end?"""
    if u.geometry.period is not None and not all(moved.move.constants for moved in t.moves[t.at :]):
        raise NotFoldable("ghost-is-constant", "a shift beside a step that does not preserve constants")


def _ranges(sizes: Iterable[int]) -> Iterable[range]:
    start = 0
    for n in sizes:
        yield range(start, start + n)
        start += n
