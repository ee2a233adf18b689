"""The suite that every layer of convfold passes through, and what the layer is good for."""

from __future__ import annotations

import own_layer
import torch
from torch import Tensor, nn

import convfold
from convfold.testing import check


def test_it_is_the_convolution_it_says() -> None:
    check("own_layer.blur.default")


class Net(nn.Module):
    """A convolution that blurs before it skips every second position."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return own_layer.blur(self.conv(x), 2)  # type: ignore[no-any-return]


def test_a_convolution_takes_it_in() -> None:
    result = convfold.fold(Net().eval(), torch.randn(2, 3, 65, 67), config=convfold.FoldConfig("macs"))
    assert result.report.after.macs < result.report.before.macs
