"""LayerNorm, GroupNorm, RMSNorm: not affine, but their scale and shift are, and fold into what follows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convfold
from tests.folding import Net, call_name, double, fold_checked, noise
from tests.laws.oracle import assert_close
from tests.layers.table import Case, check


def test_before_a_layer() -> None:
    layer, group, rms = {"layer_norm": 1}, {"group_norm": 1}, {"rms_norm": 1}
    check(
        [
            Case("layer norm, linear", nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 3)), (4, 5), {**layer, "linear": 1}),
            Case(
                "layer norm without bias",
                nn.Sequential(nn.LayerNorm(5, bias=False), nn.Linear(5, 3)),
                (4, 5),
                {**layer, "linear": 1},
            ),
            Case(
                "layer norm without either",
                nn.Sequential(nn.LayerNorm(5, elementwise_affine=False), nn.Linear(5, 3)),
                (4, 5),
                {**layer, "linear": 1},
            ),
            Case(
                "layer norm on maps", nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 3)), (2, 4, 5), {**layer, "linear": 1}
            ),
            Case("rms norm", nn.Sequential(nn.RMSNorm(5), nn.Linear(5, 3)), (4, 5), {**rms, "linear": 1}),
            Case(
                "group norm", nn.Sequential(nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 1)), (4, 5, 6), {**group, "conv2d": 1}
            ),
            Case(
                "group norm, 3×3",
                nn.Sequential(nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 3)),
                (4, 5, 6),
                {**group, "conv2d": 1},
            ),
            Case(
                "instance norm",
                nn.Sequential(nn.InstanceNorm2d(4, affine=True), nn.Conv2d(4, 3, 1)),
                (4, 5, 6),
                {"instance_norm": 1, "conv2d": 1},
            ),
            Case(
                "group norm without affine",
                nn.Sequential(nn.GroupNorm(2, 4, affine=False), nn.Conv2d(4, 3, 1)),
                (4, 5, 6),
                {**group, "conv2d": 1},
            ),
            Case(
                "group norm, padded 3×3",
                nn.Sequential(nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 3, padding=1)),
                (4, 5, 6),
                {**group, "conv2d": 1},
                code="does-not-pay",  # the norm's own shift costs less than a correction of the ring
            ),
            Case(
                "group norm, 1d", nn.Sequential(nn.GroupNorm(4, 4), nn.Conv1d(4, 3, 1)), (4, 5), {**group, "conv1d": 1}
            ),
            Case("group norm, batch norm", nn.Sequential(nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.ReLU()), (4, 5, 6)),
            Case("over two axes", nn.Sequential(nn.LayerNorm((4, 5)), nn.Linear(5, 3)), (4, 5), {**layer, "linear": 1}),
            Case("at the end", nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5)), (4, 3), {**layer, "linear": 1}),
            Case(
                "before a nonlinearity",
                nn.Sequential(nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 3)),
                (4, 5),
                {**layer, "gelu": 1, "linear": 1},
            ),
        ]
    )


def test_the_tail_went_into_the_next_layer() -> None:
    """The norm is called without weight and bias, and the linear layer's weight is W · diag(γ), its bias b + W β."""
    net = double(nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 3)))
    result = convfold.fold(net, noise(2, 4, 5))
    (norm,) = (n for n in result.module.graph.nodes if call_name(n) == "layer_norm")
    assert norm.args[2:4] == (None, None) or len(norm.args) == 2
    state = {t.dim(): t for t in result.module.state_dict().values()}
    assert len(state) == 2 == len(result.module.state_dict())
    gamma, beta = net[0].weight.detach(), net[0].bias.detach()
    assert_close(state[2], net[1].weight.detach() * gamma)
    assert_close(state[1], net[1].bias.detach() + net[1].weight.detach() @ beta)


def _bare(node: Any) -> bool:
    names = [a.name for a in node.target._schema.arguments]
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    return given.get("weight") is None and given.get("bias") is None


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 3)), (4, 5)),
        (nn.Sequential(nn.RMSNorm(5), nn.Linear(5, 3)), (4, 5)),
        (nn.Sequential(nn.GroupNorm(2, 4), nn.Conv2d(4, 3, (1, 2))), (4, 5, 6)),
        (
            Net(
                lambda m, x: (y := m.norm(x), m.a(y) + m.b(y).relu())[1],
                norm=nn.LayerNorm(5),
                a=nn.Linear(5, 3),
                b=nn.Linear(5, 3),
            ),
            (4, 5),
        ),
        (
            Net(lambda m, x: m.a(m.norm(x.flatten(2).transpose(1, 2))), norm=nn.LayerNorm(4), a=nn.Linear(4, 3)),
            (4, 5, 6),
        ),
        (
            Net(
                lambda m, x: m.a(m.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
                norm=nn.LayerNorm(4),
                a=nn.Conv2d(4, 3, 1),
            ),
            (4, 5, 6),
        ),
        (Net(lambda m, x: m.a(F.dropout(m.norm(x), 0.1, False)), norm=nn.LayerNorm(5), a=nn.Linear(5, 3)), (4, 5)),
    ],
    ids=["layer", "rms", "group", "two readers", "tokens of a map", "ConvNeXt", "dropout"],
)
def test_the_norm_is_left_bare(net: nn.Module, shape: tuple[int, ...]) -> None:
    net = double(net)
    result = convfold.fold(net, noise(2, *shape))
    (norm,) = (n for n in result.module.graph.nodes if call_name(n).endswith("_norm"))
    assert _bare(norm), result.module.code
    with torch.no_grad():
        for batch in (1, 3):
            x = noise(batch, *shape, seed=batch)
            assert_close(result.module(x), net(x))


def test_a_norm_that_is_read_as_it_is_keeps_its_tail() -> None:
    """Its own output is needed: splitting it would add an operation."""
    net = double(Net(lambda m, x: (y := m.norm(x), y.relu() + m.a(y))[1], norm=nn.LayerNorm(5), a=nn.Linear(5, 5)))
    result = convfold.fold(net, noise(2, 4, 5))
    assert result.report.after.ops <= result.report.before.ops


def test_what_the_norm_itself_reads_is_read_outside() -> None:
    """The convolution is read by a norm, whose tail is in its region, and beside it: it is computed once, for both."""
    net = Net(
        lambda m, x: (y := m.b(m.a(x)), m.norm(y) + (y * 0.3 + 1))[1],
        a=nn.Conv2d(4, 1, 3),
        b=nn.Conv2d(1, 2, 1),
        norm=nn.GroupNorm(2, 2),
    )
    result = fold_checked(net, (2, 4, 7, 6))
    assert result.report.after.layers == 2
