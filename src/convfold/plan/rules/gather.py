"""A(x) + B(x) = (A + B)(x): terms that reach one leaf in one way become one operator, where that is cheaper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from convfold.errors import NotFoldable
from convfold.plan import recipe
from convfold.plan.evaluation import term_computed
from convfold.plan.form import Context, Form, Term, Terms


def add(inputs: Sequence[Form], context: Context) -> Form:
    first = inputs[0]
    if any(len(f.blocks) != len(first.blocks) or f.sizes != first.sizes or f.axis != first.axis for f in inputs):
        raise NotFoldable("partition-differs", "the summands are concatenated from different parts")
    blocks = tuple(gathered((t for f in inputs for t in f.blocks[i]), context) for i in range(len(first.blocks)))
    return Form(blocks, first.axis, first.sizes)


def gathered(terms: Iterable[Term], context: Context) -> Terms:
    """The terms with every pair joined that can be and should be."""
    kept: dict[str, list[Term]] = {}  # by leaf
    for t in terms:
        alike = kept.setdefault(t.leaf, [])
        for i, s in enumerate(alike):
            if (both := context.once("joined", lambda s, t: _joined(s, t, context), s, t)) is not None:
                alike[i] = both
                break
        else:
            alike.append(t)
    return tuple(t for alike in kept.values() for t in alike)


def _joined(s: Term, t: Term, context: Context) -> Term | None:
    if s.leaf != t.leaf or len(s.route) != len(t.route):
        return None
    if s.operator is None:
        s, t = t, s
    if s.at != t.at and t.movable:
        s, t = t, s
    try:
        if s.at != t.at and s.movable:
            s = s.placed(t.at)
        a, b = s.operator, t.operator
        if a is None or s.route != t.route:  # x + x: nothing says which axis holds the channels
            return None
        if b is None:
            if a.geometry.c_in != a.geometry.c_out:
                return None
            b = recipe.identity(a.geometry.c_in, a.geometry.dims)
        elif (s.at, s.axis) != (t.at, t.axis):
            return None
        both = recipe.parallel(a, b, s.known(context, max(a.geometry.dims, b.geometry.dims)))
    except NotFoldable:
        return None
    paths = (*s.ways, *(t.ways or ((b,),))) if s.paths or t.paths else ()
    joined = replace(s, operator=both, paths=paths)
    one, two, together = (term_computed(term, context) for term in (s, t, joined))
    apart = one.cost + two.cost + context.prices.sum(2, together.signal)
    return joined if together.cost <= apart else None
