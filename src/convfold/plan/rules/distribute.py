"""B∘Σ x_i = Σ B∘x_i and B∘concat(x_i) = Σ B_i∘x_i, B_i the column blocks: an operator goes to every term.

Where the concat is along another axis, a pointwise B goes to every part whole.

At a term it composes with the term's own: B∘S∘A = S∘(B∘A) if B is pointwise and S a move, (B∘A)∘S if A is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from convfold.algebra.operation import Apply
from convfold.errors import NotFoldable
from convfold.plan import recipe
from convfold.plan.form import Context, Form, Term, Terms
from convfold.plan.recipe import Ghost, Recipe, Uniform
from convfold.plan.rules.gather import gathered


def apply(step: Apply, x: Form, context: Context) -> Form:
    b = step.operator
    assert isinstance(b, Recipe)
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
        for i, (cols, part) in enumerate(zip(columns, x.blocks, strict=True)):
            column = context.once("block", recipe.block, b, range(g.c_out), cols, i == 0)
            assert column is not None  # one group: no block is empty
            terms += _over_sum(column, step.axis, part, context)
        return Form((gathered(terms, context),))
    blocks, sizes = [], []
    for cols, part in zip(columns, x.blocks, strict=True):
        rows = range(cols.start * g.c_out // g.c_in, cols.stop * g.c_out // g.c_in)
        diagonal = context.once("block", recipe.block, b, rows, cols, True)
        assert diagonal is not None
        blocks.append(_over_sum(diagonal, step.axis, part, context))
        sizes.append(len(rows))
    return Form(tuple(blocks), step.axis, tuple(sizes))


def _over_sum(b: Recipe, axis: int, terms: Terms, context: Context) -> Terms:
    g = b.geometry
    rest = context.once("block", recipe.block, b, range(g.c_out), range(g.c_in), False) if len(terms) > 1 else b
    assert rest is not None
    composed = [
        context.once("compose", lambda b, axis, t: _compose(b, axis, t, context), b if i == 0 else rest, axis, t)
        for i, t in enumerate(terms)
    ]
    return gathered([t for group in composed for t in group], context)


def _compose(b: Recipe, axis: int, t: Term, context: Context) -> Terms:
    """One term, and a ring of constants beside it where b reads the bias of a padded value outside its extent."""
    try:
        return (_exactly(b, axis, t, context),)
    except NotFoldable as e:
        if e.code != "ghost-is-constant" or b.geometry.pointwise or t.leaf in context.constants:
            raise
        return _with_ring(b, axis, t, context, e)


def _with_ring(b: Recipe, axis: int, t: Term, context: Context, reason: NotFoldable) -> Terms:
    """B∘(A + b_A) = (B∘A + B(b_A)) + ring, at known sizes."""
    t = t if t.at == len(t.route) else t.placed(len(t.route))
    a, dims = t.operator, b.geometry.dims
    if a is None or t.axis != axis or any(w.upsample > 1 for w in b.geometry.windows) or a.geometry.periodic:
        raise reason
    x = t.read(context)
    known = t.known(context, dims)
    if any(n is None for n in known) or a.geometry.period is None or a.geometry.dims not in (0, dims):
        raise reason
    between = a.geometry.lifted(dims).size(x.space(axis, dims))
    after = b.geometry.size(between)
    both = recipe.series(b, a, known, beyond=True)
    ghost = Ghost(b, a, between, after)
    y = replace(x, shape=(*x.shape[:axis], b.geometry.c_out, *after, *x.shape[axis + 1 + dims :]))
    return replace(t, operator=both), context.constant(ghost, y)


def _exactly(b: Recipe, axis: int, t: Term, context: Context) -> Term:
    a, end = t.operator, len(t.route)
    outer = Term(t.leaf, t.route, b, end, axis)
    if t.leaf in context.constants and not outer.movable:
        raise NotFoldable("ghost-is-constant", "a ring of constants before an operator that reads neighbours")
    if a is None or a.identity:
        return outer.lowest() if outer.movable else outer
    if isinstance(b, Uniform):  # on any axis: on the operator's, behind it
        _past(t, b)
        return replace(t, operator=_series(b.over(a.geometry.c_out), t, context))
    if isinstance(a, Uniform):
        _past(t, a)
        length = b.geometry.c_in
        composed = replace(outer, operator=_series(b, replace(outer, operator=a.over(length)), context))
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
    composed = replace(up, operator=_series(b, up, context))
    return composed.lowest() if composed.movable else composed


def _below(outer: Term, t: Term, context: Context) -> Term:
    """The outer operator, pointwise, moved down to the inner one's place."""
    down = outer.placed(t.at)
    if down.axis != t.axis:
        raise NotFoldable("layout-mixes-channels", f"channel axes differ: {t.axis} and {down.axis}")
    assert down.operator is not None
    # Before the inner operator the route is what it was; behind it, what the outer one made of it.
    return replace(t, route=(*t.route[: t.at], *down.route[t.at :]), operator=_series(down.operator, t, context))


def _series(b: Recipe, t: Term, context: Context) -> Recipe:
    assert t.operator is not None
    return recipe.series(b, t.operator, t.known(context, max(b.geometry.dims, t.operator.geometry.dims)))


def _past(t: Term, u: Uniform) -> None:
    """May a plain number's shift pass every move between the operator and the end?"""
    if u.shift and not all(moved.move.constants for moved in t.route[t.at :]):
        raise NotFoldable("ghost-is-constant", "a shift beside a step that does not preserve constants")


def _ranges(sizes: Iterable[int]) -> Iterable[range]:
    start = 0
    for n in sizes:
        yield range(start, start + n)
        start += n
