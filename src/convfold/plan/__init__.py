"""Region × cost → Region: the cheapest exactly equal form. Knows geometry only; no tensor is touched here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from convfold.algebra.operation import Apply
from convfold.plan.composition import compose, cost_of
from convfold.plan.cost import Cost, Prices
from convfold.plan.descent import descended
from convfold.plan.realize import realize
from convfold.plan.recipe import Uniform
from convfold.plan.rules.siblings import siblings
from convfold.plan.search import Decisions, Search
from convfold.region import Region

__all__ = ["Cost", "Plan", "Planner", "Prices", "plan"]


@dataclass(frozen=True)
class Plan:
    """The planned region, the one it is planned of, and the cost before and after."""

    original: Region
    region: Region
    before: Cost
    after: Cost

    @property
    def changed(self) -> bool:
        return self.region is not self.original

    def composed(self, prices: Prices) -> Plan:
        """With its numbers, and what it costs as it will be written."""
        region, after = compose(self.region, prices)
        return _plan(self.original, region, self.before, after)


def _plan(original: Region, region: Region, before: Cost, after: Cost) -> Plan:
    """The plan, or none where it does not pay."""
    return Plan(original, region, before, after) if pays(before, after) else Plan(original, original, before, before)


def pays(before: Cost, after: Cost) -> bool:
    """Is it worth doing? Never with more multiply-adds, nor with more operations for as many.

    Fewer multiply-adds and fewer operations are never declined, whatever else is moved.
    """
    if after.macs < before.macs and after.ops < before.ops:
        return True
    if after.macs > before.macs or (after.macs == before.macs and after.ops > before.ops):
        return False
    return after < before


class Planner:
    """Plans regions, each shape once: networks repeat their blocks."""

    def __init__(self, prices: Prices | None = None, border: str = "exact") -> None:
        self.prices = prices or Prices()
        self.border = border
        self._known: dict[object, Decisions] = {}

    def __call__(self, region: Region) -> Plan:
        """By the objective; or with the fewest multiply-adds that can be had, where that takes no more operations.

        Then no runtime is slower for it.
        """
        found = self._planned(region, self.prices)
        if self.prices.objective == "macs":
            return found
        fewest = self._planned(region, replace(self.prices, objective="macs"))
        if fewest.after.macs < found.after.macs and fewest.after.ops <= found.after.ops:
            return _plan(region, fewest.region, found.before, cost_of(fewest.region, self.prices))
        return found

    def _planned(self, region: Region, prices: Prices) -> Plan:
        search = Search(region, prices, border=self.border)
        key = (prices, _shape(region))
        if key not in self._known:
            self._known[key] = descended(search, search.run()[1])
        kept = search.kept_forms(self._known[key])
        planned = realize(search, kept, siblings(kept, search))
        return _plan(region, planned, search.original_cost(), cost_of(planned, prices))


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
