"""MobileOne in training form, arXiv 2206.04040."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from .branches import classifier, mobileone_branches


def mobileone_layer(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1, k: int = 4) -> nn.Sequential:
    return nn.Sequential(mobileone_branches(c_in, c_out, size, stride, groups, k), nn.ReLU())


def mobileone_block(c_in: int, c_out: int, stride: int = 1, k: int = 4) -> nn.Sequential:
    """Depthwise 3×3, then pointwise."""
    depthwise = mobileone_layer(c_in, c_in, 3, stride, groups=c_in, k=k)
    return nn.Sequential(depthwise, mobileone_layer(c_in, c_out, 1, k=k))


def mobileone(
    depths: tuple[int, ...], widths: tuple[int, ...], strides: tuple[int, ...], classes: int = 1000
) -> nn.Sequential:
    """A dense stem of ``widths[0]`` channels with one 3×3 branch, stages of blocks, a classifier."""
    blocks = [
        mobileone_block(c_in if first else c_out, c_out, stride if first else 1)
        for depth, stride, (c_in, c_out) in zip(depths, strides, pairwise(widths), strict=True)
        for first in [True] + [False] * (depth - 1)
    ]
    return nn.Sequential(mobileone_layer(3, widths[0], 3, 2, k=1), *blocks, *classifier(widths[-1], classes))


def mobileone_s0() -> nn.Sequential:
    """For 224², k = 4."""
    return mobileone((2, 8, 5, 5, 1), (48, 48, 128, 256, 256, 1024), (2, 2, 2, 1, 2))
