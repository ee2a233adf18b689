"""Layers on neighbouring slices, laid end to end, are one layer in groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import Net, assert_calls, fold_checked

MACS = convfold.FoldConfig("macs")


def conv(c_in: int, c_out: int, kernel: int = 3, **how: Any) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, **how)


SPLIT: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "chunks": lambda m, x: torch.cat([f(part) for f, part in zip((m.a, m.b, m.c), x.chunk(3, 1), strict=True)], 1),
    "slices": lambda m, x: torch.cat([m.a(x[:, :2]), m.b(x[:, 2:4]), m.c(x[:, 4:])], 1),
    "split": lambda m, x: torch.cat([f(p) for f, p in zip((m.a, m.b, m.c), x.split([2, 2, 2], 1), strict=True)], 1),
    "as they were before": lambda m, x: torch.cat([m.a(x[:, :2]), torch.cat([m.b(x[:, 2:4]), m.c(x[:, 4:])], 1)], 1),
}


@pytest.mark.parametrize("name", SPLIT)
def test_split_transform_merge(name: str) -> None:
    """ResNeXt's layers as they are drawn, and as they are computed."""
    net = Net(lambda m, x: F.relu(SPLIT[name](m, x)), a=conv(2, 4), b=conv(2, 4, bias=False), c=conv(2, 4))
    result = fold_checked(net, (2, 6, 7, 5), config=MACS)
    assert_calls(result, conv2d=1, relu=1)
    assert result.report.after.macs == result.report.before.macs


def test_of_a_part() -> None:
    """Channels before and behind them are read by others, or not at all."""
    net = Net(lambda m, x: F.relu(torch.cat([m.a(x[:, 1:3]), m.b(x[:, 3:5])], 1)), a=conv(2, 3), b=conv(2, 3))
    assert_calls(fold_checked(net, (2, 6, 7, 5), config=MACS), slice=1, conv2d=1, relu=1)


APART: dict[str, tuple[Callable[[Any, Tensor], Tensor], dict[str, nn.Module]]] = {
    "of different widths": (
        lambda m, x: torch.cat([m.a(x[:, :2]), m.b(x[:, 2:])], 1), {"a": conv(2, 3), "b": conv(4, 3)}
    ),
    "of different kernels": (
        lambda m, x: torch.cat([m.a(x[:, :3]), m.b(x[:, 3:])], 1), {"a": conv(3, 3), "b": conv(3, 3, 5)}
    ),
    "the other way round": (
        lambda m, x: torch.cat([m.a(x[:, 3:]), m.b(x[:, :3])], 1), {"a": conv(3, 3), "b": conv(3, 3)}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_what_is_dearer_together_stays_apart(name: str) -> None:
    function, layers = APART[name]
    result = fold_checked(Net(lambda m, x: F.relu(function(m, x)), **layers), (2, 6, 7, 5), config=MACS)
    assert result.report.after.macs == result.report.before.macs
