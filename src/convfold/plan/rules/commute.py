"""P∘S = S∘P for pointwise P and a move S: the move joins the moves, operators stay where they are.

Where S is also a convolution (a pool, a zero pad, a repetition), the operator before it composes with it instead: two
forms of one value, and the search takes either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from convfold.algebra.apply import Apply
from convfold.algebra.layout import Select
from convfold.algebra.operation import Move
from convfold.algebra.spatial import Pad, Spatial
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.along import along
from convfold.plan.constants import Known
from convfold.plan.deferred import Deferred, Uniform
from convfold.plan.form import Context, Form, Moved, Term, forms_of, with_length
from convfold.plan.rules import combine, distribute
from convfold.plan.rules.windows import DIMS
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


def across(step: Apply, x: Form, y: Signal) -> list[Form]:
    """An operator as a move, where those before it have their channels on other axes."""
    assert isinstance(step.operator, Deferred)
    move = along(step.operator, step.axis)
    axes = {_channels_at_end(t) for terms in x.blocks for t in terms} - {None}
    if move is None or isinstance(step.operator, Uniform) or not axes or step.axis in axes:
        return []
    return [follow(move, x, y)]


def _before(step: Pad, t: Term, context: Context) -> Term:
    """W'∘A∘W = A∘(W'W): a circular pad W' goes before a convolution A that is circular itself, for W is before it.

    That is so where A leaves the size what it was before W: its signal then goes on beyond its ends as x does.
    """
    inner = t.moves[-1].move if t.moves else None
    refused = NotFoldable("padding-mode", "padding with copies of the data")
    if t.operator is None or not isinstance(inner, Pad) or not inner.wraps or t.at != len(t.moves):
        raise refused
    windows, axis = t.operator.geometry.windows, t.axis
    x = t.moves[-2].signal if len(t.moves) > 1 else context.signals[t.leaf]
    if len(windows) != len(step.wraps) or not (axis == step.axis == inner.axis) or t.paths:
        raise refused
    for w, (lo, hi) in zip(windows, inner.wraps, strict=True):
        if w.stride > 1 or w.upsample > 1 or w.lo or w.hi or w.reach != lo + hi:
            raise NotFoldable("padding-mode", "what is circular does not stay so: its size changes")
    wraps = tuple((a + c, b + d) for (a, b), (c, d) in zip(inner.wraps, step.wraps, strict=True))
    known = zip(x.known(axis, len(wraps)), wraps, strict=True)
    around = any(n is None or max(pair) > n for n, pair in known)
    before = x.space(axis, len(wraps))
    after = tuple(n + lo + hi for n, (lo, hi) in zip(before, wraps, strict=True))
    pads = tuple(n for pair in reversed(wraps) for n in pair)
    together = replace(inner, pads=pads, sizes=(before, after), wraps=wraps, around=around, origin=None)
    shape = (*x.shape[: axis + 1], *after, *x.shape[axis + 1 + len(wraps) :])
    return replace(t, moves=(*t.moves[:-1], Moved(together, replace(x, shape=shape))))


def _filled(step: Pad, x: Form, before: Signal, y: Signal, context: Context) -> list[Form]:
    """A pad with a number: a pad with zeros, and a map that has the number where it adds positions."""
    padded = {len(y.shape) - 1 - i for i in range(len(step.pads) // 2) if any(step.pads[2 * i : 2 * i + 2])}
    if len(x.blocks) != 1 or padded & y.free:
        raise NotFoldable("padding-mode", "padding with a number at sizes that are free, or of several parts")
    sizes = [n if i in padded else 1 for i, n in enumerate(before.shape)]

    def ring() -> Tensor:
        return F.pad(torch.zeros(sizes, dtype=torch.float64), list(step.pads), value=step.fill)

    dims, pairs = len(y.shape) - 1 - step.axis, list(zip(step.pads[::2], step.pads[1::2], strict=True))[::-1]
    space = [Window()] * (dims - len(pairs)) + [Window(lo=lo, hi=hi) for lo, hi in pairs]
    op = deferred.cut(before.shape[step.axis], tuple(space)) if step.axis == 1 and len(pairs) <= dims <= DIMS else None
    zeros = replace(step, fill=0.0, origin=None, convolution=op, reason=None)
    added = Known(y, None, ring, frozenset(range(len(y.shape))) - padded)
    found = act(zeros, x, before, y, context)
    return [Form((combine.combined((*f.blocks[0], Term("", constant=added)), context),)) for f in found]


def act(step: Spatial, x: Form, before: Signal, y: Signal, context: Context) -> list[Form]:
    """``before`` and ``y`` are the signals before and behind the step."""
    if isinstance(step, Pad) and step.fill:
        return _filled(step, x, before, y, context)
    ways: list[Callable[[], list[Form]]] = [lambda: [follow(step, x, y)]]
    if isinstance(step, Pad) and step.wraps and len(x.blocks) == 1:
        ways.append(lambda: [Form((tuple(_before(step, t, context) for t in x.blocks[0]),))])
    # Where the plan has moved it to a signal of more or fewer channels it is a map of space only.
    if (op := step.convolution) is not None and op.geometry.c_out == y.shape[step.axis]:
        ways.append(lambda: [distribute.apply(Apply(op, step.axis), x, context)])
    return forms_of(
        *ways, lambda: _on_channels(step, x, before, y, context), lambda: _on_parts(step, x, before, y, context)
    )


#: Longer axes are no channels: their matrix would be large.
LONGEST = 4096


def _on_channels(step: Spatial, x: Form, before: Signal, y: Signal, context: Context) -> list[Form]:
    """A map along the axis that holds an operator's channels is a matrix of theirs."""
    kept = {i for i, _ in step.carried}
    mapped = [i for i in range(len(before.shape)) if i not in kept]
    if len(mapped) != 1 or not 2 <= len(before.shape) >= len(y.shape) or step.origin is None:
        return []
    (axis,) = mapped
    terms = [t for terms in x.blocks for t in terms]
    usual = axis == 1 and len(before.shape) > 2 and all(t.operator is None for t in terms)
    on_it = usual or any(_channels_at_end(t) == axis for t in terms)
    if not on_it or axis in before.free or before.shape[axis] > LONGEST:
        return []
    matrix = step.matrix(len(before.shape), axis, before.shape[axis])
    try:
        form = distribute.apply(Apply(deferred.given(matrix), axis), x, context)
    except NotFoldable:  # why it is no move either is what is said
        return []
    return [form if len(y.shape) == len(before.shape) else follow(Select(axis, 0, 1), form, y)]


