"""Calls that pass their input on: dropout in eval mode, copies, casts to the same type, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convfold
from tests.folding import Net, noise, randomised
from tests.laws.oracle import assert_close, refused
from tests.layers.table import CONV, NORM, SPACE, Case, check

KINDS = [
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
]


def test_between_a_convolution_and_a_norm() -> None:
    cases = []
    for kind in KINDS:
        dims = {nn.Dropout1d: 1, nn.Dropout3d: 3}.get(kind, 2)
        net = nn.Sequential(CONV[dims](3, 4, 2), kind(), NORM[dims](4))
        cases.append(Case(kind.__name__, net, (3, *SPACE[dims]), {f"conv{dims}d": 1}, merges=True))

    def case(name: str, function: Any, left: dict[str, int] | None) -> Case:
        net = Net(lambda m, x: m.norm(function(m.conv(x))), conv=nn.Conv2d(3, 4, 2), norm=nn.BatchNorm2d(4))
        return Case(name, net, (3, 5, 6), left)

    one = {"conv2d": 1}
    cases += [
        case("dropout of nothing, training", lambda y: F.dropout(y, 0.0, training=True), one),
        case("clone", lambda y: y.clone(memory_format=torch.preserve_format), one),
        case("contiguous", lambda y: y.contiguous(memory_format=torch.channels_last), one),
        case("detached", lambda y: y.detach(), one),
        case("to its own type", lambda y: y.to(y.dtype), one),
        case("to its own device", lambda y: y.to("cpu"), one),
        case("type as itself", lambda y: y.type_as(y), one),
        case("checkpointed", lambda y: torch.utils.checkpoint.checkpoint(torch.clone, y, use_reentrant=False), None),
        case("through another type", lambda y: y.float().double(), None),
        case("a rounding", lambda y: y.half().to(torch.float64), None),
    ]
    check(cases)


def test_a_type_in_between_is_kept_for_it_rounds() -> None:
    net = Net(lambda m, x: m.b(m.a(x).bfloat16().float()), a=nn.Linear(3, 64), b=nn.Linear(64, 2))
    randomised(net)
    x = noise(2, 3, dtype=torch.float32)
    result = convfold.fold(net.eval(), x, config=convfold.FoldConfig(verify=False))
    assert result.report.after.layers == 2
    with torch.no_grad():
        torch.testing.assert_close(result.module(x), net(x), rtol=0, atol=0)


def test_active_dropout_is_refused_by_merge() -> None:
    for kind in KINDS[1:]:
        with refused("training-mode"):
            convfold.merge(nn.Conv2d(3, 4, 2), kind(), nn.Conv2d(4, 2, 1))


def test_active_dropout_stays_in_the_graph() -> None:
    """A model in training mode without batch norms is what it is: random."""
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    result = convfold.fold(net, noise(2, 3, dtype=torch.float32), config=convfold.FoldConfig(verify=False))
    assert result.report.after.layers == 2
    assert {r.code for r in result.report.refused} == {"training-mode"}


@pytest.mark.parametrize("kind", KINDS)
def test_as_modules(kind: type[nn.Module]) -> None:
    module, x = kind().eval(), noise(2, 3, 4)
    assert_close(convfold.Convolution.of(module, channels=3, dims=1).to(torch.float64)(x), x)
    with refused("channels-differ"):
        convfold.Convolution.of(module)
