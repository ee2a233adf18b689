"""Views and permutes that take positions of space into channels, or back, are a shuffle: a one-hot convolution.

Any other layout is a move. So is that one: two forms of one value, and the search takes either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from convfold.algebra.apply import Apply
from convfold.algebra.geometry import Geometry
from convfold.algebra.layout import Layout
from convfold.algebra.regroup import shuffled
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.form import Context, Form, Moved, Term, forms_of
from convfold.plan.rules import commute, distribute
from convfold.region import Signal

#: A shuffle of more numbers is no operator: most of them are zeros.
LARGEST = 1 << 24


def follow(step: Layout, x: Form, y: Signal, context: Context) -> list[Form]:
    """``y`` is the signal behind the step."""
    moved = commute.follow(step, x, y)
    ends_run = step.order is None and len(x.blocks) == 1
    return forms_of(lambda: [moved], lambda: _as_operators(moved, context) if ends_run else [])


def _as_operators(x: Form, context: Context) -> list[Form]:
    """With every term's last run of layouts as the shuffle it is; none where one of them is no shuffle."""
    terms = [context.once("shuffle", lambda t: _as_operator(t, context), t) for t in x.blocks[0]]
    return [Form((tuple(t for t in terms if t is not None),))] if all(terms) else []


def _as_operator(t: Term, context: Context) -> Term | None:
    start = len(t.moves)
    while start > t.at and isinstance(t.moves[start - 1].move, Layout):
        start -= 1
    run = [moved.move for moved in t.moves[start:] if isinstance(moved.move, Layout)]
    x = t.moves[start - 1].signal if start else context.signals[t.leaf]
    if start == t.at and t.operator is not None:
        x = _given(t.operator.geometry, t.axis, x)
    shapes = [x.shape, *(moved.signal.shape for moved in t.moves[start:])]
    found = shuffled(run, shapes)
    if found is None or len(found.rates) > 3 or shuffled(run[:-1], shapes[:-1]) is not None:
        return None
    operator = deferred.shuffle(found.channels, found.rates, found.order, found.down)
    if operator.geometry.weights > LARGEST:
        return None
    try:
        bare = _moved(replace(t, moves=t.moves[:start]), found.before, x)
        ((done,),) = distribute.apply(Apply(operator, 1), Form(((bare,),)), context).blocks
    except NotFoldable:
        return None
    for step in found.before:
        x = _behind(step, x)
    return _moved(done, found.after, _given(operator.geometry, 1, x))


def _given(g: Geometry, axis: int, x: Signal) -> Signal:
    """What an operator gives of a signal."""
    end = axis + 1 + g.dims
    return replace(x, shape=(*x.shape[:axis], g.c_out, *g.size(x.shape[axis + 1 : end]), *x.shape[end:]))


def _moved(t: Term, steps: Sequence[Layout], x: Signal) -> Term:
    """Behind more layouts; ``x`` is the signal before them."""
    for step in steps:
        x = _behind(step, x)
        t = t.followed(Moved(step, x))
    return t


def _behind(step: Layout, x: Signal) -> Signal:
    if step.order is not None:
        free = frozenset(i for i, axis in enumerate(step.order) if axis in x.free)
        return replace(x, shape=tuple(x.shape[axis] for axis in step.order), free=free)
    assert step.shape is not None
    rest = x.numbers // prod(n for n in step.shape if n > 0)
    free = frozenset(i for i, n in enumerate(step.shape) if n < 0)
    return replace(x, shape=tuple(rest if n < 0 else n for n in step.shape), free=free)
