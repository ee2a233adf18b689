"""PoolFormer, arXiv 2111.11418: tokens are mixed by ``pool(y) − y``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from .parts import LayerScale, Residual


class Pooling(nn.Module):
    """``pool(y) − y``: the mean over 3×3, without what the padding adds at the border, less the value itself."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(size, 1, padding=size // 2, count_include_pad=False)

    def forward(self, y: Tensor) -> Tensor:
        return self.pool(y) - y


def poolformer_block(channels: int = 64, ratio: int = 4) -> nn.Sequential:
    """Two residuals: norm, pooling, scale; and norm, 1×1 up, GELU, 1×1 down, scale."""
    hidden = ratio * channels
    mlp = nn.Conv2d(channels, hidden, 1), nn.GELU(), nn.Conv2d(hidden, channels, 1)
    return nn.Sequential(
        Residual(_norm(channels), Pooling(), LayerScale(channels)),
        Residual(_norm(channels), *mlp, LayerScale(channels)),
    )


def poolformer(depths: Sequence[int], widths: Sequence[int], classes: int = 1000) -> nn.Sequential:
    """A 7×7 with stride 4, stages of blocks, a 3×3 with stride 2 before each further one, a classifier."""
    downward = [nn.Conv2d(3, widths[0], 7, 4, padding=2)]
    downward += [nn.Conv2d(c_in, c_out, 3, 2, padding=1) for c_in, c_out in pairwise(widths)]
    stages = [
        part
        for down, depth, c in zip(downward, depths, widths, strict=True)
        for part in (down, *(poolformer_block(c) for _ in range(depth)))
    ]
    last = widths[-1]
    return nn.Sequential(*stages, _norm(last), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))


def poolformer_s12() -> nn.Sequential:
    """PoolFormer-S12, for 224²."""
    return poolformer((2, 2, 6, 2), (64, 128, 320, 512))


def _norm(channels: int) -> nn.GroupNorm:
    """Over all channels and positions of an image."""
    return nn.GroupNorm(1, channels)
