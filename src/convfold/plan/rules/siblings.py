"""A(x) and B(x), each with readers of its own, as two slices of (A over B)(x): x is read once, the slices are copied.

That pays where x is large and the results are small (the heads of a detector), and is left where it is the other way
round (queries, keys and values as wide as their input).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from convfold.algebra.operation import Work
from convfold.plan.cost import Cost
from convfold.plan.deferred import Deferred, Given, stack
from convfold.plan.evaluation import Computed, term_computed
from convfold.plan.form import Form, Term
from convfold.plan.search import Search


@dataclass(frozen=True)
class Siblings:
    """Values computed together: one operator on one leaf, and each value's channels in its result."""

    names: tuple[str, ...]
    together: Computed
    axis: int
    rows: tuple[range, ...]
    saved: Cost


def siblings(materialised: Mapping[str, Form], search: Search) -> list[Siblings]:
    """Every group of materialised values worth computing together."""
    groups: dict[object, list[tuple[str, Deferred]]] = {}
    for name, form in materialised.items():
        if len(form.blocks) == 1 and len(form.blocks[0]) == 1:
            (t,) = form.blocks[0]
            op = t.operator
            if op is None or t.moves or t.paths or t.sign < 0 or op.geometry.groups > 1:
                continue
            if not (isinstance(op, Given) and op.call):
                key = (t.leaf, t.axis, op.geometry.windows, op.geometry.periodic)
                groups.setdefault(key, []).append((name, op))
    found = [_together(members, materialised, search) for members in groups.values() if len(members) > 1]
    return [s for s in found if s is not None]


def _together(members: list[tuple[str, Deferred]], materialised: Mapping[str, Form], search: Search) -> Siblings | None:
    names = tuple(name for name, _ in members)
    (first,) = materialised[names[0]].blocks[0]
    operators = [op for _, op in members]
    known = first.known(search.context, operators[0].geometry.dims)
    both = reduce(lambda a, b: stack(a, b, known), operators)
    whole = term_computed(Term(first.leaf, (), both, 0, first.axis), search.context)
    nodes = [search.region.by_name[name] for name in names]
    apart = sum((search.cost(node, materialised[node.name]) for node in nodes), Cost())
    copied = Work(0, sum(2 * node.signal.numbers for node in nodes))  # one split, whatever the number of parts
    together = whole.cost + search.context.prices.all([copied], nodes[0].signal.itemsize)
    if not together < apart:
        return None
    stops = [sum(op.geometry.c_out for op in operators[: i + 1]) for i in range(len(operators))]
    rows = tuple(range(stop - op.geometry.c_out, stop) for stop, op in zip(stops, operators, strict=True))
    return Siblings(names, whole, first.axis, rows, apart - together)
