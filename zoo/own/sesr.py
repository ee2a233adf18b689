"""SESR, super-resolution from collapsible linear blocks, arXiv 2103.09404."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class CollapsibleLinear(nn.Module):
    """k×k to many channels, 1×1 back, nothing in between; ``short`` adds the input to the result."""

    def __init__(self, c_in: int, c_out: int, size: int, hidden: int, short: bool = False) -> None:
        super().__init__()
        self.expand = nn.Conv2d(c_in, hidden, size, padding=size // 2)
        self.project = nn.Conv2d(hidden, c_out, 1)
        self.short = short

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.expand(x))
        return x + y if self.short else y


class SESR(nn.Module):
    """One luminance channel in, ``scale`` times the height and width out.

    The short residuals are inside the linear blocks, before the activation. The long ones skip all middle
    blocks, and the whole network: the input is added to each of the ``scale²`` phases before the shuffle.
    """

    def __init__(self, blocks: int = 5, channels: int = 16, hidden: int = 256, scale: int = 2) -> None:
        super().__init__()
        self.first = nn.Sequential(CollapsibleLinear(1, channels, 5, hidden), nn.PReLU(channels))
        self.middle = nn.Sequential(
            *[
                nn.Sequential(CollapsibleLinear(channels, channels, 3, hidden, short=True), nn.PReLU(channels))
                for _ in range(blocks)
            ]
        )
        self.last = CollapsibleLinear(channels, scale**2, 5, hidden)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        features = self.first(x)
        y = self.middle(features) + features
        return F.pixel_shuffle(self.last(y) + x, self.scale)
