"""One step more: a value computed from others, with what that and all before it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from convfold.algebra.apply import Apply
from convfold.algebra.operation import Operation
from convfold.plan import deferred
from convfold.plan.border import Border, Correct
from convfold.plan.cost import Cost
from convfold.plan.form import Context, Moved, Term, with_length
from convfold.plan.realisation import chosen
from convfold.region import Signal

FREE = Cost()


@dataclass(frozen=True, eq=False, slots=True)
class Computed:
    """A value and the step that computes it from others; a leaf has a name and no step. ``cost`` is of all steps."""

    signal: Signal
    cost: Cost = FREE
    operation: Operation | None = None
    inputs: tuple[Computed, ...] = ()
    name: str | None = None


def step(operation: Operation, xs: Sequence[Computed], y: Signal, context: Context) -> Computed:
    """One step more, on values that are all computed for it."""
    cost = context.prices.of(operation, [x.signal for x in xs], y)
    return Computed(y, sum((x.cost for x in xs), cost), operation, tuple(xs))


def moved(by: Moved, x: Computed, context: Context) -> Computed:
    return step(by.move, [x], by.signal, context)


def applied(term: Term, x: Computed, context: Context) -> Computed:
    assert term.operator is not None
    g = term.operator.geometry
    y = with_length(spaced(x.signal, term.axis, g.size(x.signal.space(term.axis, g.dims))), term.axis, g.c_out)
    operator = deferred.alive(term.operator, x.signal.known(term.axis, g.dims))
    how, cost = chosen(operator, x.signal, term.axis, context.prices)
    return Computed(y, x.cost + cost, Apply(operator, term.axis, how), (x,))


def bordered(y: Computed, x: Computed, border: Border, context: Context) -> Computed:
    """``y``, a value of its own, with its border mended the cheapest way; ``x`` is what it was computed from."""
    axis = len(y.signal.shape) - 1 - len(border.sizes)
    found = []
    assert context.ways is not None  # else nothing would have been composed beyond a border
    for way in context.ways(border):
        step = Correct(border, axis, way, way.works(border, context.prices, x.signal, y.signal, axis))
        cost = context.prices.of(step, [], y.signal)
        found.append(Computed(y.signal, y.cost + cost, step, (y, x) if way.reads else (y,)))
    return min(found, key=cost_of)


def spaced(x: Signal, axis: int, space: tuple[int, ...]) -> Signal:
    return replace(x, shape=(*x.shape[: axis + 1], *space, *x.shape[axis + 1 + len(space) :]))


def cost_of(c: Computed) -> Cost:
    return c.cost
