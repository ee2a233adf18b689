"""Region × cost → Region: the cheapest exactly equal form. Knows geometry only; no tensor is touched here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from convfold.algebra.operation import Apply
from convfold.plan.composition import compose
from convfold.plan.cost import Cost, Prices
from convfold.plan.realize import realize
from convfold.plan.recipe import Uniform
from convfold.plan.rules.siblings import siblings
from convfold.plan.search import Decisions, Search
from convfold.region import Region

__all__ = ["Cost", "Plan", "Planner", "Prices", "plan"]


@dataclass(frozen=True)
class Plan:
    """The planned region, and the cost before and after."""

    region: Region
    before: Cost
    after: Cost

    @property
    def changed(self) -> bool:
        return self.after < self.before

    def composed(self, prices: Prices) -> Plan:
        """With its numbers, and what it costs as it will be written."""
        region, after = compose(self.region, prices)
        return Plan(region, self.before, after)


class Planner:
    """Plans regions, each shape once: networks repeat their blocks."""

    def __init__(self, prices: Prices | None = None, border: str = "exact") -> None:
        self.prices = prices or Prices()
        self.border = border
        self._known: dict[object, tuple[Cost, Cost, Decisions]] = {}

    def __call__(self, region: Region) -> Plan:
        """Never with more multiply-adds, nor with more operations for as many: else by multiply-adds, or not at all."""
        found = self._plan(region, self.prices)
        if _dearer(found) and self.prices.objective != "macs":
            found = self._plan(region, replace(self.prices, objective="macs"))
        return Plan(region, found.before, found.before) if _dearer(found) else found

    def _plan(self, region: Region, prices: Prices) -> Plan:
        search = Search(region, prices, border=self.border)
        key = (prices, _shape(region))
        if key not in self._known:
            self._known[key] = (search.original_cost(), *search.run())
        before, after, decisions = self._known[key]
        kept = search.kept_forms(decisions)
        together = siblings(kept, search)
        after -= sum((group.saved for group in together), Cost())
        if not after < before:
            return Plan(region, before, before)
        return Plan(realize(search, kept, together), before, after)


def _dearer(plan: Plan) -> bool:
    before, after = plan.before, plan.after
    return after.macs > before.macs or (after.macs == before.macs and after.ops > before.ops)


def plan(region: Region, prices: Prices | None = None, border: str = "exact") -> Plan:
    """The cheapest exactly equal region found; the same region where nothing is gained."""
    return Planner(prices, border)(region)


def _shape(region: Region) -> object:
    """All the search looks at: operations, geometry and wiring, without names or numbers."""
    place = {n.name: i for i, n in enumerate(region.nodes)}
    nodes = []
    for n in region.nodes:
        op = n.operation
        what: object = op
        if isinstance(op, Apply):
            what = (op.operator.geometry, op.axis, op.how, isinstance(op.operator, Uniform))
        nodes.append((what, tuple(place[i] for i in n.inputs), n.signal))
    return tuple(nodes), tuple(place[o] for o in region.outputs)
