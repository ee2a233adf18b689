"""Slices that start at each offset, laid end to end, are a view, a permute and a view, wherever the channels are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import convfold
from tests.folding import Net, fold_checked

MACS = convfold.FoldConfig("macs")


def quarters(x: Tensor) -> Tensor:
    """As Swin's patch merging writes it; (N, H, W, C)"""
    return torch.cat([x[:, i::2, j::2] for j in range(2) for i in range(2)], -1)


#: And what is left: operations, those that are no views among them being none.
JOINED: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "quarters": (quarters, 3),
    "rows first": (lambda x: torch.cat([x[:, i::2, j::2] for i in range(2) for j in range(2)], -1), 3),
    "channels first": (lambda x: torch.cat([x[:, :, i::3, j::2] for j in range(2) for i in range(3)], 1), 3),
    "one axis": (lambda x: torch.cat([x[:, :, i::3] for i in range(3)], -1), 1),
    "one axis, channels first": (lambda x: torch.cat([x[..., i::2] for i in range(2)], 1), 3),
    "on another axis of space": (lambda x: torch.cat([x[:, i::2] for i in range(2)], 2), 1),
    "cut in two steps": (lambda x: torch.cat([x[:, i::2][:, :, j::2] for j in range(2) for i in range(2)], 3), 3),
}


@pytest.mark.parametrize("name", JOINED)
@pytest.mark.parametrize("objective", ["macs", "time"])
def test_between_curves(name: str, objective: str) -> None:
    step, ops = JOINED[name]
    net = Net(lambda m, x: torch.sigmoid(step(torch.tanh(x))))
    after = fold_checked(net, (2, 6, 6, 4), config=convfold.FoldConfig(objective)).report.after
    assert after.ops == ops + 2


OTHER: dict[str, Callable[[Tensor], Tensor]] = {
    "one is missing": lambda x: torch.cat([x[:, i::3] for i in range(2)], -1),
    "one is there twice": lambda x: torch.cat([x[:, i::2] for i in (0, 1, 1)], -1),
    "in no order": lambda x: torch.cat([x[:, i::2, j::2] for i, j in ((0, 0), (1, 1), (0, 1), (1, 0))], -1),
    "of two values": lambda x: torch.cat([x[:, 0::2], (x * 2)[:, 1::2]], -1),
    "of different steps": lambda x: torch.cat([x[:, 0::2], x[:, :3]], -1),
    "along what is sliced": lambda x: torch.cat([x[:, 0::2], x[:, 1::2]], 1),
    "not to the end": lambda x: torch.cat([x[:, 0:4:2], x[:, 1:4:2]], -1),
    "beside a shift": lambda x: torch.cat([x[:, 0::2] + 1, x[:, 1::2]], -1),
}


@pytest.mark.parametrize("name", OTHER)
def test_other_slices(name: str) -> None:
    fold_checked(Net(lambda m, x: torch.sigmoid(OTHER[name](torch.tanh(x)))), (2, 6, 6, 4), config=MACS)


@pytest.mark.parametrize("norm_first", [False, True])
def test_patch_merging_of_tokens(norm_first: bool) -> None:
    """Swin's, and SwinV2's."""

    def merged(m: nn.Module, x: Tensor) -> Tensor:
        y = quarters(x.view(-1, 4, 6, 5)).view(-1, 6, 20)
        return m.r(m.n(y)) if norm_first else m.n(m.r(y))

    net = Net(merged, r=nn.Linear(20, 8, bias=False), n=nn.LayerNorm(20 if norm_first else 8))
    report = fold_checked(net, (2, 24, 5), config=MACS).report
    assert report.before.ops == 17 and report.after.ops <= 7
    assert report.after.macs == report.before.macs
