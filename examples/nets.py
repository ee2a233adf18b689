"""A network to try the command line on: ``cd examples && convfold fold nets:small -o small.pt2``."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """RepVGG's (arXiv 2101.03697): 3×3, 1×1 and identity, each normalised, summed, then ReLU."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out))
        self.pointwise = nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out))
        self.identity = nn.BatchNorm2d(c_in) if c_in == c_out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x) + self.pointwise(x)
        return torch.relu(y if self.identity is None else y + self.identity(x))


def small() -> tuple[nn.Module, Tensor]:
    """Four blocks, a padded pair that cannot fold, a tail that upsamples; and an image to call it with."""
    torch.manual_seed(0)
    blocks = [Block(3, 32), *(Block(32, 32) for _ in range(3))]
    pair = [nn.Conv2d(32, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
    tail = [nn.Conv2d(16, 64, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(16, 3, 1)]
    net = nn.Sequential(*blocks, *pair, *tail)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):  # as if trained: fresh statistics do nothing
            assert m.running_mean is not None and m.running_var is not None
            nn.init.normal_(m.running_mean, std=0.3)
            nn.init.uniform_(m.running_var, 0.5, 2.0)
    return net.eval(), torch.randn(1, 3, 64, 64)
