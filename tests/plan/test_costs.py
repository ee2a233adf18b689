"""What a plan says it costs is what torch counts; and what it is chosen by does not follow the machine."""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import convfold
import zoo
from convfold.algebra.layout import Slice
from convfold.plan import Planner, Prices, pays
from convfold.plan.composition import cost_of
from convfold.plan.cost import Cost
from convfold.plan.machine import Machine
from convfold.region import Node, Region, Signal, shared_out
from tests.folding import Net, calls, double, noise
from zoo.own.blocks import TenBranches

OBJECTIVES = ("time", "macs")


def multiply_adds(model: nn.Module, *args: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*args)
    return int(counter.get_total_flops()) // 2


def folded(net: nn.Module, *args: Tensor, objective: str = "macs") -> convfold.Result:
    """Folded, its figures held against the counter's."""
    config = convfold.FoldConfig(objective)
    result = convfold.fold(net, args, dynamic_shapes="static", config=config)
    report = result.report
    assert report.before.macs == multiply_adds(net, *args)
    assert report.after.macs == multiply_adds(result.module, *args) <= report.before.macs
    saved = sum(a.macs_before - a.macs_after for a in report.applied)
    assert saved == report.before.macs - report.after.macs
    return result


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_that_widen_are_not_one(objective: str) -> None:
    """Two 3×3 padded by 2 on 4×4: 57,600 multiply-adds in two steps; one 5×5 convolution takes 102,400."""
    net = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=2, bias=False) for _ in range(2)))
    result = folded(double(net), noise(1, 8, 4, 4), objective=objective)
    assert result.report.before.macs == result.report.after.macs == 57_600


@pytest.mark.parametrize("size", [4, 5, 7, 9])
@pytest.mark.parametrize("kernels", [(3, 3), (5, 3), (3, 1), (2, 4), (7, 1), (4, 7)])
def test_pairs_padded_to_the_full(kernels: tuple[int, int], size: int) -> None:
    a, b = (nn.Conv2d(6, 6, k, padding=k - 1, bias=k % 2 == 0) for k in kernels)
    folded(double(nn.Sequential(a, b)), noise(2, 6, size, size + 1))


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (Net(lambda m, x: F.pad(m.c(x), (0, -16)), c=nn.Conv2d(8, 8, 3, padding=1)), (1, 8, 32, 32)),
        (Net(lambda m, x: F.pad(m.c(x), (-3, -16)), c=nn.Conv1d(8, 8, 5, stride=2)), (1, 8, 64)),
        (Net(lambda m, x: F.pad(m.c(x), (0, 0, 0, -4)), c=nn.ConvTranspose2d(8, 8, 3, stride=2)), (1, 8, 8, 8)),
        (Net(lambda m, x: F.pad(m.c(x), (1, -2, -1, 3)), c=nn.Conv2d(4, 8, 3, padding=2)), (2, 4, 9, 7)),
    ],
)
def test_crops_cost_what_they_cost(net: nn.Module, shape: tuple[int, ...]) -> None:
    folded(double(net), noise(*shape))


def test_a_scale_spelled_as_a_convolution_is_counted_as_one() -> None:
    net = nn.Sequential(nn.Conv2d(8, 8, 1, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=8))
    result = folded(double(net), noise(1, 8, 9, 7))
    assert (result.report.before.macs, result.report.after.macs) == (2 * 8 * 63, 0)


def branches(kernels: tuple[tuple[int, int], ...]) -> nn.Module:
    return double(TenBranches(kernels=kernels))


KERNELS = ((1, 5), (5, 3), (5, 5), (3, 3), (3, 5))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ten_branches_are_one_convolution_in_any_order(objective: str) -> None:
    """Five kernels, each with and without a batch norm, concatenated into a 1×1: some pairs are dearer as one."""
    orders = list(permutations(KERNELS))
    for order in Random(0).sample(orders, 6):
        case = zoo.build("ten-branch")
        net = branches(order)
        result = folded(net, case.args[0].double(), objective=objective)
        assert (result.report.after.macs, result.report.after.layers) == (115_200, 1), order


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_difference_is_one_call(objective: str) -> None:
    """PoolFormer's block: ``pool(y) − y`` gains no operation where its surroundings are folded."""
    case = zoo.build("tiny-poolformer-block")
    result = folded(case.model, *case.args, objective=objective)
    assert result.report.after.ops < result.report.before.ops
    assert calls(result)["sub"] == 1 and calls(result)["neg"] == 0


