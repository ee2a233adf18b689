"""How a form is computed: where each operator goes among its moves, what is shared, and what that costs.

The choices are local to one form: the operator's place (a pointwise one commutes with every move that carries its
axis), its taps apart where it follows a resize, one move for all summands or parts that end in it, one operator for
neighbouring parts that read one leaf. The search asks for the cost, `realize` for the steps: they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from convfold.algebra.apply import Apply
from convfold.algebra.joins import Concat, Sum
from convfold.algebra.operation import Operation
from convfold.algebra.spatial import Resample, Spatial, Spread, always_inside
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.plan import recipe
from convfold.plan.border import HOISTED, Border, Correct
from convfold.plan.border import ways as border_ways
from convfold.plan.cost import Cost
from convfold.plan.form import Context, Form, Moved, Term, Terms, with_length
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


def computed(form: Form, y: Signal, context: Context) -> Computed:
    """The cheapest way known to compute a form, whose signal is ``y``."""
    form = stacked(form, context)
    best = _joined(form, y, context, term_computed)
    if sum(_ends_in_map(t) for terms in form.blocks for t in terms) < 2:
        return best
    return min(best, _joined(form, y, context, _ending), key=_cost)


def _joined(form: Form, y: Signal, context: Context, choose: Callable[[Term, Context], Computed]) -> Computed:
    """Each term computed as chosen, then added and laid end to end."""
    parts = []
    for terms, n in zip(form.blocks, form.sizes or (0,), strict=True):
        part = form.block_signal(y, n)
        summands = [(t.sign, choose(t, context)) for t in _signed(terms, part, context)]
        parts.append(_sum(summands, part, context))
    return parts[0] if len(parts) == 1 else _concat(parts, form.axis, y, context)


def _signed(terms: Terms, y: Signal, context: Context) -> list[Term]:
    """The terms, those that are taken off with an operator that has their sign where a sum cannot give it them.

    One is added first, from which others are taken; and a border is mended of what is added.
    """

    def positive(t: Term) -> Term:
        return context.once("positive", Term.positive, t, y)

    found = [positive(t) if t.paths else t for t in terms]
    return found if any(t.sign > 0 for t in found) else [positive(found[0]), *found[1:]]


def _ends_in_map(term: Term) -> bool:
    return len(term.route) > 0 and isinstance(term.route[-1].move, Spatial)


def _ending(term: Term, context: Context) -> Computed:
    """The cheapest way that ends in the term's last map of space, which others may share; else the cheapest."""

    def make(t: Term) -> Computed:
        ways = list(_computed(t, context))
        return context.prices.cheapest([c for c in ways if isinstance(c.operation, Spatial)] or ways, _cost)

    return context.once("ending", make, term)


def term_computed(term: Term, context: Context) -> Computed:
    """The cheapest way known to compute a term."""

    def make(t: Term) -> Computed:
        return context.prices.cheapest(_computed(t, context), _cost)

    return context.once("term", make, term)


def term_cost(term: Term, context: Context) -> Cost:
    return term_computed(term, context).cost


def _computed(term: Term, context: Context) -> Iterator[Computed]:
    border = border_of(term, context)
    for way in _ways(term, context):
        if border is None:
            yield _chain(way, context)
        elif border.constant or way is term:  # else what it reads of the operator's input must be there
            yield _chain(way, context, border, term.at)


def border_of(term: Term, context: Context) -> Border | None:
    """What its operator gets wrong at the border; None if nothing."""
    if not term.paths or term.operator is None:
        return None
    dims = term.operator.geometry.dims
    sizes = term.read(context).space(term.axis, dims)
    border = Border(term.operator, term.paths, term.known(context, dims), sizes)
    return None if border.empty else border


def _ways(term: Term, context: Context) -> Iterator[Term]:
    """The term with its operator at every place it can have; of places that cost the same the last is taken.

    A view then comes before it, and what reads it next finds it laid out as it was written.
    """
    if term.operator is None or term.operator.identity:
        yield term
    elif term.movable:
        yield from _places(term)
    else:
        yield term
        if (apart := tapped(term, context)) is not None:
            yield from _places(apart)


def _places(term: Term) -> Iterator[Term]:
    """The last first."""
    above: list[Term] = [term]
    below: list[Term] = []
    for found, step, end in ((above, 1, len(term.route)), (below, -1, 0)):
        at = term
        while at.at != end:
            try:
                at = at.placed(at.at + step)
            except NotFoldable:
                break
            found.append(at)
    yield from reversed(above)
    yield from below


def tapped(term: Term, context: Context) -> Term | None:
    """B∘S as spread∘P: the taps of B as pointwise maps before the resize S; None where S is no matrix an axis."""
    if term.at == 0 or term.operator is None:
        return None
    g, last = term.operator.geometry, term.route[term.at - 1]
    s = last.move
    if (
        not isinstance(s, Spatial)
        or s.matrices is None
        or s.axis != term.axis
        or g.dims != len(s.sizes[0])
        or g.periodic
    ):
        return None
    x = term.route[term.at - 2].signal if term.at > 1 else context.signals[term.leaf]
    before, between = x.space(s.axis, g.dims), last.signal.space(s.axis, g.dims)
    after = g.size(between)
    inside = [always_inside(w, n, m) for w, n, m in zip(g.windows, between, after, strict=True)]
    if g.period is not None and (not s.constants or any(t is None for t in inside)):
        return None
    spread = Spread(s, g.windows, before, after)
    taps = recipe.taps(term.operator, tuple(t or 0 for t in inside))
    y = with_length(_spaced(last.signal, s.axis, after), s.axis, g.c_out)
    route = (*term.route[: term.at - 1], Moved(spread, y), *term.route[term.at :])
    return Term(term.leaf, route, taps, term.at - 1, s.axis, sign=term.sign)


