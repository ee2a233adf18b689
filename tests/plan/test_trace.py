"""What a search is seen to see: every way to have a value is a plan that computes the same, and none is missed."""

from __future__ import annotations

from random import Random

import pytest
import torch

from convfold.algebra.apply import Apply
from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import Convolve
from convfold.algebra.window import Window
from convfold.plan import Cost, Plan, Prices, plan
from convfold.plan.deferred import Given
from convfold.plan.search import Search
from convfold.plan.trace import TRIED, Recorder, Trace, verdict
from convfold.region import Node, Region, Signal
from convfold.spec import check
from tests.plan.regions import random_region
from tests.plan.test_search import same_values


def padded_pair() -> Region:
    """Two 3×3 convolutions that pad: as one they multiply more, and the border depends on data."""
    nodes = [Node("x", None, (), Signal((1, 4, 9, 8)))]
    for name, before in (("a", "x"), ("b", "a")):
        op = Convolution(torch.randn(4, 4, 3, 3, dtype=torch.float64), None, 1, (Window(3, lo=1, hi=1),) * 2)
        operator = Given(op.geometry, op, name)
        nodes.append(Node(name, Apply(operator, 1, Convolve()), (before,), Signal((1, 4, 9, 8)), name))
    return Region(tuple(nodes), ("b",))


@pytest.mark.parametrize("seed", range(4))
def test_every_way_is_a_plan_and_the_best_is_among_them(seed: int) -> None:
    r, prices, done = Random(2000 + seed), Prices("macs"), 0
    while done < 25:
        region = random_region(r, r.randint(2, 6))
        if not region.steps:
            continue
        done += 1
        names = [n.name for n in region.steps]
        trace, best = Trace(region, names, prices, "exact"), Search(region, prices).walked()
        assert best is not None
        for name in names:
            ways = list(trace.ways(name))
            assert ways
            for way in ways:
                check("lift", way.region)
                assert way.materialised == (name in way.region.by_name)
                same_values(region, way.region)
            if trace.forms(name) <= TRIED:
                assert min(way.cost for way in ways) <= best.cost


@pytest.mark.parametrize("seed", range(4))
def test_to_be_watched_changes_nothing(seed: int) -> None:
    r = Random(3000 + seed)
    for _ in range(25):
        region = random_region(r, r.randint(2, 9))
        if region.steps:
            watch = Recorder([n.name for n in region.steps])
            assert Search(region, watch=watch).run() == Search(region).run()
            assert all(len(watch.forms[n.name]) > 0 for n in region.steps)


def test_a_pair_apart_and_together() -> None:
    region = padded_pair()
    trace = Trace(region, ["a", "b"], Prices(), "exact")
    apart, together = sorted(trace.ways("b"), key=lambda way: way.cost.macs)
    assert ("a" in apart.region.by_name, "a" in together.region.by_name) == (True, False)
    assert (trace.forms("a"), trace.forms("b")) == (1, 2)
    assert apart.cost.macs == 2 * 4 * 4 * 9 * 9 * 8 < together.cost.macs
    assert {way.materialised for way in trace.ways("a")} == {True, False}
    assert trace.refusals("a") == trace.refusals("b") == []
    assert verdict(together.cost, plan(region)) == "multiplies more than before"


def test_the_law_that_refuses_is_named() -> None:
    trace = Trace(padded_pair(), ["a"], Prices(), "refuse")
    (refusal,) = trace.refusals("a")
    assert (refusal.step, refusal.inlined, refusal.law) == ("b", ("a",), "distribute")
    assert refusal.reason.code == "ghost-depends-on-data"
    assert [way.materialised for way in trace.ways("a")] == [True]  # it cannot be left to its reader


@pytest.mark.parametrize(
    ("macs", "ops", "rank", "said"),
    [
        (21, 1, 1, "multiplies more than before"),
        (20, 5, 1, "more operations than before"),
        (12, 3, 9, "dearer"),
        (10, 3, 5, "costs the same"),
        (12, 3, 4, "multiplies more"),
        (9, 3, 4, "cheaper; the search missed it"),
    ],
)
def test_verdicts(macs: int, ops: int, rank: int, said: str) -> None:
    region = padded_pair()
    found = Plan(region, region, Cost(20, 100, 4, (0, 8)), Cost(10, 50, 2, (0, 5)))
    assert verdict(Cost(macs, 60, ops, (0, rank)), found) == said
