"""The same operator of the same value, asked for twice, is computed once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import Net, fold_checked

TWICE: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "a layer": lambda m, x: m.a(x),
    "a pool": lambda m, x: F.avg_pool2d(x, 3, 1, 1),
    "a resize": lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "a shuffle": lambda m, x: F.pixel_shuffle(x, 2),
    "a chain": lambda m, x: m.a(F.avg_pool2d(x * 2 + 1, 2)),
    "a sum": lambda m, x: m.a(x) + x.flip(3),
    "a pad": lambda m, x: F.pad(x, (1, 2, 1, 0)),
}


@pytest.mark.parametrize("name", TWICE)
@pytest.mark.parametrize("objective", ["macs", "time"])
def test_once(name: str, objective: str) -> None:
    """Two readers that no law passes."""
    step = TWICE[name]
    one = Net(lambda m, x: (torch.sigmoid(y := step(m, x)), torch.tanh(y)), a=nn.Conv2d(4, 4, 3, padding=1))
    two = Net(lambda m, x: (torch.sigmoid(step(m, x)), torch.tanh(step(m, x))), a=nn.Conv2d(4, 4, 3, padding=1))
    config = convfold.FoldConfig(objective)
    first, second = (fold_checked(net, (2, 4, 8, 6), config=config).report.after for net in (one, two))
    assert (first.ops, first.macs) == (second.ops, second.macs)


def test_returned_twice() -> None:
    net = Net(lambda m, x: (m.a(x), m.a(x), m.a(x) + 1), a=nn.Conv2d(4, 4, 3))
    after = fold_checked(net, (2, 4, 8, 6)).report.after
    assert (after.layers, after.ops) == (1, 2)


def test_other_weights_are_another_layer() -> None:
    net = Net(lambda m, x: (m.a(x), m.b(x)), a=nn.Conv2d(4, 4, 3), b=nn.Conv2d(4, 4, 3))
    assert fold_checked(net, (2, 4, 8, 6)).report.after.macs == 2 * 2 * 24 * 4 * 36


def test_blocks_that_differ_in_what_is_twice() -> None:
    """One plan is not another's, though all their steps are alike."""
    layers = {name: nn.Conv2d(4, 4, 1) for name in "abcde"}
    net = Net(lambda m, x: m.e(torch.relu(m.a(torch.relu(m.c(x))) * 2 + torch.tanh(m.b(torch.relu(m.d(x)))))), **layers)
    alike = Net(lambda m, x: torch.sigmoid(m.a(x)) + torch.tanh(m.a(x)), a=nn.Conv2d(4, 4, 1))
    apart = Net(lambda m, x: torch.sigmoid(m.a(x)) + torch.tanh(m.b(x)), **{n: nn.Conv2d(4, 4, 1) for n in "ab"})
    both = Net(lambda m, x: m.s(m.t(m.s(x))), s=alike, t=apart)
    for case in (net, alike, apart, both):
        fold_checked(case, (2, 4, 5, 6))
