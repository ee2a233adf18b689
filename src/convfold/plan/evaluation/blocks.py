"""Blocks laid end to end: neighbours that read one leaf as one operator, the map of space they all end in behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convfold.algebra.joins import Concat
from convfold.algebra.spatial import Spatial
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.constants import Constant, Repeated
from convfold.plan.evaluation.steps import Computed, cost_of, moved, step
from convfold.plan.evaluation.terms import term_cost
from convfold.plan.form import Context, Form, Moved, Term, Terms, with_length
from convfold.region import Signal


def stacked(form: Form, context: Context) -> Form:
    """Neighbouring blocks that read one leaf in one way, as one operator where that is cheaper.

    concat(A(x), B(x)) = (A over B)(x): one reading of x and no copy.
    """
    if len(form.blocks) == 1:
        return form
    blocks, sizes = [form.blocks[0]], [form.sizes[0]]
    for terms, size in zip(form.blocks[1:], form.sizes[1:], strict=True):
        joined = _stack(blocks[-1], terms, form.axis, sizes[-1] + size, context)
        if joined is None:
            blocks.append(terms)
            sizes.append(size)
        else:
            blocks[-1], sizes[-1] = (joined,), sizes[-1] + size
    return Form(tuple(blocks), form.axis, tuple(sizes)) if len(blocks) > 1 else Form(tuple(blocks))


def _stack(a: Terms, b: Terms, axis: int, size: int, context: Context) -> Term | None:
    if len(a) > 1 or len(b) > 1:
        return None
    (s,), (t,) = a, b
    same = s.leaf == t.leaf and s.axis == t.axis and s.at == t.at and len(s.moves) == len(t.moves)
    if not same or s.operator is None or t.operator is None or s.operator.identity or t.operator.identity:
        return None
    if s.moves[: s.at] != t.moves[: t.at] or s.paths or t.paths or s.sign != t.sign:
        return None
    try:
        if s.traced(axis) != s.axis or t.traced(axis) != t.axis:
            return None
        known = s.known(context, max(s.operator.geometry.dims, t.operator.geometry.dims))
        both = deferred.stack(s.operator, t.operator, known)
    except NotFoldable:
        return None
    joined = replace(s, operator=both, moves=s.resized(axis, size))
    if joined.moves[s.at :] != t.resized(axis, size)[t.at :]:
        return None
    # The copy of the concat shrinks too, but by how much depends on the other blocks: not counted, so never too bold.
    return joined if term_cost(joined, context) <= term_cost(s, context) + term_cost(t, context) else None


def _repeated(parts: Sequence[Computed], axis: int, context: Context) -> Sequence[Computed]:
    """Constants at the length that another part has along the axes whose length is free."""
    signal = next((p for p in parts if not isinstance(p.operation, Constant)), None)
    if signal is None:
        return parts

    def long(p: Computed) -> Computed:
        if not isinstance(p.operation, Constant) or not p.signal.free:
            return p
        return step(Repeated(p.operation.known, axis), [signal], p.signal, context)

    return [long(p) for p in parts]


def concatenated(parts: Sequence[Computed], axis: int, y: Signal, context: Context) -> Computed:
    """Parts end to end; before the map of space they all end in, where that is cheaper."""
    parts = _repeated(parts, axis, context)
    apart = step(Concat(axis), parts, y, context)
    move = parts[0].operation
    if not isinstance(move, Spatial) or any(p.operation != move for p in parts):
        return apart
    before = move.traced(axis)
    if before is None:
        return apart
    below = [p.inputs[0] for p in parts]
    x = with_length(below[0].signal, before, sum(b.signal.shape[before] for b in below))
    return min(apart, moved(Moved(move, y), concatenated(below, before, x, context), context), key=cost_of)
