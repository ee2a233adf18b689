"""The plan computes the same, never costs more, and is as cheap as any choice of what to materialise."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from random import Random

import pytest
import torch

from convfold.algebra.apply import Apply
from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import Convolve
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.plan import Cost, Prices, plan
from convfold.plan.deferred import Given
from convfold.plan.form import Form
from convfold.plan.search import Search
from convfold.region import Node, Region, Signal
from convfold.spec import check
from tests.plan.regions import random_region


def same_values(before: Region, after: Region) -> None:
    inputs = {n.name: torch.randn(n.signal.shape, dtype=torch.float64) for n in before.inputs}
    expected, got = before.evaluate(inputs), after.evaluate(inputs)
    assert expected.keys() == got.keys()
    for name, y in expected.items():
        torch.testing.assert_close(got[name], y, rtol=0, atol=1e-10 * max(1.0, y.abs().max().item()))


@pytest.mark.parametrize("seed", range(8))
def test_random_regions_compute_the_same_and_never_cost_more(seed: int) -> None:
    r, changed = Random(seed), 0
    for _ in range(100):
        region = random_region(r, r.randint(2, 9))
        if not region.steps:
            continue
        check("lift", region)
        result = plan(region)
        assert result.after <= result.before
        if result.changed:
            changed += 1
            check("plan", result)
            same_values(region, result.region)
    assert changed > 30


def cheapest_of_all(region: Region, prices: Prices) -> Cost:
    """Every value inlined or materialised for every reader, tried one by one: 2^edges plans, no memory, no frontier."""
    steps, by_name = region.steps, region.by_name
    edges = [(n.name, k) for n in steps for k, i in enumerate(n.inputs) if by_name[i].operation is not None]
    search = Search(region, prices)
    costs = []
    for choice in product((False, True), repeat=len(edges)):
        inlined = dict(zip(edges, choice, strict=True))
        materialised = set(region.outputs) | {by_name[n].inputs[k] for (n, k), c in inlined.items() if not c}
        costs += every_form(search, steps, inlined, materialised, {}, Cost())
    return min(costs)


def every_form(
    search: Search,
    steps: tuple[Node, ...],
    inlined: dict[tuple[str, int], bool],
    materialised: set[str],
    forms: dict[str, Form],
    paid: Cost,
) -> Iterator[Cost]:
    """The cost of a choice of what to carry, for each choice of forms where a step has several."""
    if not steps:
        yield paid
        return
    n, *rest = steps
    inputs = [forms[i] if inlined.get((n.name, k)) else search.leaf(i) for k, i in enumerate(n.inputs)]
    if any(not f.blocks for f in inputs):
        return
    try:
        found = search.forms(n, inputs)
    except NotFoldable:
        return
    for form in found:
        cost = search.cost(n, form) if n.name in materialised else Cost()
        yield from every_form(search, tuple(rest), inlined, materialised, forms | {n.name: form}, paid + cost)


@pytest.mark.parametrize("objective", ["time", "macs"])
@pytest.mark.parametrize("seed", range(5))
def test_equals_exhaustive_search(seed: int, objective: str) -> None:
    r, done, prices = Random(1000 + seed), 0, Prices(objective)
    while done < 60:
        region = random_region(r, r.randint(2, 6))
        edges = sum(region.by_name[i].operation is not None for n in region.steps for i in n.inputs)
        if region.steps and edges <= 9:
            assert Search(region, prices).run()[0].rank == cheapest_of_all(region, prices).rank
            done += 1


def two_heads(c_in: int, c_out: int, size: int = 160) -> Region:
    """Two 1×1 convolutions on one map, both read outside."""
    nodes = [Node("x", None, (), Signal((1, c_in, size, size)))]
    for name in ("a", "b"):
        op = Convolution(torch.randn(c_out, c_in, 1, 1, dtype=torch.float64), None, 1, (Window(), Window()))
        nodes.append(
            Node(name, Apply(Given(op.geometry, op, name), 1, Convolve()), ("x",), Signal((1, c_out, size, size)), name)
        )
    return Region(tuple(nodes), ("a", "b"))


def test_siblings_are_computed_together_only_where_their_input_is_large() -> None:
    heads = two_heads(64, 4)
    together = plan(heads)
    assert sum(isinstance(n.operation, Apply) for n in together.region.steps) == 1
    assert together.after < together.before
    same_values(heads, together.region)
    assert not plan(two_heads(16, 16)).changed  # the slices are as large
