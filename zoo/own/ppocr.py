"""A text detector *like* PP-OCRv4's mobile one, as its files hold it (github: PaddlePaddle/PaddleOCR): no file of it.

PP-LCNetV3 with its branches merged, RSE-FPN, and of the head of differentiable binarisation (arXiv 1911.08947) what
inference needs. Written in PyTorch, with random weights: as many multiply-adds as the file that `benchmarks.peers`
reads, but not its exporter's spelling, nor its hard sigmoids of slope 0.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .parts import Residual, SqueezeExcite

#: Kernel size, channels out, stride, squeeze and excitation; a stage a row, whose last map the neck reads.
Stage = Sequence[tuple[int, int, int, bool]]
STAGES: Sequence[Stage] = (
    ((3, 48, 2, False), (3, 48, 1, False)),
    ((3, 96, 2, False), (3, 96, 1, False)),
    ((3, 192, 2, False), *[(5, 192, 1, False)] * 4),
    ((5, 384, 2, True), (5, 384, 1, True), *[(5, 384, 1, False)] * 2),
)


class LearnableAffineBlock(nn.Module):
    """``scale · x + bias``, one number each for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.bias


def separable(c_in: int, size: int, c_out: int, stride: int, excite: bool) -> list[nn.Module]:
    """Depthwise and pointwise, an affine block behind each, and where it is not strided hard swish and another."""
    depthwise = _layer(nn.Conv2d(c_in, c_in, size, stride, padding=size // 2, groups=c_in), stride)
    middle = [SqueezeExcite(c_in, c_in // 4, nn.Hardsigmoid())] if excite else []
    return [*depthwise, *middle, *_layer(nn.Conv2d(c_in, c_out, 1), 1)]


class TextDetector(nn.Module):
    """Four maps through 1×1 to the neck's width, top-down sums, 3×3 to a quarter, joined at 1/4; the head."""

    def __init__(
        self,
        stem: int = 16,
        first: int = 32,
        stages: Sequence[Stage] = STAGES,
        taps: Sequence[int] = (12, 18, 42, 360),
        width: int = 96,
    ) -> None:
        super().__init__()
        quarter = width // 4
        joined = quarter * len(taps)
        hidden = joined // 4
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            *separable(stem, 3, first, 1, False),
        )
        self.stages, self.taps = nn.ModuleList(), nn.ModuleList()
        c = first
        for stage, tap in zip(stages, taps, strict=True):
            blocks: list[nn.Module] = []
            for size, c_out, stride, excite in stage:
                blocks += separable(c, size, c_out, stride, excite)
                c = c_out
            self.stages.append(nn.Sequential(*blocks))
            self.taps.append(nn.Conv2d(c, tap, 1))
        self.laterals = nn.ModuleList(_excited(nn.Conv2d(tap, width, 1, bias=False)) for tap in taps)
        self.smooth = nn.ModuleList(_excited(nn.Conv2d(width, quarter, 3, padding=1, bias=False)) for _ in taps)
        self.head = nn.Sequential(
            nn.Conv2d(joined, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.ConvTranspose2d(hidden, hidden, 2, 2), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.ConvTranspose2d(hidden, 1, 2, 2), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        maps: list[Tensor] = []
        for stage, tap, lateral in zip(self.stages, self.taps, self.laterals, strict=True):
            x = stage(x)
            maps.append(lateral(tap(x)))
        for i in reversed(range(len(maps) - 1)):
            maps[i] = maps[i] + _enlarged(maps[i + 1], 2)
        levels = [_enlarged(smooth(y), 2**i) for i, (smooth, y) in enumerate(zip(self.smooth, maps, strict=True))]
        return self.head(torch.cat(levels[::-1], 1))


def _layer(conv: nn.Conv2d, stride: int) -> list[nn.Module]:
    act = [nn.Hardswish(), LearnableAffineBlock()] if stride == 1 else []
    return [conv, LearnableAffineBlock(), *act]


def _excited(conv: nn.Conv2d) -> nn.Sequential:
    """A residual of squeeze and excitation behind the convolution."""
    c = conv.out_channels
    return nn.Sequential(conv, Residual(SqueezeExcite(c, max(1, c // 4), nn.Hardsigmoid())))


def _enlarged(x: Tensor, times: int) -> Tensor:
    return x if times == 1 else F.interpolate(x, scale_factor=float(times), mode="nearest")
