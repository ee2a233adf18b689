"""Means and sums over axes: none of what is left, where all are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import convfold
from tests.folding import double, noise, randomised


class Reduced(nn.Module):
    def __init__(self, mean: bool) -> None:
        super().__init__()
        self.mean, self.conv = mean, nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, axes = self.conv(x), (0, 1, 2, 3)
        return y.mean(axes) if self.mean else y.sum(axes)


@pytest.mark.parametrize("mean", [False, True])
def test_over_all_axes_named_one_by_one(mean: bool) -> None:
    net, x = double(randomised(Reduced(mean))), noise(2, 3, 7, 6)
    result = convfold.fold(net, x)
    torch.testing.assert_close(result.module(x), net(x))
