"""Blocks laid end to end: neighbours that read one leaf as one operator, the map of space they all end in behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convfold.algebra.joins import Concat
from convfold.algebra.layout import Slice
from convfold.algebra.spatial import Spatial
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.constants import Constant, Repeated
from convfold.plan.evaluation.steps import Computed, cost_of, moved, step
from convfold.plan.evaluation.terms import term_cost
from convfold.plan.form import Context, Form, Moved, Term, Terms, with_length
from convfold.region import Signal


def stacked(form: Form, context: Context) -> Form:
    """Neighbouring blocks that read one leaf in one way, or neighbouring slices of it, as one operator where that is
    cheaper.

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
    if s.paths or t.paths or s.sign != t.sign:
        return None
    try:
        if s.traced(axis) != s.axis or t.traced(axis) != t.axis:
            return None
        join = _over if s.moves[: s.at] == t.moves[: t.at] else _beside
        joined = join(s, t, axis, size, context)
    except NotFoldable:
        return None
    if joined is None:
        return None
    # The copy of the concat shrinks too, but by how much depends on the other blocks: not counted, so never too bold.
    return joined if term_cost(joined, context) <= term_cost(s, context) + term_cost(t, context) else None


def _over(s: Term, t: Term, axis: int, size: int, context: Context) -> Term | None:
    """A and B on one value: the rows of one, then those of the other."""
    assert s.operator is not None and t.operator is not None
    known = s.known(context, max(s.operator.geometry.dims, t.operator.geometry.dims))
    joined = replace(s, operator=deferred.stack(s.operator, t.operator, known), moves=s.resized(axis, size))
    return joined if joined.moves[s.at :] == t.resized(axis, size)[t.at :] else None


def _beside(s: Term, t: Term, axis: int, size: int, context: Context) -> Term | None:
    """A and B on slices of one value that follow each other are one operator in groups on both."""
    cuts = [x.moves[x.at - 1].move if x.at else None for x in (s, t)]
    first, second = cuts
    if not isinstance(first, Slice) or not isinstance(second, Slice) or s.moves[: s.at - 1] != t.moves[: t.at - 1]:
        return None
    before = s.moves[s.at - 2].signal if s.at > 1 else context.signals[s.leaf]
    n = before.shape[s.axis]
    a, b = first.positions(n), second.positions(n)
    if {first.axis, second.axis} != {s.axis} or {a.step, b.step} != {1} or a.stop != b.start:
        return None
    assert s.operator is not None and t.operator is not None
    both = Slice(s.axis, a.start, b.stop)
    cut = (Moved(both, with_length(before, s.axis, b.stop - a.start)),) if b.stop - a.start < n else ()
    moves = (*s.moves[: s.at - 1], *cut)
    rest = s.resized(axis, size)[s.at :]
    if rest != t.resized(axis, size)[t.at :]:
        return None
    return replace(s, operator=deferred.beside(s.operator, t.operator), moves=(*moves, *rest), at=len(moves))


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
