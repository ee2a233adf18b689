"""Views and permutes that take positions of space into channels, or back, are a shuffle: a one-hot convolution. With
zeros that a pad puts between them they are an upsampling by zeros.

Any other layout is a move. So is that one: two forms of one value, and the search takes either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from math import prod

import torch

from convfold.algebra.apply import Apply
from convfold.algebra.geometry import Geometry
from convfold.algebra.joins import Concat
from convfold.algebra.layout import Layout, Slice
from convfold.algebra.regroup import Factor, inserted, rearranged, shuffled
from convfold.algebra.spatial import Pad
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.form import Context, Form, Moved, Term, forms_of, with_length
from convfold.plan.rules import combine, commute, distribute
from convfold.region import Signal

#: A shuffle of more numbers is no operator: most of them are zeros.
LARGEST = 1 << 24


def follow(step: Layout, x: Form, y: Signal, context: Context) -> list[Form]:
    """``y`` is the signal behind the step."""
    if len(x.blocks) > 1:
        return forms_of(lambda: [commute.follow(step, x, y)], lambda: _interleaved(step, x, y, context))
    moved = commute.follow(step, x, y)
    ends_run = step.order is None or any(isinstance(m.move, Pad) for t in moved.blocks[0] for m in t.moves)
    return forms_of(lambda: [moved], lambda: _as_operators(moved, context) if ends_run else [])


def _interleaved(step: Layout, x: Form, y: Signal, context: Context) -> list[Form]:
    """Parts along an axis that a view joins with others are a sum: each is the channels where it stands there."""
    if step.order is not None or (merged := step.merged(x.axis)) is None or y.shape[merged[0]] > commute.LONGEST:
        return []
    axis, outer, inner = merged
    if axis not in (1, len(y.shape) - 1):  # an axis of space is not read for every position of it
        return []
    at = torch.eye(y.shape[axis], dtype=torch.float64).reshape(-1, outer, sum(x.sizes), inner)
    terms: list[Term] = []
    for part, rows, n in zip(x.blocks, at.split(list(x.sizes), 2), x.sizes, strict=True):
        view = step.joining(x.axis, n, axis, outer * n * inner)
        form = commute.follow(view, Form((part,)), with_length(y, axis, outer * n * inner))
        placed = Apply(deferred.given(rows.flatten(1)), axis)
        terms += distribute.apply(placed, form, context).blocks[0]
    return [Form((combine.combined(terms, context),))]


def joined(step: Concat, inputs: Sequence[Form], context: Context) -> list[Form]:
    """Slices of one value that start at each offset, laid end to end on another axis: a view, a permute and a view."""
    parts = [x.blocks[0] for x in inputs]
    if len({len(x.blocks) for x in inputs} | {len(terms) for terms in parts}) > 1 or len(parts[0]) != 1:
        return []
    terms = [t for (t,) in parts]
    base, offsets = terms[0].moves[: _first_slice(terms[0])], [_offsets(t, step.axis, context) for t in terms]
    rates = {axis: rate for axis, (_, rate) in (offsets[0] or {}).items() if rate > 1}
    if not rates or any(t.leaf != terms[0].leaf or t.moves[: len(base)] != base or t.sign < 0 for t in terms):
        return []
    if any(o is None or {axis: rate for axis, (_, rate) in o.items() if rate > 1} != rates for o in offsets):
        return []
    at = [tuple(o[axis][0] for axis in rates) for o in offsets if o is not None]
    orders = permutations(range(len(rates)))  # outermost first
    lengths = list(rates.values())
    order = next((p for p in orders if [tuple(k[i] for i in p) for k in at] == _counted([lengths[i] for i in p])), None)
    if order is None:
        return []
    x = base[-1].signal if base else context.signals[terms[0].leaf]
    inner = {axis: Factor(rate, rate) for axis, rate in rates.items()}
    outer = [
        Factor(n // rates.get(i, 1), f"axis {i}" if i in x.free else n // rates.get(i, 1))
        for i, n in enumerate(x.shape)
    ]
    axes = tuple((f, inner[i]) if i in inner else (f,) for i, f in enumerate(outer))
    taken = [list(inner.values())[i] for i in order]
    layouts = rearranged(axes, tuple((*taken, f) if i == step.axis else (f,) for i, f in enumerate(outer)))
    return [] if layouts is None else [Form(((_moved(Term(terms[0].leaf, base), layouts, x),),))]


def _first_slice(t: Term) -> int:
    """Where the slices begin that are its last moves."""
    return next((i + 1 for i in reversed(range(len(t.moves))) if not isinstance(t.moves[i].move, Slice)), 0)


def _offsets(t: Term, channels: int, context: Context) -> dict[int, tuple[int, int]] | None:
    """Offset and step of the slices that a term ends in, by axis; None where they leave out more than other offsets."""
    if t.operator is not None or t.constant is not None:
        return None
    first = _first_slice(t)
    x = t.moves[first - 1].signal if first else context.signals[t.leaf]
    found: dict[int, tuple[int, int]] = {}
    for moved in t.moves[first:]:
        assert isinstance(moved.move, Slice)
        axis, n = moved.move.axis, x.shape[moved.move.axis]
        at = moved.move.positions(n)
        whole = n % at.step == 0 and at == range(at.start, n, at.step) and at.start < at.step
        if axis == channels or axis in x.free or axis in found or not whole:
            return None
        found[axis] = at.start, at.step
    return found


def _counted(lengths: Sequence[int]) -> list[tuple[int, ...]]:
    return list(product(*map(range, lengths)))


def _as_operators(x: Form, context: Context) -> list[Form]:
    """With every term's last run of layouts as the shuffle it is; none where one of them is no shuffle."""
    terms = [context.once("shuffle", lambda t: _as_operator(t, context), t) for t in x.blocks[0]]
    return [Form((tuple(t for t in terms if t is not None),))] if all(terms) else []


