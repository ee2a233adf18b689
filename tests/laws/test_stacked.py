"""A map along the axis that values are stacked on is a sum of them: stack and mean, stack and sum."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import convfold
from tests.folding import Net, fold_checked

MACS = convfold.FoldConfig("macs")

Parts = tuple[Tensor, ...]

SUMMED: dict[str, Callable[[Parts], Tensor]] = {
    "mean in front": lambda p: torch.stack(p, 0).mean(0),
    "sum beside the channels": lambda p: torch.stack(p, 1).sum(1),
    "sum at the end": lambda p: torch.stack(p, -1).sum(-1),
    "kept": lambda p: torch.stack(p, 2).mean(2, keepdim=True).squeeze(2),
    "kept in front": lambda p: torch.stack(p).sum(0, keepdim=True)[0],
    "running, the last": lambda p: torch.stack(p, 0).cumsum(0)[-1],
    "by hand": lambda p: p[0] + p[1] + p[2],
}


@pytest.mark.parametrize("name", SUMMED)
def test_branches(name: str) -> None:
    """Three branches and a layer behind them are one."""
    layers = {"a": nn.Conv2d(4, 6, 1), "b": nn.Conv2d(4, 6, 3, padding=1), "c": nn.Conv2d(4, 6, (1, 3), padding=(0, 1))}
    net = Net(lambda m, x: m.d(SUMMED[name]((m.a(x), m.b(x), m.c(x)))), **layers, d=nn.Conv2d(6, 5, 1, bias=False))
    after = fold_checked(net, (2, 4, 7, 6), config=MACS).report.after
    assert (after.ops, after.macs) == (1, 2 * 42 * 4 * 5 * 9)


def test_more_than_one_row() -> None:
    """Running sums of two parts: both are read."""

    def both(m: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
        y = torch.stack((m.a(x), m.b(x)), 0).cumsum(0)
        return torch.sigmoid(y[0]), torch.tanh(y[1])

    net = Net(both, a=nn.Conv2d(4, 6, 1), b=nn.Conv2d(4, 6, 1))
    after = fold_checked(net, (2, 4, 5, 5), config=MACS).report.after
    assert after.macs <= 2 * 2 * 25 * 24


def test_laid_end_to_end_they_are_not_summed() -> None:
    """Of parts longer than one the mean is not one of theirs."""
    net = Net(lambda m, x: torch.cat((m.a(x), m.b(x)), 2).mean(2), a=nn.Conv2d(4, 6, 1), b=nn.Conv2d(4, 6, 1))
    fold_checked(net, (2, 4, 5, 6), config=MACS)


def test_a_stack_of_one_has_no_parts() -> None:
    """Laid end to end along another axis it is as long there as it is."""

    def spread(m: nn.Module, x: Tensor) -> Tensor:
        y = torch.stack([0.5 * x[:, 2]], 1)
        y = torch.cat([y, y], 2)
        z = y.new_zeros(x.shape[0], 1, 4 * x.shape[2], 2 * x.shape[3])
        z[:, :, ::2, ::2] = y
        return z

    fold_checked(Net(spread), (2, 4, 6, 5), config=MACS, dynamic_shapes="static")
