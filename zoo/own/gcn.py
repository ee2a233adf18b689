"""Global Convolutional Network, segmentation by large separable kernels, arXiv 1703.02719, on a ResNet (1512.03385)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from .branches import conv_norm
from .parts import Residual


class Bottleneck(nn.Module):
    """ResNet's: 1×1 to a quarter, 3×3, 1×1; a 1×1 in the short cut where the shape changes; ReLU behind the sum."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        c = c_out // 4
        self.body = nn.Sequential(
            conv_norm(c_in, c, 1), nn.ReLU(), conv_norm(c, c, 3, stride), nn.ReLU(), conv_norm(c, c_out, 1)
        )
        same = c_in == c_out and stride == 1
        self.short = nn.Identity() if same else conv_norm(c_in, c_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.short(x) + self.body(x))


class LargeKernel(nn.Module):
    """k×1 then 1×k, and 1×k then k×1, summed; no activation anywhere: "GCN" in the paper."""

    def __init__(self, c_in: int, c_out: int, k: int) -> None:
        super().__init__()
        self.down, self.along = (
            nn.Sequential(
                nn.Conv2d(c_in, c_out, size, padding=(size[0] // 2, size[1] // 2)),
                nn.Conv2d(c_out, c_out, size[::-1], padding=(size[1] // 2, size[0] // 2)),
            )
            for size in ((k, 1), (1, k))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.down(x) + self.along(x)


def boundary(channels: int) -> Residual:
    """Boundary refinement: 3×3, ReLU, 3×3 in a residual."""
    return Residual(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1))


class GCN(nn.Module):
    """Scores of each of a ResNet's stages by large kernels; brought to twice the size, added and refined, to full."""

    def __init__(self, depths: Sequence[int], widths: Sequence[int], classes: int = 21, k: int = 15) -> None:
        super().__init__()
        stem = widths[0] // 4
        self.stem = nn.Sequential(conv_norm(3, stem, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList(
            nn.Sequential(
                Bottleneck(c_in, c_out, 2 if i else 1), *(Bottleneck(c_out, c_out, 1) for _ in range(depth - 1))
            )
            for i, (depth, (c_in, c_out)) in enumerate(zip(depths, pairwise((stem, *widths)), strict=True))
        )
        self.scores = nn.ModuleList(nn.Sequential(LargeKernel(c, classes, k), boundary(classes)) for c in widths)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(classes, classes, 4, 2, padding=1) for _ in range(len(widths) + 1))
        self.refined = nn.ModuleList(boundary(classes) for _ in range(len(widths) + 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        scores: list[Tensor] = []
        for stage, score in zip(self.stages, self.scores, strict=True):
            x = stage(x)
            scores.append(score(x))
        y = scores.pop()
        for up, refine in zip(self.ups, self.refined, strict=True):
            y = up(y)
            y = refine(y + scores.pop() if scores else y)
        return y


def gcn_50() -> GCN:
    """On ResNet-50, for 21 classes at 512²."""
    return GCN((3, 4, 6, 3), (256, 512, 1024, 2048))