def _on_parts(step: Spatial, x: Form, before: Signal, y: Signal, context: Context) -> list[Form]:
    """A map along the axis that parts one long lie on, as they were stacked: sums of them, each times a number."""
    kept = {i for i, _ in step.carried}
    mapped = [i for i in range(len(before.shape)) if i not in kept]
    fixed = kept - before.free
    if not fixed or mapped != [x.axis] or any(n != 1 for n in x.sizes):
        return []
    axis, gone = x.axis, len(y.shape) < len(before.shape)
    other = max(fixed)  # a number is one on any axis, and this one was there before
    blocks = []
    for factors in step.matrix(len(before.shape), axis, len(x.blocks)).tolist():
        terms: list[Term] = []
        for factor, part in zip(factors, x.blocks, strict=True):
            scale = Apply(deferred.uniform(before.shape[other], factor, 0.0), other)
            terms += distribute.apply(scale, Form((part,)), context).blocks[0] if factor else ()
        if not terms:
            return []
        blocks.append(combine.combined(terms, context))
    form = Form(tuple(blocks), axis, (1,) * len(blocks)) if len(blocks) > 1 else Form(tuple(blocks))
    return [follow(Select(axis, 0, 1), form, y) if gone else form]


def _channels_at_end(t: Term) -> int | None:
    """Where a term's operator has its channels once it has been moved."""
    if t.operator is None or t.operator.identity or isinstance(t.operator, Uniform):
        return None
    return t.end()
