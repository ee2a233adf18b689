"""Why neighbours that the plan left apart stay apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from convfold.algebra.apply import Apply
from convfold.algebra.joins import Concat, Sum
from convfold.algebra.layout import Layout, Select, Slice
from convfold.algebra.realisation import OwnCall
from convfold.algebra.spatial import Spatial
from convfold.errors import NotFoldable
from convfold.plan.cost import Cost, Prices
from convfold.plan.form import Form
from convfold.plan.search import Search
from convfold.region import Node, Region


def refusals(region: Region, border: str = "exact") -> Iterator[tuple[str, str, NotFoldable]]:
    """(first, second, reason) for every operator in a planned region that reads another step's value.

    Either composing the two is not exact, or it would cost more; the plan took all that is exact and pays. A map of
    space counts as an operator beside one that reads neighbours: only as a convolution could it be composed with.
    """
    search = Search(region, Prices("macs"), border=border)  # counted, not timed: the same on every machine
    for second in region.steps:
        step = second.operation
        like_one = isinstance(step, Spatial) and (step.convolution is not None or step.reason is not None)
        if not isinstance(step, Apply) and not like_one:
            continue
        between: list[Node] = []
        first = region.by_name[second.inputs[0]]
        while isinstance(first.operation, Layout | Select | Slice | Spatial):
            between.append(first)
            first = region.by_name[first.inputs[0]]
        last = next((n for n in (second, *between) if isinstance(n.operation, Spatial)), None)
        reason = last.operation.reason if last is not None and isinstance(last.operation, Spatial) else None
        if reason is not None and any(isinstance(n.operation, Apply) and not _is_pointwise(n) for n in (first, second)):
            yield (last if last in between else between[-1] if between else first).name, second.name, reason
        elif isinstance(first.operation, Apply | Sum | Concat):
            yield first.name, second.name, _reason(search, first, between, second)


def _is_pointwise(node: Node) -> bool:
    return isinstance(node.operation, Apply) and node.operation.operator.geometry.pointwise


def _reason(search: Search, first: Node, between: list[Node], second: Node) -> NotFoldable:
    """Why the second does not compose with the first through what lies between."""
    step = second.operation
    try:
        inlined = search.forms(first, [search.leaf(i) for i in first.inputs])
        for move in reversed(between):
            inlined = _through(search, move, inlined)
        if isinstance(step, Spatial) and step.convolution is not None:
            name = f"{second.name}.convolution"  # the step as the convolution it also is: another step to the search
            second = replace(second, name=name, operation=Apply(step.convolution, step.axis, OwnCall()))
        together = _through(search, second, inlined)
    except NotFoldable as e:
        return e
    apart = sum((search.cost(n, search.own_form(n)) for n in (first, *between, second)), Cost())
    after = min(search.cost(second, form) for form in together)
    detail = f"{apart.macs:,} multiply-adds apart, {after.macs:,} together"
    if after.macs <= apart.macs:  # then it is the traffic, or the calls
        detail += f"; {apart.bytes:,} bytes in {apart.ops} operations, {after.bytes:,} in {after.ops}"
    return NotFoldable("does-not-pay", detail)


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
