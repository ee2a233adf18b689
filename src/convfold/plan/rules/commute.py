"""P∘layout = layout∘P for pointwise P: a permute or view joins the route, operators stay below it."""

from __future__ import annotations

from convfold.algebra.operation import Layout
from convfold.errors import NotFoldable
from convfold.plan.form import Form, Term


def lay_out(step: Layout, x: Form) -> Form:
    if len(x.blocks) == 1:
        return Form((tuple(Term(t.leaf, t.operator, t.axis, (*t.route, step)) for t in x.blocks[0]),))
    axis = step.forward(x.axis)
    if axis is None:
        raise NotFoldable("layout-mixes-channels", "a view splits or joins the concatenated axis")
    blocks = tuple(
        tuple(Term(t.leaf, t.operator, t.axis, (*t.route, step.resized(axis, n))) for t in terms)
        for terms, n in zip(x.blocks, x.sizes, strict=True)
    )
    return Form(blocks, axis, x.sizes)
