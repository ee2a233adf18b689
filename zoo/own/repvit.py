"""RepViT in training form, arXiv 2307.09283: RepVGG's block made depthwise, and two classifiers averaged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from .branches import conv_norm
from .parts import Residual, SqueezeExcite, divisible


class DepthwiseBlock(nn.Module):
    """``norm(norm(3×3(x)) + 1×1(x) + x)``, both depthwise, the 1×1 with a bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv_norm(channels, channels, 3, groups=channels)
        self.scale = nn.Conv2d(channels, channels, 1, groups=channels)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x) + self.scale(x) + x)


class AveragedClassifiers(nn.Module):
    """Batch norm and linear, one for the labels and one for a teacher's; outside of training their mean."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.labels, self.teacher = (
            nn.Sequential(nn.BatchNorm1d(channels), nn.Linear(channels, classes)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return (self.labels(x) + self.teacher(x)) / 2


def repvit(depths: Sequence[int], widths: Sequence[int], classes: int = 1000) -> nn.Sequential:
    """A stem of two strided 3×3, stages of blocks, between them half the size and the next width."""
    stem = [*conv_norm(3, widths[0] // 2, 3, 2), nn.GELU(), *conv_norm(widths[0] // 2, widths[0], 3, 2)]
    steps = _stage(widths[0], depths[0])
    for depth, (c_in, c_out) in zip(depths[1:], pairwise(widths), strict=True):
        down = [*conv_norm(c_in, c_in, 3, 2, groups=c_in), *conv_norm(c_in, c_out, 1)]
        steps += [*_block(c_in), *down, _mlp(c_out), *_stage(c_out, depth)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), AveragedClassifiers(widths[-1], classes)]
    return nn.Sequential(*stem, *steps, *head)


def repvit_m09() -> nn.Sequential:
    """RepViT-M0.9, for 224²."""
    return repvit((2, 2, 14, 2), (48, 96, 192, 384))


def _stage(channels: int, depth: int) -> list[nn.Module]:
    """Blocks, every other one with squeeze and excitation."""
    return [part for i in range(depth) for part in _block(channels, excite=i % 2 == 0)]


def _block(channels: int, excite: bool = False) -> list[nn.Module]:
    gate = [SqueezeExcite(channels, divisible(channels / 4, 8))] if excite else []
    return [DepthwiseBlock(channels), *gate, _mlp(channels)]


def _mlp(channels: int) -> Residual:
    hidden = 2 * channels
    return Residual(*conv_norm(channels, hidden, 1), nn.GELU(), *conv_norm(hidden, channels, 1))
