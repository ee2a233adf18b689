"""DenseNet-BC, arXiv 1608.06993: every layer reads the concat of all before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DenseBlock(nn.Module):
    """``depth`` layers of ``growth`` new channels each: norm, ReLU, 1×1 to four times as many, norm, ReLU, 3×3."""

    def __init__(self, c_in: int, depth: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                *_norm_relu(c), nn.Conv2d(c, 4 * growth, 1, bias=False),
                *_norm_relu(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
            )
            for c in range(c_in, c_in + depth * growth, growth)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, 1)))
        return torch.cat(maps, 1)


def transition(channels: int) -> nn.Sequential:
    """Norm, ReLU, 1×1 to half the channels, average pool to half the size."""
    return nn.Sequential(*_norm_relu(channels), nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2))


def densenet(depths: Sequence[int], growth: int, classes: int = 1000) -> nn.Sequential:
    """A 7×7 and a max pool, dense blocks with a transition between two, a classifier."""
    c = 2 * growth
    steps: list[nn.Module] = [nn.Conv2d(3, c, 7, 2, padding=3, bias=False), *_norm_relu(c), nn.MaxPool2d(3, 2, 1)]
    for i, depth in enumerate(depths):
        if i > 0:
            steps.append(transition(c))
            c //= 2
        steps.append(DenseBlock(c, depth, growth))
        c += depth * growth
    return nn.Sequential(*steps, *_norm_relu(c), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes))


def densenet_121() -> nn.Sequential:
    """For 224²."""
    return densenet((6, 12, 24, 16), growth=32)


def _norm_relu(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU()
