"""Why neighbours that the plan left apart stay apart."""

from __future__ import annotations

from collections.abc import Iterator

from convfold.algebra.operation import Apply, Concat, Layout, Slice, Spatial, Sum
from convfold.errors import NotFoldable
from convfold.plan.cost import Prices
from convfold.plan.form import Form
from convfold.plan.search import Search
from convfold.region import Node, Region


def refusals(region: Region, prices: Prices) -> Iterator[tuple[str, str, NotFoldable]]:
    """(first, second, reason) for every operator in a planned region that reads another step's value.

    Either composing the two is not exact, or it would cost more; the plan took all that is exact and pays.
    """
    search = Search(region, prices)
    for second in region.steps:
        if not isinstance(second.operation, Apply):
            continue
        between = []
        first = region.by_name[second.inputs[0]]
        while isinstance(first.operation, Layout | Slice | Spatial):
            between.append(first)
            first = region.by_name[first.inputs[0]]
        if not isinstance(first.operation, Apply | Sum | Concat):
            if not between:
                continue
            first = between.pop()
        try:
            carried = search.forms(first, [search.leaf(i) for i in first.inputs])
            for move in reversed(between):
                carried = _through(search, move, carried)
            together = _through(search, second, carried)
        except NotFoldable as e:
            yield first.name, second.name, e
            continue
        before = sum((search.cost(n, search.own_form(n)) for n in between), search.cost(second, search.own_form(second)))
        before += search.cost(first, search.own_form(first))
        after = min(search.cost(second, form) for form in together)
        change = f"{before.macs:,} multiply-adds apart, {after.macs:,} together"
        yield first.name, second.name, NotFoldable("does-not-pay", change)


def _through(search: Search, node: Node, forms: list[Form]) -> list[Form]:
    """Every form of a node on any of its input's."""
    found, reason = [], None
    for form in forms:
        try:
            found += search.forms(node, [form])
        except NotFoldable as e:
            reason = e
    if not found:
        assert reason is not None
        raise reason
    return found
