"""One step more: a value computed from others, with what that and all before it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from convfold.algebra.apply import Apply
from convfold.algebra.operation import Operation
from convfold.plan import deferred
from convfold.plan.along import Along
from convfold.plan.border import Border, Correct, Way
from convfold.plan.constants import Constant
from convfold.plan.cost import Cost
from convfold.plan.deferred import Deferred
from convfold.plan.form import Context, Moved, Term, spaced, with_length
from convfold.plan.realisation import chosen
from convfold.region import Signal

FREE = Cost()


@dataclass(frozen=True, eq=False, slots=True)
class Computed:
    """A value and the step that computes it from others; a leaf has a name and no step.

    ``cost`` is of all steps, those that several read once; ``own`` of the last.
    """

    signal: Signal
    cost: Cost = FREE
    operation: Operation | None = None
    inputs: tuple[Computed, ...] = ()
    name: str | None = None
    own: Cost = FREE


def leaf(term: Term, context: Context) -> Computed:
    """What a term is computed from; of a constant all there is, which the model has, or which is computed before."""
    name, known = term.leaf, term.constant
    if known is not None and known.name is None:
        return context.alike(("constant", id(known)), lambda: Computed(known.signal, operation=Constant(known)), known)
    return context.alike(("leaf", name), lambda: Computed(context.signals[name], name=name))


def step(operation: Operation, xs: Sequence[Computed], y: Signal, context: Context) -> Computed:
    """One step more."""
    return _behind(operation, xs, y, context.prices.of(operation, [x.signal for x in xs], y))


def _behind(operation: Operation, xs: Sequence[Computed], y: Signal, own: Cost) -> Computed:
    return Computed(y, own + _of_all(xs), operation, tuple(xs), own=own)


def _of_all(xs: Sequence[Computed]) -> Cost:
    """Of values and all they are computed from, what several of them share once."""
    if len(xs) == 1:
        return xs[0].cost
    seen: dict[int, Computed] = {}
    met = 0
    for x in xs:
        todo, mine = [x], set[int]()
        while todo:
            at = todo.pop()
            if at.operation is not None and id(at) not in mine:
                mine.add(id(at))
                seen[id(at)] = at
                todo += at.inputs
        met += len(mine)
    if met == len(seen):
        return sum((x.cost for x in xs), FREE)
    return sum((x.own for x in seen.values()), FREE)


def moved(by: Moved, x: Computed, context: Context) -> Computed:
    """The same value where the same move of the same value has been asked for: it is computed once."""

    def make() -> Computed:
        if isinstance(by.move, Along):
            return applied(by.move.operator, by.move.axis, x, context, part=True)
        return step(by.move, [x], by.signal, context)

    return context.alike(("moved", by, id(x)), make)


def applied(operator: Deferred, axis: int, x: Computed, context: Context, part: bool = False) -> Computed:
    """An operator on a signal or, where the model's call may name sizes that are not those there, a ``part`` of one."""

    def make() -> Computed:
        g = operator.geometry
        y = with_length(spaced(x.signal, axis, g.size(x.signal.space(axis, g.dims))), axis, g.c_out)
        seen = deferred.alive(operator, x.signal.known(axis, g.dims))
        how, cost = chosen(seen, x.signal, axis, context.prices, part)
        return _behind(Apply(seen, axis, how), [x], y, cost)

    return context.alike(("applied", id(operator), axis, id(x), part), make, operator)


def bordered(y: Computed, x: Computed | None, border: Border, context: Context) -> Computed:
    """``y`` with its border mended the cheapest way; ``x`` is what it was computed from: None where it is not there.

    It is written into, so it is a value of its own even where another one is computed alike.
    """
    y = replace(y)
    axis = len(y.signal.shape) - 1 - len(border.sizes)
    read = border.read(y.signal, axis) if x is None else x.signal
    assert context.ways is not None  # else nothing would have been composed beyond a border
    found = []
    for way in context.ways(border) if x is not None else unread(border, context):
        step = Correct(border, axis, way, way.works(border, context.prices, read, y.signal, axis))
        own = context.prices.of(step, [], y.signal)
        found.append(Computed(y.signal, y.cost + own, step, (y, x) if way.reads and x is not None else (y,), own=own))
    return min(found, key=cost_of)


def unread(border: Border, context: Context) -> list[Way]:
    """The ways to mend it that do not read what the operator reads."""
    return [] if context.ways is None else [way for way in context.ways(border) if not way.reads]


def cost_of(c: Computed) -> Cost:
    return c.cost
