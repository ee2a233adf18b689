"""A(x) + B(x) = (A + B)(x): terms that reach one leaf in one way become one operator, where that is cheaper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from convfold.errors import NotFoldable
from convfold.plan import recipe
from convfold.plan.cost import operator_cost
from convfold.plan.form import Form, Signals, Term, Terms


def add(inputs: Sequence[Form], signals: Signals) -> Form:
    first = inputs[0]
    if any(len(f.blocks) != len(first.blocks) or f.sizes != first.sizes or f.axis != first.axis for f in inputs):
        raise NotFoldable("partition-differs", "the summands are concatenated from different parts")
    blocks = tuple(gathered((t for f in inputs for t in f.blocks[i]), signals) for i in range(len(first.blocks)))
    return Form(blocks, first.axis, first.sizes)


def gathered(terms: Iterable[Term], signals: Signals) -> Terms:
    """The terms with every pair joined that can be and should be."""
    kept: list[Term] = []
    for term in terms:
        t = term
        for i, s in enumerate(kept):
            if (both := _joined(s, t, signals)) is not None:
                kept[i] = both
                break
        else:
            kept.append(t)
    return tuple(kept)


def _joined(s: Term, t: Term, signals: Signals) -> Term | None:
    if s.leaf != t.leaf or s.route != t.route:
        return None
    if s.operator is None:
        s, t = t, s
    a, b = s.operator, t.operator
    if a is None:  # x + x: nothing says which axis holds the channels
        return None
    x = signals[s.leaf]
    if b is None:
        if a.geometry.c_in != a.geometry.c_out:
            return None
        b = recipe.identity(a.geometry.c_in, a.geometry.dims)
    elif s.axis != t.axis:
        return None
    try:
        both = recipe.parallel(a, b, x.known(s.axis, max(a.geometry.dims, b.geometry.dims)))
    except NotFoldable:
        return None
    apart = s.cost(signals) + t.cost(signals)
    together = operator_cost(both.geometry, x, s.axis)
    # One operation and two passes over the output are saved beside: equal multiply-adds are enough.
    return Term(s.leaf, both, s.axis, s.route) if together.macs <= apart.macs else None
