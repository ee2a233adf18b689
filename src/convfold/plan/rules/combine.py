"""A(x) + B(x) = (A + B)(x): terms that reach one leaf in one way become one operator, where that is cheaper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

from torch import Tensor

from convfold.algebra.joins import Sum
from convfold.algebra.layout import Select, Slice
from convfold.algebra.spatial import Spatial
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.border import Border
from convfold.plan.border.constants import missing
from convfold.plan.constants import Known, total
from convfold.plan.cost import Cost
from convfold.plan.evaluation import term_computed, term_cost
from convfold.plan.form import Context, Form, Term, Terms
from convfold.plan.rules.columns import gathered
from convfold.plan.rules.windows import DIMS, windowed
from convfold.region import Signal

#: A sum of more maps of one value makes fewer positions of it, and an operator had better be behind it.
MAPS = 9


def add(step: Sum, inputs: Sequence[Form], y: Signal, context: Context) -> Form:
    """``y`` is the signal behind the step: of its shape constants are, as far as they are added."""
    inputs = [_as_summand(f, y) for f in inputs]
    first = inputs[0]
    if any(len(f.blocks) != len(first.blocks) or f.sizes != first.sizes or f.axis != first.axis for f in inputs):
        raise NotFoldable("partition-differs", "the summands are concatenated from different parts")
    signed = step.signed(inputs)
    for i in range(len(first.blocks)):
        maps = Counter(t.leaf for _, f in signed for t in f.blocks[i] if _is_map(t))
        if max(maps.values(), default=0) > MAPS:
            raise NotFoldable("too-large", f"more than {MAPS} summands are maps of one value")
    blocks = tuple(
        combined((t if sign > 0 else t.turned() for sign, f in signed for t in f.blocks[i]), context)
        for i in range(len(first.blocks))
    )
    return Form(blocks, first.axis, first.sizes)


def _is_map(t: Term) -> bool:
    """Is it a map of positions alone, or one of them?"""
    return t.operator is None and any(isinstance(moved.move, Spatial | Select) for moved in t.moves)


def corrected(border: Border, axis: int, x: Form, y: Signal, context: Context) -> Form:
    """A border that lacks constants at known places: a map of them is added."""

    def lacking() -> Tensor:
        found = missing(border)
        return found.reshape(*found.shape, *(1,) * (len(y.shape) - axis - found.dim()))

    if len(x.blocks) != 1:
        raise NotFoldable("partition-differs", "a border of several parts")
    source = next(border.whole.sources, "")
    lacks = Known(y, None, lacking, frozenset(range(axis)), source, composed=True)
    return Form((combined((*x.blocks[0], Term("", constant=lacks)), context),))


def _as_summand(x: Form, y: Signal) -> Form:
    if len(x.blocks) != 1 or not any(t.constant is not None for t in x.blocks[0]):
        return x
    terms = (replace(t, constant=t.constant.broadcast(y)) if t.constant is not None else t for t in x.blocks[0])
    return Form((tuple(terms),))


def combined(terms: Iterable[Term], context: Context) -> Terms:
    """The terms with those joined that can be and should be.

    Two at a time, the pair that saves most first; or else all that can be: each pair of 1×5, 5×1 and 3×3 is dearer
    together, and all three beside a 5×5 cost nothing.
    """
    by_leaf: dict[str, list[Term]] = {}
    constants: list[Term] = []
    for t in terms:
        if t.constant is None:
            by_leaf.setdefault(t.leaf, []).append(t)
        else:
            constants.append(t)
    found = [t for alike in by_leaf.values() for t in _combined(alike, context)]
    if found:
        constants = [t for t in constants if t.constant is not None and not t.constant.zero]
    if len(constants) > 1:
        constants = [Term("", constant=total([(t.sign, t.constant) for t in constants if t.constant is not None]))]
    return (*found, *constants)


def _combined(terms: list[Term], context: Context) -> list[Term]:
    if len(terms) < 2 or all(t.operator is None for t in terms):  # x + x: nothing says which axis holds the channels
        return terms
    first, second, *others = terms
    both = None if others else _joined(first, second, context)
    if both is not None and _never_dearer(both, first, second):
        return [both]
    pairwise = _in_pairs(terms, context)
    if len(pairwise) == 1:
        return pairwise
    whole = _together(terms, context)
    return whole if _cost(whole, context) <= _cost(pairwise, context) else pairwise


def _never_dearer(both: Term, s: Term, t: Term) -> bool:
    """One operator instead of two and a sum, all where they are, with no more taps: that need not be priced."""
    if both.moves or both.paths or both.operator is None:
        return False
    apart = (x.operator.geometry.weights for x in (s, t) if x.operator is not None)
    return both.operator.geometry.weights <= sum(apart)


def _in_pairs(terms: list[Term], context: Context) -> list[Term]:
    left = list(terms)
    while True:
        best, saved = None, None
        for i, j in combinations(range(len(left)), 2):
            if (both := _joined(left[i], left[j], context)) is None:
                continue
            gain = _cost([left[i], left[j]], context) - term_cost(both, context)
            if Cost() <= gain and (saved is None or saved < gain):
                best, saved = (i, j, both), gain
        if best is None:
            return left
        i, j, both = best
        left[i] = both
        del left[j]


def _together(terms: list[Term], context: Context) -> list[Term]:
    left: list[Term] = []
    for t in terms:
        for i, s in enumerate(left):
            if (both := _joined(s, t, context)) is not None:
                left[i] = both
                break
        else:
            left.append(t)
    return left


def _cost(terms: list[Term], context: Context) -> Cost:
    """Of all of them, added up."""
    y = term_computed(terms[0], context).signal
    total = sum((term_cost(t, context) for t in terms), Cost())
    return total + context.prices.of(Sum(), [y] * len(terms), y) if len(terms) > 1 else total


def _joined(s: Term, t: Term, context: Context) -> Term | None:
    """Both as one operator; None where they are none."""
    return context.once("joined", lambda s, t: _join(s, t, context), s, t)


def _join(s: Term, t: Term, context: Context) -> Term | None:
    found = _alike(s, t, context)
    if found is not None or not any(isinstance(moved.move, Slice) for x in (s, t) for moved in x.moves):
        return found
    lead = s if s.operator is not None and not (t.operator is not None and s.movable) else t
    if lead.operator is None:
        return None
    behind = [m.move.axis - lead.axis for x in (s, t) for m in x.moves if isinstance(m.move, Slice)]
    if 0 in behind and (both := gathered(s, t, lead.axis, context)) is not None:
        return _alike(*both, context)
    dims = lead.operator.geometry.dims or len(_shape(lead, context)) - 1 - lead.axis
    if min(behind) < 1 or max(behind) > dims or dims > DIMS:
        return None
    s, t = (windowed(x, lead.axis, dims, context) or x for x in (s, t))
    return _alike(s, t, context)


def _shape(t: Term, context: Context) -> tuple[int, ...]:
    """Of what the term's operator reads."""
    return (t.moves[t.at - 1].signal if t.at else context.signals[t.leaf]).shape


def _alike(s: Term, t: Term, context: Context) -> Term | None:
    """Both as one operator, where they are moved alike."""
    if len(s.moves) != len(t.moves):
        return None
    if s.operator is None:
        s, t = t, s
    if s.at != t.at and t.movable:
        s, t = t, s
    try:
        if s.at != t.at and s.movable:
            s = s.placed(t.at)
        a, b = s.operator, t.operator
        if a is None or s.moves != t.moves:
            return None
        if b is None:
            if a.geometry.c_in != a.geometry.c_out:
                return None
            b = deferred.identity(a.geometry.c_in, a.geometry.dims)
        elif (s.at, s.axis) != (t.at, t.axis):
            return None
        paths = t.ways or ((b,),)
        if s.sign != t.sign:
            b, paths = deferred.negated(b), t.turned_paths or ((deferred.negated(b),),)
        both = deferred.parallel(a, b, s.known(context, max(a.geometry.dims, b.geometry.dims)))
    except NotFoldable:
        return None
    return replace(s, operator=both, paths=(*s.ways, *paths) if s.paths or t.paths else ())
