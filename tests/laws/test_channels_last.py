"""Slices of space before an operator whose channels come last: a convolution between two permutes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import convfold
from tests.folding import Net, fold_checked, randomised

MACS = convfold.FoldConfig("macs")


def quarters(x: Tensor) -> Tensor:
    """As Swin's patch merging writes it; (N, H, W, C)"""
    return torch.cat([x[:, i::2, j::2] for j in range(2) for i in range(2)], -1)


def thirds(x: Tensor) -> Tensor:
    return torch.cat([x[:, :, i::3] for i in range(3)], -1)


def neighbours(x: Tensor) -> Tensor:
    return torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], -1)


CUT: dict[str, tuple[Callable[[Tensor], Tensor], int, int]] = {
    "quarters": (quarters, 4, 3 * 3),
    "thirds": (thirds, 3, 6 * 2),
    "neighbours": (neighbours, 3, 4 * 6),
}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("bias", [False, True])
def test_channels_last(name: str, bias: bool) -> None:
    step, parts, positions = CUT[name]
    net = Net(lambda m, x: torch.tanh(m.r(step(torch.tanh(x)))), r=nn.Linear(5 * parts, 4, bias=bias))
    after = fold_checked(net, (2, 6, 6, 5), config=MACS).report.after
    assert (after.ops, after.macs) == (5, 2 * positions * 5 * parts * 4)  # permute, convolution, permute; two tanh


@pytest.mark.parametrize("name", CUT)
def test_channels_brought_there(name: str) -> None:
    """What was permuted before is not permuted twice."""
    step, parts, _ = CUT[name]
    net = Net(lambda m, x: m.r(step(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2), r=nn.Linear(5 * parts, 4))
    assert fold_checked(net, (2, 5, 6, 6), config=MACS).report.after.ops == 1


def test_patch_merging_of_tokens() -> None:
    """SwinV2's: reduction, then the norm."""

    def merged(m: nn.Module, x: Tensor) -> Tensor:
        y = quarters(x.view(-1, 4, 6, 5))
        return m.n(m.r(y.view(-1, 6, 20)))

    net = Net(merged, r=nn.Linear(20, 8, bias=False), n=nn.LayerNorm(8))
    report = fold_checked(net, (2, 24, 5), config=MACS).report
    assert (report.before.ops, report.after.ops) == (17, 6)
    assert report.after.macs == report.before.macs


def test_free_sizes() -> None:
    """Height, width and batch are free."""
    net = Net(lambda m, x: torch.tanh(m.r(quarters(torch.tanh(x)))), r=nn.Linear(20, 4))
    n, h, w = (torch.export.Dim(name, min=2) for name in "nhw")
    shapes = (({0: n, 1: 2 * h, 2: 2 * w},),)
    net = randomised(net).double().eval()
    x = torch.randn(2, 6, 8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = convfold.fold(net, (x,), dynamic_shapes=shapes, config=MACS)
    assert result.report.after.ops == 5
    for size in ((1, 4, 6, 5), (3, 10, 4, 5)):
        y = torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(result.module(y), net(y), rtol=1e-10, atol=1e-10)
