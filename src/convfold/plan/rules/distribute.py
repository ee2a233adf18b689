"""B∘Σ x_i = Σ B∘x_i and B∘concat(x_i) = Σ B_i∘x_i, B_i the column blocks: an operator goes to every term.

Where the concat is along another axis, a pointwise B goes to every part whole.

At a term it composes: B∘route∘A = route∘(B∘A), for which B must be pointwise if there is a route.
"""

from __future__ import annotations

from collections.abc import Iterable

from convfold.algebra.operation import Apply
from convfold.errors import NotFoldable
from convfold.plan import recipe
from convfold.plan.form import Form, Signals, Term, Terms
from convfold.plan.recipe import Recipe, Uniform
from convfold.plan.rules.gather import gathered


def apply(step: Apply, x: Form, signals: Signals) -> Form:
    b = step.operator
    assert isinstance(b, Recipe)
    g = b.geometry
    if len(x.blocks) == 1:
        return Form((_over_sum(b, step.axis, x.blocks[0], signals),))
    if x.axis != step.axis:
        if not g.pointwise or g.periodic:
            raise NotFoldable("layout-mixes-channels", "the concat is along another axis than the channels")
        return Form(tuple(_over_sum(b, step.axis, part, signals) for part in x.blocks), x.axis, x.sizes)
    columns = list(_ranges(x.sizes))
    if g.groups == 1:
        terms: list[Term] = []
        for i, (cols, part) in enumerate(zip(columns, x.blocks, strict=True)):
            column = recipe.block(b, range(g.c_out), cols, bias=i == 0)
            assert column is not None  # one group: no block is empty
            terms += _over_sum(column, step.axis, part, signals)
        return Form((gathered(terms, signals),))
    blocks, sizes = [], []
    for cols, part in zip(columns, x.blocks, strict=True):
        rows = range(cols.start * g.c_out // g.c_in, cols.stop * g.c_out // g.c_in)
        diagonal = recipe.block(b, rows, cols, bias=True)
        assert diagonal is not None
        blocks.append(_over_sum(diagonal, step.axis, part, signals))
        sizes.append(len(rows))
    return Form(tuple(blocks), step.axis, tuple(sizes))


def _over_sum(b: Recipe, axis: int, terms: Terms, signals: Signals) -> Terms:
    g = b.geometry
    rest = recipe.block(b, range(g.c_out), range(g.c_in), bias=False) if len(terms) > 1 else b
    assert rest is not None
    return gathered([_compose(b if i == 0 else rest, axis, t, signals) for i, t in enumerate(terms)], signals)


def _compose(b: Recipe, axis: int, t: Term, signals: Signals) -> Term:
    a = None if t.operator is None or t.operator.identity else t.operator
    if isinstance(b, Uniform) and a is not None:  # on any axis: on the operator's, before the route
        b = b.over(a.geometry.c_out)
        return Term(t.leaf, recipe.series(b, a, signals[t.leaf].known(t.axis, a.geometry.dims)), t.axis, t.route)
    at = t.traced(axis)
    if t.route:
        if not b.geometry.pointwise or b.geometry.periodic:
            raise NotFoldable("layout-mixes-channels", "a view lies between, and the second reads neighbours")
        b = recipe.lifted(b, 0)
    route = t.resized(axis, b.geometry.c_out)
    if a is None:
        return Term(t.leaf, b, at, route)
    if isinstance(a, Uniform):
        a = a.over(signals[t.leaf].shape[at])
    elif at != t.axis:
        raise NotFoldable("layout-mixes-channels", f"channel axes differ: {t.axis} and {at}")
    sizes = signals[t.leaf].known(at, max(b.geometry.dims, a.geometry.dims))
    return Term(t.leaf, recipe.series(b, a, sizes), at, route)


def _ranges(sizes: Iterable[int]) -> Iterable[range]:
    start = 0
    for n in sizes:
        yield range(start, start + n)
        start += n
