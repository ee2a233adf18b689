"""P∘S = S∘P for pointwise P and a move S: the move joins the route, operators stay where they are.

Where S is also a convolution (a pool, a zero pad, a repetition), the operator before it composes with it instead: two
forms of one value, and the search takes either.
"""

from __future__ import annotations

from convfold.algebra.operation import Apply, Move, Spatial
from convfold.errors import NotFoldable
from convfold.plan.form import Context, Form, Moved, with_length
from convfold.plan.rules import distribute
from convfold.region import Signal


def follow(step: Move, x: Form, y: Signal) -> Form:
    """``y`` is the signal behind the step."""
    if len(x.blocks) == 1:
        return Form((tuple(t.followed(Moved(step, y)) for t in x.blocks[0]),))
    axis = step.forward(x.axis)
    if axis is None:
        raise NotFoldable("layout-mixes-channels", "a step splits, joins or reads along the concatenated axis")
    blocks = tuple(
        tuple(t.followed(Moved(step.resized(axis, n), with_length(y, axis, n))) for t in terms)
        for terms, n in zip(x.blocks, x.sizes, strict=True)
    )
    return Form(blocks, axis, x.sizes)


def act(step: Spatial, x: Form, y: Signal, context: Context) -> list[Form]:
    forms = []
    try:
        forms.append(follow(step, x, y))
        reason = None
    except NotFoldable as e:
        reason = e
    if step.convolution is not None:
        try:
            forms.append(distribute.apply(Apply(step.convolution, step.axis), x, context))
        except NotFoldable as e:
            reason = e
    if not forms:
        assert reason is not None
        raise reason
    return forms