def _spaced(x: Signal, axis: int, space: tuple[int, ...]) -> Signal:
    return replace(x, shape=(*x.shape[: axis + 1], *space, *x.shape[axis + 1 + len(space) :]))


def _chain(term: Term, context: Context, border: Border | None = None, place: int = 0) -> Computed:
    """The steps of one term, in its order; the border is mended after ``place`` moves, behind the operator."""
    value = x = Computed(context.signals[term.leaf], name=term.leaf)
    for i in range(len(term.route) + 1):
        if i == term.at and term.operator is not None and not term.operator.identity:
            value, x = _apply(term, value, context), value
        if border is not None and i == place:
            value = _bordered(value, x, border, context)
        if i < len(term.route):
            value = _move(term.route[i], value, context)
    return value


def _apply(term: Term, x: Computed, context: Context) -> Computed:
    assert term.operator is not None
    g = term.operator.geometry
    y = with_length(_spaced(x.signal, term.axis, g.size(x.signal.space(term.axis, g.dims))), term.axis, g.c_out)
    how, cost = chosen(term.operator, x.signal, term.axis, context.prices)
    return Computed(y, x.cost + cost, Apply(term.operator, term.axis, how), (x,))


def _move(moved: Moved, x: Computed, context: Context) -> Computed:
    return _step(moved.move, [x], moved.signal, context)


def _step(operation: Operation, xs: Sequence[Computed], y: Signal, context: Context) -> Computed:
    """One step more, on values that are all computed for it."""
    cost = context.prices.of(operation, [x.signal for x in xs], y)
    return Computed(y, sum((x.cost for x in xs), cost), operation, tuple(xs))


#: A value and the sign it is added with.
Summand = tuple[int, Computed]


def _sum(terms: Sequence[Summand], y: Signal, context: Context) -> Computed:
    """Terms added up, at least one of them positive; those that end in one map of space before it, where cheaper."""
    if len(terms) > 1 and (borders := [t for _, t in terms if _is_constant(t)]):  # what is constant is added last
        value = _sum([(sign, t.inputs[0] if t in borders else t) for sign, t in terms], y, context)
        for t in borders:
            assert isinstance(t.operation, Correct)
            value = _bordered(value, value, t.operation.border, context)
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
            shared = _move(Moved(move, alike[0][1].signal), _sum(below, below[0][1].signal, context), context)
            rest = [t for t in terms if t not in alike]
            return min(_added(terms, y, context), _sum([*rest, (outer, shared)], y, context), key=_cost)
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
        together = _step(Resample(spreads, spreads[0].after), [t.inputs[0] for t in chosen], y, context)
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
    return _step(Sum(signs), values, y, context)


def _bordered(y: Computed, x: Computed, border: Border, context: Context) -> Computed:
    """``y``, a value of its own, with its border mended the cheapest way; ``x`` is what it was computed from."""
    axis = len(y.signal.shape) - 1 - len(border.sizes)
    ways = []
    for way in border_ways(border) if context.border == "exact" else [HOISTED]:
        step = Correct(border, axis, way, way.works(border, context.prices, x.signal, y.signal, axis))
        cost = context.prices.of(step, [], y.signal)
        ways.append(Computed(y.signal, y.cost + cost, step, (y, x) if way.reads else (y,)))
    return min(ways, key=_cost)


def _concat(parts: Sequence[Computed], axis: int, y: Signal, context: Context) -> Computed:
    """Parts end to end; before the map of space they all end in, where that is cheaper."""
    apart = _step(Concat(axis), parts, y, context)
    move = parts[0].operation
    if not isinstance(move, Spatial) or any(p.operation != move for p in parts):
        return apart
    before = move.traced(axis)
    if before is None:
        return apart
    below = [p.inputs[0] for p in parts]
    x = with_length(below[0].signal, before, sum(b.signal.shape[before] for b in below))
    return min(apart, _move(Moved(move, y), _concat(below, before, x, context), context), key=_cost)


def _cost(c: Computed) -> Cost:
    return c.cost


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
    same = s.leaf == t.leaf and s.axis == t.axis and s.at == t.at and len(s.route) == len(t.route)
    if not same or s.operator is None or t.operator is None or s.operator.identity or t.operator.identity:
        return None
    if s.route[: s.at] != t.route[: t.at] or s.paths or t.paths or s.sign != t.sign:
        return None
    try:
        if s.traced(axis) != s.axis or t.traced(axis) != t.axis:
            return None
        known = s.known(context, max(s.operator.geometry.dims, t.operator.geometry.dims))
        both = recipe.stack(s.operator, t.operator, known)
    except NotFoldable:
        return None
    joined = replace(s, operator=both, route=s.resized(axis, size))
    if joined.route[s.at :] != t.resized(axis, size)[t.at :]:
        return None
    # The copy of the concat shrinks too, but by how much depends on the other blocks: not counted, so never too bold.
    return joined if term_cost(joined, context) <= term_cost(s, context) + term_cost(t, context) else None
