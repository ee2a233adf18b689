"""GhostNetV3 in training form, arXiv 2404.11202: GhostNetV2's modules (2211.12905), each convolution in branches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .branches import conv_norm, mobileone_branches
from .parts import SqueezeExcite, divisible

#: Kernel size, hidden channels, channels out, squeeze and excitation, stride.
Row = tuple[int, int, int, bool, int]


class GhostModule(nn.Module):
    """The first half of the channels by 1×1, the second from these by depthwise 3×3; a ReLU behind each if ``act``."""

    def __init__(self, c_in: int, c_out: int, act: bool) -> None:
        super().__init__()
        half = (c_out + 1) // 2
        self.primary = nn.Sequential(mobileone_branches(c_in, half, 1, k=3), nn.ReLU() if act else nn.Identity())
        self.cheap = nn.Sequential(
            mobileone_branches(half, half, 3, groups=half, k=3), nn.ReLU() if act else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.primary(x)
        return torch.cat([y, self.cheap(y)], 1)


class GatedGhostModule(GhostModule):
    """A ghost module times a gate: means over 2×2, 1×1, depthwise 1×5 and 5×1, sigmoid, nearest to full size.

    GhostNetV2's long-range attention, which V3 keeps.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, act=True)
        self.short_cut = nn.Sequential(
            *conv_norm(c_in, c_out, 1),
            nn.Conv2d(c_out, c_out, (1, 5), padding=(0, 2), groups=c_out, bias=False),
            nn.BatchNorm2d(c_out),
            nn.Conv2d(c_out, c_out, (5, 1), padding=(2, 0), groups=c_out, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.c_out = c_out

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.short_cut(F.avg_pool2d(x, 2, 2)))
        y = super().forward(x)
        return y[:, : self.c_out] * F.interpolate(gate, size=y.shape[-2:], mode="nearest")


class GhostBottleneck(nn.Module):
    """Ghost module up, depthwise where strided, squeeze and excitation where asked, ghost module down; a residual.

    Where input and output differ the residual is depthwise, then 1×1.
    """

    def __init__(self, c_in: int, row: Row, gated: bool) -> None:
        super().__init__()
        size, hidden, c_out, excite, stride = row
        steps: list[nn.Module] = [GatedGhostModule(c_in, hidden) if gated else GhostModule(c_in, hidden, act=True)]
        if stride > 1:
            steps.append(mobileone_branches(hidden, hidden, size, stride, groups=hidden, k=3))
        if excite:
            steps.append(SqueezeExcite(hidden, divisible(hidden / 4, 4), nn.Hardsigmoid()))
        self.body = nn.Sequential(*steps, GhostModule(hidden, c_out, act=False))
        self.skip = nn.Sequential()
        if c_in != c_out or stride > 1:
            self.skip.extend([*conv_norm(c_in, c_in, size, stride, groups=c_in), *conv_norm(c_in, c_out, 1)])

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.skip(x)


def ghostnetv3(rows: Sequence[Row], stem: int, head: int, classes: int = 1000) -> nn.Sequential:
    """A 3×3 stem, bottlenecks (gated from the third on), 1×1 to the last hidden width, a classifier of two layers."""
    widths = [stem, *(row[2] for row in rows)]
    blocks = [GhostBottleneck(c, row, gated=i > 1) for i, (c, row) in enumerate(zip(widths, rows, strict=False))]
    hidden = rows[-1][1]
    return nn.Sequential(
        *conv_norm(3, stem, 3, 2),
        nn.ReLU(),
        *blocks,
        *conv_norm(widths[-1], hidden, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(hidden, head, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(head, classes),
    )


def ghostnetv3_1x() -> nn.Sequential:
    """GhostNetV3 1.0×, for 224²."""
    return ghostnetv3(
        (
            (3, 16, 16, False, 1),
            (3, 48, 24, False, 2),
            (3, 72, 24, False, 1),
            (5, 72, 40, True, 2),
            (5, 120, 40, True, 1),
            (3, 240, 80, False, 2),
            (3, 200, 80, False, 1),
            (3, 184, 80, False, 1),
            (3, 184, 80, False, 1),
            (3, 480, 112, True, 1),
            (3, 672, 112, True, 1),
            (5, 672, 160, True, 2),
            (5, 960, 160, False, 1),
            (5, 960, 160, True, 1),
            (5, 960, 160, False, 1),
            (5, 960, 160, True, 1),
        ),
        stem=16,
        head=1280,
    )
