"""U-Net, arXiv 1505.04597, padded and with batch norms, as most implementations have it."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from .branches import conv_norm
from .heads import UNetStep


class UNet(nn.Module):
    """Two 3×3 a level, a 2×2 max pool between two; back up by transposed convolutions, each beside its level's map.

    Every level has twice the channels of the one above.
    """

    def __init__(self, width: int = 64, levels: int = 5, classes: int = 2) -> None:
        super().__init__()
        widths = [width << i for i in range(levels)]
        self.levels = nn.ModuleList(
            nn.Sequential(conv_norm(c_in, c, 3), nn.ReLU(), conv_norm(c, c, 3), nn.ReLU())
            for c_in, c in pairwise((3, *widths))
        )
        self.pool = nn.MaxPool2d(2)
        self.steps = nn.ModuleList(UNetStep(c) for c in reversed(widths[:-1]))
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, *lower = self.levels
        maps = [first(x)]
        for level in lower:
            maps.append(level(self.pool(maps[-1])))
        y = maps.pop()
        for step in self.steps:
            y = step(y, maps.pop())
        return self.classifier(y)
