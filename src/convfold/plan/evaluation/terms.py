"""One term: where its operator goes among its moves, and how its border is mended."""

from __future__ import annotations

from collections.abc import Iterator

from convfold.algebra.spatial import Spatial
from convfold.errors import NotFoldable
from convfold.plan.border import Border
from convfold.plan.cost import Cost
from convfold.plan.evaluation.steps import Computed, applied, bordered, cost_of, leaf, moved, unread
from convfold.plan.evaluation.taps import tapped
from convfold.plan.form import Context, Term


def term_computed(term: Term, context: Context) -> Computed:
    """The cheapest way known to compute a term."""

    def make(t: Term) -> Computed:
        return context.prices.cheapest(_computed(t, context), cost_of)

    return context.once("term", make, term)


def term_cost(term: Term, context: Context) -> Cost:
    return term_computed(term, context).cost


def ending(term: Term, context: Context) -> Computed:
    """The cheapest way that ends in the term's last map of space, which others may share; else the cheapest."""

    def make(t: Term) -> Computed:
        ways = list(_computed(t, context))
        return context.prices.cheapest([c for c in ways if isinstance(c.operation, Spatial)] or ways, cost_of)

    return context.once("ending", make, term)


def ends_in_map(term: Term) -> bool:
    return len(term.moves) > 0 and isinstance(term.moves[-1].move, Spatial)


def _computed(term: Term, context: Context) -> Iterator[Computed]:
    border = border_of(term, context)
    for way in _ways(term, context):
        if border is None:
            yield _chain(way, context)
        elif way is term:
            yield _chain(way, context, border, term.at)
        elif border.constant and unread(border, context):  # what the operator reads is not there
            yield _chain(way, context, border, term.at, there=False)


def border_of(term: Term, context: Context) -> Border | None:
    """What its operator gets wrong at the border; None if nothing."""
    if not term.paths or term.operator is None:
        return None
    dims = term.operator.geometry.dims
    sizes = term.read(context).space(term.axis, dims)
    border = Border(term.operator, term.paths, term.known(context, dims), sizes)
    return None if border.empty else border


def _ways(term: Term, context: Context) -> Iterator[Term]:
    """The term with its operator at every place it can have; of places that cost the same the last is taken.

    A view then comes before it, and what reads it next finds it laid out as it was written.
    """
    if term.operator is None or term.operator.identity:
        yield term
    elif term.movable:
        yield from _places(term)
    else:
        yield term
        for apart in tapped(term, context):
            yield from _places(apart)


def _places(term: Term) -> Iterator[Term]:
    """The last first."""
    above: list[Term] = [term]
    below: list[Term] = []
    for found, step, end in ((above, 1, len(term.moves)), (below, -1, 0)):
        at = term
        while at.at != end:
            try:
                at = at.placed(at.at + step)
            except NotFoldable:
                break
            found.append(at)
    yield from reversed(above)
    yield from below


def _chain(term: Term, context: Context, border: Border | None = None, place: int = 0, there: bool = True) -> Computed:
    """The steps of one term, in its order; the border is mended after ``place`` moves, behind the operator.

    ``there``: is what the operator reads what it reads by the border, too?
    """
    value = x = leaf(term, context)
    for i in range(len(term.moves) + 1):
        if i == term.at and term.operator is not None and not term.operator.identity:
            value, x = applied(term.operator, term.axis, value, context), value
        if border is not None and i == place:
            value = bordered(value, x if there else None, border, context)
        if i < len(term.moves):
            value = moved(term.moves[i], value, context)
    return value
