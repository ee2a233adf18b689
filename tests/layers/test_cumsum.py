"""Running sums between layers: the 1×1 moves to where there are fewer channels, and past them; neighbours do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import convfold
from tests.folding import Net, call_name, double, noise


@pytest.mark.parametrize("dim", [-1, 2])
def test_pointwise_layers_meet_across_it(dim: int) -> None:
    net = Net(
        lambda m, x: m.b(m.a(x).cumsum(dim)), a=nn.Conv2d(3, 64, 1, bias=False), b=nn.Conv2d(64, 4, 1)
    )  # fmt: skip
    result = convfold.fold(double(net), noise(2, 3, 7, 6))
    assert result.report.after.layers == 1
    for batch in (1, 3):
        x = noise(batch, 3, 7, 6, seed=batch)
        torch.testing.assert_close(result.module(x), net(x))


def test_a_bias_does_not_pass() -> None:
    """It would be added up."""
    net = Net(lambda m, x: m.b(m.a(x).cumsum(-1)), a=nn.Conv1d(3, 64, 1), b=nn.Conv1d(64, 4, 3))
    result = convfold.fold(double(net), noise(2, 3, 9))
    assert any(call_name(n) == "cumsum" for n in result.module.graph.nodes)
    x = noise(3, 3, 9)
    torch.testing.assert_close(result.module(x), net(x))
