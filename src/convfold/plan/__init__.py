"""Region × cost → Region: the cheapest exactly equal form. Knows geometry only; no tensor is touched here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from convfold.algebra.apply import Apply
from convfold.plan.composition import compose, cost_of
from convfold.plan.constants import Constant, is_zero
from convfold.plan.cost import Cost, Prices
from convfold.plan.deferred import Uniform
from convfold.plan.descent import descended
from convfold.plan.duplicates import distinct
from convfold.plan.machine import DEFAULT
from convfold.plan.realize import realize
from convfold.plan.rules.siblings import siblings
from convfold.plan.search import Decisions, Search
from convfold.region import Region

__all__ = ["Cost", "Plan", "Planner", "Prices", "Way", "plan", "shape_of", "unplanned"]


@dataclass(frozen=True)
class Plan:
    """The planned region, the one it is planned of, and the cost before and after.

    ``timed``: was it run against others, and faster? Then it is worth what was measured, whatever its price.
    """

    original: Region
    region: Region
    before: Cost
    after: Cost
    timed: bool = False

    @property
    def changed(self) -> bool:
        return self.region is not self.original

    def composed(self, prices: Prices) -> Plan:
        """With its numbers, and what it costs as it will be written."""
        region, after = compose(self.region, prices)
        return replace(self, region=region, after=after).if_it_pays(prices)

    def if_it_pays(self, prices: Prices) -> Plan:
        """The plan, or none."""
        if self.timed or pays(self.before, self.after, prices.least):
            return self
        return Plan(self.original, self.original, self.before, self.before)


def pays(before: Cost, after: Cost, least: int = 1) -> bool:
    """Is it worth doing? Never with more multiply-adds, nor with more operations for as many.

    Fewer multiply-adds and fewer operations are never declined, whatever else is moved. With as many of both it costs
    less by ``least``, in what comes second to multiply-adds, or else prices are wrong by more than that.
    """
    if after.macs < before.macs and after.ops < before.ops:
        return True
    if after.macs > before.macs or (after.macs == before.macs and after.ops > before.ops):
        return False
    if after.macs == before.macs and after.ops == before.ops:
        return before.rank[1] - after.rank[1] >= least
    return after < before


#: A planned region is planned again at most so many times: to a plan that planning does not change.
AGAIN = 3


#: One of no more steps is then searched whole: what two changes save only together no single one finds.
SMALL = 16

#: How many times dearer multiply-adds are taken for where a plan would spend more of them than there were.
WORTH = (1, 4, 16)


#: Plannings one after the other: by which prices, and what was decided.
Step = tuple[Prices, Decisions]
Route = tuple[Step, ...]


@dataclass(frozen=True)
class Way:
    """A plan for every region of one shape: what it costs before and after, and how a region is taken there.

    ``distinct``: from the region in which what is computed twice is computed once.
    """

    before: Cost
    after: Cost
    distinct: bool
    route: Route
    timed: bool = False


class Planner:
    """Plans regions, each shape once: networks repeat their blocks."""

    def __init__(self, prices: Prices | None = None, border: str = "exact") -> None:
        self.prices = prices or Prices()
        self.border = border
        self._ways: dict[object, Way] = {}

    def __call__(self, region: Region) -> Plan:
        """By the objective; or with the fewest multiply-adds that can be had, where that takes no more operations.

        Then no runtime is slower for it.
        """
        key, slim = _key(region)
        if (way := self._ways.get(key)) is not None:
            return _taken(region, slim, way, self.border)
        (plan, route), slimmer = self._found(region), False
        if slim is not region:
            other, its_route = self._found(slim)
            fewer = Plan(region, other.region, plan.before, other.after).if_it_pays(self.prices)
            if slimmer := fewer.after < plan.after:
                plan, route = fewer, its_route
        self._ways[key] = Way(plan.before, plan.after, slimmer, route)
        return plan

    def way(self, region: Region) -> Way:
        """How regions like this one are planned."""
        self(region)
        return self._ways[_key(region)[0]]

    def settle(self, region: Region, way: Way) -> None:
        """From now on regions like this one are planned so: it was timed."""
        self._ways[_key(region)[0]] = replace(way, timed=True)

    def _found(self, region: Region) -> tuple[Plan, Route]:
        found, route = self._best(region)
        for _ in range(AGAIN if found.changed else 0):  # values that were not there before may be worth materialising
            large = len(found.region.steps) > SMALL
            done, step = self._planned(found.region, self.prices, descended_only=large)
            again = Plan(found.region, done, found.after, cost_of(done, self.prices)).if_it_pays(self.prices)
            if not again.changed:
                break
            found, route = Plan(region, again.region, found.before, again.after), (*route, step)
        return found, route

    def _best(self, region: Region) -> tuple[Plan, Route]:
        before = cost_of(region, self.prices)

        def planned(prices: Prices) -> tuple[Plan, Route]:
            done, step = self._planned(region, prices)
            return Plan(region, done, before, cost_of(done, self.prices)), (step,)

        def paying(found: Iterable[tuple[Plan, Route]]) -> list[tuple[Plan, Route]]:
            return [(plan, route) for plan, route in found if plan.if_it_pays(self.prices).changed]

        fewest = paying([planned(replace(self.prices, objective="macs"))])
        found = fewest
        if self.prices.objective != "macs":
            timed = (p for p in map(planned, self._dearer()) if p[0].after.macs <= before.macs)
            others = [] if self.prices.costs == DEFAULT else [planned(replace(self.prices, costs=DEFAULT))]
            found = paying([*islice(timed, 1), *fewest, *others])
        best = min(found, key=lambda way: way[0].after.rank, default=(Plan(region, region, before, before), ()))
        for plan, route in fewest:
            if plan.after.macs < best[0].after.macs and plan.after.ops <= best[0].after.ops:
                best = plan, route
        return best

    def _dearer(self) -> Iterator[Prices]:
        """Where a plan multiplies more than there was, multiply-adds were worth more than they were taken for."""
        return (replace(self.prices, costs=self.prices.costs.dearer(worth)) for worth in WORTH)

    def _planned(self, region: Region, prices: Prices, descended_only: bool = False) -> tuple[Region, Step]:
        search = Search(region, prices, border=self.border)
        decisions = descended(search, search.materialised() if descended_only else search.run()[1])
        return _followed(search, decisions), (prices, decisions)


def _followed(search: Search, decisions: Decisions) -> Region:
    materialised = search.materialised_forms(decisions)
    return realize(search, materialised, siblings(materialised, search))


def _taken(region: Region, slim: Region, way: Way, border: str) -> Plan:
    done = slim if way.distinct else region
    for prices, decisions in way.route:
        done = _followed(Search(done, prices, border=border), decisions)
    return Plan(region, done, way.before, way.after, way.timed)


def unplanned(region: Region) -> Plan:
    """As it is."""
    return Plan(region, region, Cost(), Cost())


def plan(region: Region, prices: Prices | None = None, border: str = "exact") -> Plan:
    """The cheapest exactly equal region found; the same region where nothing is gained."""
    return Planner(prices, border)(region)


def _key(region: Region) -> tuple[object, Region]:
    """What regions that are planned alike have in common; and the region in which nothing is computed twice."""
    slim = distinct(region)
    return (shape_of(region), None if slim is region else shape_of(slim)), slim


def shape_of(region: Region) -> object:
    """All the search looks at: operations, geometry and wiring, without names or numbers."""
    place = {n.name: i for i, n in enumerate(region.nodes)}
    nodes = []
    for n in region.nodes:
        op = n.operation
        what: object = op
        if isinstance(op, Apply):
            constants = getattr(op.operator, "constants", False)
            what = (op.operator.geometry, op.axis, op.how, isinstance(op.operator, Uniform), constants)
        elif isinstance(op, Constant):
            what = Constant
        nodes.append((what, tuple(place[i] for i in n.inputs), n.signal, n.content and is_zero(n.content)))
    return tuple(nodes), tuple(place[o] for o in region.outputs)
