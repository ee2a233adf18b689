"""RepVGG in training form, arXiv 2101.03697."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from .branches import Branches, classifier, conv_norm, identity_norm


def repvgg_block(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    """3×3 and 1×1 with batch norms, and a batch norm alone where the shapes allow, summed; then ReLU."""
    dense, pointwise = conv_norm(c_in, c_out, 3, stride), conv_norm(c_in, c_out, 1, stride)
    return nn.Sequential(Branches(dense, pointwise, *identity_norm(c_in, c_out, stride)), nn.ReLU())


def repvgg_stack(n: int, channels: int = 64) -> nn.Sequential:
    """``n`` blocks of one width, none of them strided."""
    return nn.Sequential(*[repvgg_block(channels, channels) for _ in range(n)])


def repvgg(depths: tuple[int, ...], widths: tuple[int, ...], classes: int = 1000) -> nn.Sequential:
    """Stages of blocks, the first of each with stride 2, then a classifier."""
    blocks = [
        repvgg_block(c_in if first else c_out, c_out, 2 if first else 1)
        for depth, (c_in, c_out) in zip(depths, pairwise((3, *widths)), strict=True)
        for first in [True] + [False] * (depth - 1)
    ]
    return nn.Sequential(*blocks, *classifier(widths[-1], classes))


def repvgg_a0() -> nn.Sequential:
    """22 blocks, 44 convolutions, for 224²: depths 1, 2, 4, 14, 1, widths of a = 0.75 and b = 2.5."""
    return repvgg((1, 2, 4, 14, 1), (48, 48, 96, 192, 1280))
