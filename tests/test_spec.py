"""Each invariant of each stage, on a value that breaks it and no other before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import convfold
from convfold.algebra.apply import Apply
from convfold.algebra.convolution import Convolution
from convfold.algebra.joins import Sum
from convfold.algebra.realisation import Convolve
from convfold.plan import Plan, plan
from convfold.plan.cost import Cost, Prices
from convfold.plan.deferred import Given
from convfold.region import Node, Region, Signal
from convfold.spec import SPEC, check

X = Signal((1, 2, 5, 5))


def conv(name: str, x: str, c_out: int = 2, **changes: Any) -> Node:
    op = Convolution(torch.randn(c_out, 2, 1, 1))
    step = Apply(Given(op.geometry, op, name), 1, Convolve())
    return replace(Node(name, step, (x,), Signal((1, c_out, 5, 5)), name), **changes)


INPUT = Node("x", None, (), X)
A, B = conv("a", "x"), conv("b", "a")


def region(*nodes: Node, outputs: tuple[str, ...] = ("b",)) -> Region:
    return Region((INPUT, *nodes), outputs)


GOOD = region(A, B)
UNDECIDED = replace(A, operation=Apply(A.operation.operator, 1))  # type: ignore[union-attr]

REGIONS: dict[str, Region] = {
    "a value has one producer": region(A, A, B),
    "a value is computed before it is read": region(B, A),
    "every output is computed": region(A, B, outputs=("b", "c")),
    "a step has as many inputs as its operation takes": region(A, replace(B, inputs=("a", "x"))),
    "an operator says how it is computed": region(UNDECIDED, B),
    "an operator fits the signals before and behind it": region(A, replace(B, signal=Signal((1, 3, 5, 5)))),
}


def planned(region: Region, macs: int = 9) -> Plan:
    return Plan(GOOD, region, Cost(9), Cost(macs))


MORE = Region((INPUT, Node("y", None, (), X), A, B), ("b",))


PLANS: dict[str, Plan] = {
    "the outputs are what they were": planned(region(A, B, outputs=("a", "b"))),
    "nothing is read that was not": planned(MORE),
    "nothing is computed that nobody reads any more": planned(region(A, B, conv("c", "a"))),
    "there are no more multiply-adds than there were": planned(GOOD, macs=10),
}


@pytest.mark.parametrize("text", REGIONS)
@pytest.mark.parametrize("stage", ["lift", "plan", "compose"])
def test_of_a_region(stage: str, text: str) -> None:
    broken = REGIONS[text]
    with pytest.raises(AssertionError, match=f"after {stage}: {text}"):
        check(stage, broken if stage == "lift" else planned(broken))


@pytest.mark.parametrize("text", PLANS)
@pytest.mark.parametrize("stage", ["plan", "compose"])
def test_of_a_plan(stage: str, text: str) -> None:
    with pytest.raises(AssertionError, match=f"after {stage}: {text}"):
        check(stage, PLANS[text])


def test_a_mended_border_has_its_numbers() -> None:
    nodes = [Node("x", None, (), Signal((1, 2, 128, 128)))]
    for name, c_out, c_in in (("a", 64, 2), ("b", 2, 64)):  # one 5×5 is a tenth of both 3×3
        op = Convolution(torch.randn(c_out, c_in, 3, 3), padding=1)
        step = Apply(Given(op.geometry, op, name), 1, Convolve())
        nodes.append(Node(name, step, (nodes[-1].name,), Signal((1, c_out, 128, 128)), name))
    found = plan(Region(tuple(nodes), ("b",)))
    assert found.changed
    check("plan", found)
    with pytest.raises(AssertionError, match="a mended border has its numbers"):
        check("compose", found)
    check("compose", found.composed(Prices()))


def wired(change: Callable[[torch.fx.GraphModule], None]) -> torch.fx.GraphModule:
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).eval()
    module = convfold.fold(net, torch.randn(1, 2, 4, 4)).module
    change(module)
    return module


def unwired(module: torch.fx.GraphModule) -> None:
    first = next(iter(module.graph.nodes))
    call = next(n for n in module.graph.nodes if n.op == "call_function")
    first.append(call)  # before its weights


def idle(module: torch.fx.GraphModule) -> None:
    call = next(n for n in module.graph.nodes if n.op == "call_function")
    with module.graph.inserting_after(call):
        module.graph.call_function(torch.ops.aten.relu.default, (call,))


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("calls are wired as the framework wants them, and have their weights", unwired),
        ("nothing is computed for nothing", idle),
    ],
)
def test_of_a_folded_module(text: str, change: Callable[[torch.fx.GraphModule], None]) -> None:
    check("lower", wired(lambda module: None))
    with pytest.raises(AssertionError, match=f"after lower: {text}"):
        check("lower", wired(change))


def test_every_invariant_is_broken_here() -> None:
    broken = {*REGIONS, *PLANS, "a mended border has its numbers"} | {
        "calls are wired as the framework wants them, and have their weights",
        "nothing is computed for nothing",
    }
    assert {invariant.text for invariants in SPEC.values() for invariant in invariants} == broken


def test_sums_take_any_number() -> None:
    check("lift", region(A, B, Node("c", Sum(), ("a", "b", "x"), X), outputs=("c",)))
