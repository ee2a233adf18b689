"""Terms added up: what is constant last, what comes from small maps in one product, what ends in one map before it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from convfold.algebra.joins import Sum
from convfold.algebra.spatial import Resample, Spatial, Spread
from convfold.algebra.window import Window
from convfold.plan.border import Correct
from convfold.plan.cost import Cost
from convfold.plan.evaluation.steps import Computed, bordered, cost_of, moved, step
from convfold.plan.form import Context, Moved, Term, Terms
from convfold.region import Signal

#: A value and the sign it is added with.
Summand = tuple[int, Computed]


def signed(terms: Terms, y: Signal, context: Context) -> list[Term]:
    """The terms, those that are taken off with an operator that has their sign where a sum cannot give it them.

    One is added first, from which others are taken; and a border is mended of what is added.
    """

    def positive(t: Term) -> Term:
        return context.once("positive", Term.positive, t, y)

    found = [positive(t) if t.paths else t for t in terms]
    return found if any(t.sign > 0 for t in found) else [positive(found[0]), *found[1:]]


def summed(terms: Sequence[Summand], y: Signal, context: Context) -> Computed:
    """Terms added up, at least one of them positive; those that end in one map of space before it, where cheaper."""
    if len(terms) > 1 and (borders := [t for _, t in terms if _is_constant(t)]):  # what is constant is added last
        value = summed([(sign, t.inputs[0] if t in borders else t) for sign, t in terms], y, context)
        for t in borders:
            assert isinstance(t.operation, Correct)
            value = bordered(value, value, t.operation.border, context)
        return value
    if (resampled := _resampled(terms, y, context)) is not None:
        terms = resampled
    if len(terms) == 1:
        return terms[0][1]
    groups: dict[Spatial, list[Summand]] = {}
    for sign, t in terms:
        if isinstance(t.operation, Spatial):
            groups.setdefault(t.operation, []).append((sign, t))
    for move, alike in groups.items():
        if len(alike) > 1:
            outer = max(sign for sign, _ in alike)
            below = [(sign * outer, t.inputs[0]) for sign, t in alike]
            shared = moved(Moved(move, alike[0][1].signal), summed(below, below[0][1].signal, context), context)
            rest = [t for t in terms if t not in alike]
            return min(_added(terms, y, context), summed([*rest, (outer, shared)], y, context), key=cost_of)
    return _added(terms, y, context)


def _resampled(terms: Sequence[Summand], y: Signal, context: Context) -> list[Summand] | None:
    """The terms with those that come from small maps resized and added in one matrix product; None if none do."""
    ends = [(s, t) for sign, t in terms if sign > 0 and (s := _as_spread(t)) is not None]
    ends.sort(key=lambda e: prod(e[0].before))
    best, saved = None, Cost()
    for n in range(1, len(ends) + 1):
        spreads, chosen = zip(*ends[:n], strict=True)
        if n == 1 and isinstance(chosen[0].operation, Spatial):
            continue  # alone it stays the model's own call
        together = step(Resample(spreads, spreads[0].after), [t.inputs[0] for t in chosen], y, context)
        rest = [(sign, t) for sign, t in terms if t not in chosen]
        apart = sum((t.cost for t in chosen), context.prices.of(Sum(), [y] * n, y))
        if together.cost < apart and not apart - together.cost <= saved:
            best, saved = [*rest, (1, together)], apart - together.cost
    return best


def _as_spread(t: Computed) -> Spread | None:
    """The end of a term as a matrix an axis."""
    match t.operation:
        case Spread() as spread:
            return spread
        case Spatial(axis=1, matrices=matrices) as s if matrices is not None:
            dims = len(s.sizes[0])
            windows = (Window(),) * dims
            return Spread(s, windows, t.inputs[0].signal.space(1, dims), t.signal.space(1, dims))
        case _:
            return None


def _is_constant(t: Computed) -> bool:
    """Does it end in constants added to its border, at known places?"""
    return isinstance(t.operation, Correct) and t.operation.way.constant


def _added(terms: Sequence[Summand], y: Signal, context: Context) -> Computed:
    if len(terms) == 1:
        return terms[0][1]
    signs, values = zip(*terms, strict=True)
    return step(Sum(signs), values, y, context)
