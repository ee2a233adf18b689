"""How a form is computed: where each operator goes among its moves, what is shared, and what that costs.

The choices are local to one form: the operator's place (a pointwise one commutes with every move that carries its
axis), its taps apart where it follows a resize, one move for all summands or parts that end in it, one operator for
neighbouring parts that read one leaf. The search asks for the cost, `realize` for the steps: they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable

from convfold.plan.evaluation.blocks import concatenated, stacked
from convfold.plan.evaluation.steps import FREE, Computed, applied, cost_of
from convfold.plan.evaluation.sums import signed, summed, unbiased
from convfold.plan.evaluation.terms import ending, ends_in_map, term_computed, term_cost
from convfold.plan.form import Context, Form, Term, Terms
from convfold.region import Signal

__all__ = ["FREE", "Computed", "computed", "term_computed", "term_cost"]


def computed(form: Form, y: Signal, context: Context) -> Computed:
    """The cheapest way known to compute a form, whose signal is ``y``."""
    form = stacked(form, context)
    best = _joined(form, y, context, term_computed)
    if sum(ends_in_map(t) for terms in form.blocks for t in terms) < 2:
        return best
    return min(best, _joined(form, y, context, ending), key=cost_of)


def _joined(form: Form, y: Signal, context: Context, choose: Callable[[Term, Context], Computed]) -> Computed:
    """Each term computed as chosen, then added and laid end to end."""
    parts = []
    for terms, n in zip(form.blocks, form.sizes or (0,), strict=True):
        part = form.block_signal(y, n)
        ways = [_added(terms, part, context, choose)]
        if (bare := unbiased(terms, context)) is not None:
            rest, shift, axis = bare
            ways.append(applied(shift, axis, _added(rest, part, context, choose), context))
        parts.append(context.prices.cheapest(ways, cost_of))
    return parts[0] if len(parts) == 1 else concatenated(parts, form.axis, y, context)


def _added(terms: Terms, y: Signal, context: Context, choose: Callable[[Term, Context], Computed]) -> Computed:
    return summed([(t.sign, choose(t, context)) for t in signed(terms, y, context)], y, context)