SIGNED: dict[str, Any] = {
    "a - b": lambda m, x: m.a(x) - m.b(x),
    "a - b, pooled": lambda m, x: F.avg_pool2d(m.a(x), 3, 1, 1) - m.b(x),
    "-a - b": lambda m, x: -m.a(x) - m.b(x),
    "x - a - x": lambda m, x: x - m.a(x) - x.relu(),
    "1 - a": lambda m, x: 1 - m.a(x),
    "rsub": lambda m, x: torch.rsub(m.a(x), x.relu()),
    "alpha": lambda m, x: torch.sub(x.relu(), m.a(x), alpha=-2.5),
    "after": lambda m, x: m.c(x.relu() - m.a(x)),
    "after, padded": lambda m, x: m.d(x.relu() - m.a(x)),
    "a resize of a difference": lambda m, x: F.interpolate(x.relu() - m.a(x), scale_factor=2.0, mode="bilinear"),
    "a difference of resizes": lambda m, x: (
        F.interpolate(m.a(x), scale_factor=2.0, mode="bilinear")
        - F.interpolate(m.b(x), scale_factor=2.0, mode="bilinear")
    ),
    "part of a difference": lambda m, x: (m.a(x) - m.b(x))[:, 1:3],
    "a difference of concats": lambda m, x: torch.cat([x.relu(), m.a(x)], 1) - torch.cat([m.b(x), x.tanh()], 1),
    "a chain behind it": lambda m, x: x.relu() - m.d(m.d(x)),
}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", SIGNED)
def test_signs(name: str, objective: str) -> None:
    net = Net(
        SIGNED[name],
        a=nn.Conv2d(4, 4, 3, padding=1),
        b=nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)),
        c=nn.Conv2d(4, 6, 1),
        d=nn.Conv2d(4, 4, 3, padding=1),
    )
    net, x = double(net), noise(2, 4, 6, 7)
    result = folded(net, x, objective=objective)
    for seed in range(2):
        x = noise(2, 4, 6, 7, seed=seed)
        torch.testing.assert_close(result.module(x), net(x), rtol=1e-11, atol=1e-11)


def test_nothing_is_measured_unless_asked_for() -> None:
    case = zoo.build("tiny-repvgg")
    with patch("convfold.measured.compare", side_effect=AssertionError("measured")):
        for objective in OBJECTIVES:
            convfold.explain(case.model, case.args, config=convfold.FoldConfig(objective))
        with pytest.raises(AssertionError, match="measured"):
            convfold.explain(case.model, case.args, config=convfold.FoldConfig("measured"))


def test_fewer_of_both_is_never_declined() -> None:
    before = Cost(100, 10, 5, (0, 7))
    assert pays(before, Cost(99, 1000, 4, (0, 70)))
    assert not pays(before, Cost(99, 1000, 5, (0, 70))) and not pays(before, Cost(100, 1, 6, (0, 6)))
    assert not pays(before, Cost(101, 1, 1, (0, 1))) and pays(before, Cost(100, 9, 5, (0, 6)))


def test_where_time_would_take_more_multiply_adds_the_plan_has_fewer_or_as_many() -> None:
    """Multiply-adds that cost next to nothing are not taken in place of bytes and calls."""
    from convfold.frontends.torch.exported import Graph
    from convfold.frontends.torch.read import read

    case = zoo.build("tiny-pyramid-pooling")
    planner = Planner(Prices("time", Machine(1e15, 1e9, 1e-4)))
    for region in Graph(read(case.model, case.args)).lift().regions:
        plan = planner(region)
        assert plan.after.macs <= plan.before.macs


@pytest.mark.parametrize(
    "name", ["tiny-densenet", "tiny-segformer", "tiny-dpt", "tiny-fastvit", "tiny-pyramid-pooling"]
)
def test_a_second_fold_changes_nothing(name: str) -> None:
    case = zoo.build(name)
    config = convfold.FoldConfig(verify=False)
    once = convfold.fold(case.model, case.args, config=config)
    again = convfold.fold(once.module, case.args, config=config)
    assert not again.report.changed, str(again.report)
    assert once.report.after.ops <= once.report.before.ops


def test_parts_in_any_order_are_one_call() -> None:
    """A split is priced once, also where a plan comes to ask for its parts in another order."""
    x = Node("x", None, (), Signal((1, 6, 4)))
    parts = [
        Node(f"x{start}", Slice(1, start, stop), ("x",), Signal((1, stop - start, 4)))
        for start, stop in ((4, 6), (0, 1), (1, 4))
    ]
    region = Region((x, *parts), tuple(n.name for n in parts))
    assert {name: i for name, (_, i) in shared_out(region).items()} == {"x0": 0, "x1": 1, "x4": 2}
    assert cost_of(region, Prices("macs")).ops == 1