def _as_operator(t: Term, context: Context) -> Term | None:
    """As long a run as there is; where its pads are no more than that, what follows them."""
    if t.constant is not None:
        return t
    start = pad = len(t.moves)
    while start > t.at and isinstance(t.moves[start - 1].move, Layout | Pad):
        start -= 1
        if pad == len(t.moves) and isinstance(t.moves[start].move, Pad):
            pad = start + 1
    found = _seen(t, start, context)
    return found if found is not None or pad == len(t.moves) else _seen(t, pad, context)


def _seen(t: Term, start: int, context: Context) -> Term | None:
    """With the run that begins there as what it is."""
    run = [moved.move for moved in t.moves[start:] if isinstance(moved.move, Layout | Pad)]
    x = t.moves[start - 1].signal if start else context.signals[t.leaf]
    if start == t.at and t.operator is not None:
        x = _given(t.operator.geometry, t.axis, x)
    shapes = [x.shape, *(moved.signal.shape for moved in t.moves[start:])]
    after: tuple[Layout, ...] = ()
    if (mixed := shuffled(run, shapes)) is not None:
        operator = deferred.shuffle(mixed.channels, mixed.rates, mixed.order, mixed.down)
        before, after = mixed.before, mixed.after
    elif (spread := inserted(run, shapes)) is not None:
        pairs = zip(spread.rates, spread.at, strict=True)
        windows = tuple(Window(upsample=r, lo=at, hi=r - 1 - at) for r, at in pairs)
        operator, before = deferred.cut(shapes[-1][1], windows), spread.before
    else:
        return None
    g = operator.geometry
    if g.dims > 3 or g.weights > LARGEST or shuffled(run[:-1], shapes[:-1]) is not None:
        return None
    try:
        bare = _moved(replace(t, moves=t.moves[:start]), before, x)
        ((done,),) = distribute.apply(Apply(operator, 1), Form(((bare,),)), context).blocks
    except NotFoldable:
        return None
    for step in before:
        x = _behind(step, x)
    return _moved(done, after, _given(g, 1, x))


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
