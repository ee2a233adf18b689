"""Why neighbours that the plan left apart stay apart."""

from __future__ import annotations

from collections.abc import Iterator

from convfold.algebra.operation import Apply, Concat, Layout, Sum
from convfold.errors import NotFoldable
from convfold.plan.search import Search
from convfold.region import Region


def refusals(region: Region) -> Iterator[tuple[str, str, NotFoldable]]:
    """(first, second, reason) for every operator in a planned region that reads another step's value.

    Either composing the two is not exact, or it would cost more; the plan took all that is exact and pays.
    """
    search = Search(region)
    for second in region.steps:
        if not isinstance(second.operation, Apply):
            continue
        between = []
        first = region.by_name[second.inputs[0]]
        while isinstance(first.operation, Layout):
            between.append(first)
            first = region.by_name[first.inputs[0]]
        if not isinstance(first.operation, Apply | Sum | Concat):
            continue
        try:
            carried = search.form(first, [search.leaf(i) for i in first.inputs])
            for layout in reversed(between):
                carried = search.form(layout, [carried])
            apart, together = search.form(second, [search.leaf(second.inputs[0])]), search.form(second, [carried])
        except NotFoldable as e:
            yield first.name, second.name, e
            continue
        before = search.cost(first, carried) + search.cost(second, apart)
        after = search.cost(second, together)
        change = f"{before.macs:,} multiply-adds apart, {after.macs:,} together"
        yield first.name, second.name, NotFoldable("does-not-pay", change)
