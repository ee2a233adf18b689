"""A detector like YOLOv5 (github: ultralytics/yolov5): backbone, the neck's way up and down, three raw outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .heads import C3, conv_norm_silu


class Pools(nn.Module):
    """SPPF: 1×1 to half, three 5×5 max pools in series, all four maps side by side; 1×1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = conv_norm_silu(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, padding=2)
        self.join = conv_norm_silu(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.reduce(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.join(torch.cat(maps, 1))


class Detector(nn.Module):
    """Images of a multiple of 32; ``widths`` at 1/2 to 1/32 of the size, ``depths`` of the four stages below the first.

    Raw outputs at 1/8, 1/16 and 1/32: ``anchors`` boxes a position, each with a score and ``classes``.
    """

    def __init__(self, widths: Sequence[int], depths: Sequence[int], classes: int = 80, anchors: int = 3) -> None:
        super().__init__()
        c2, c4, c8, c16, c32 = widths
        d4, d8, d16, d32 = depths
        self.small = nn.Sequential(conv_norm_silu(3, c2, 6, 2), *_stage(c2, c4, d4), *_stage(c4, c8, d8))
        self.middle = nn.Sequential(*_stage(c8, c16, d16))
        self.large = nn.Sequential(*_stage(c16, c32, d32), Pools(c32))
        self.reduce32, self.reduce16 = conv_norm_silu(c32, c16), conv_norm_silu(c16, c8)
        self.up16, self.up8 = C3(2 * c16, c16, d4), C3(2 * c8, c8, d4)
        self.half8, self.half16 = conv_norm_silu(c8, c8, 3, 2), conv_norm_silu(c16, c16, 3, 2)
        self.down16, self.down32 = C3(2 * c8, c16, d4), C3(2 * c16, c32, d4)
        self.heads = nn.ModuleList(nn.Conv2d(c, anchors * (5 + classes), 1) for c in (c8, c16, c32))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        p8 = self.small(x)
        p16 = self.middle(p8)
        top = self.reduce32(self.large(p16))
        n16 = self.reduce16(self.up16(torch.cat([_twice(top), p16], 1)))
        n8 = self.up8(torch.cat([_twice(n16), p8], 1))
        m16 = self.down16(torch.cat([self.half8(n8), n16], 1))
        m32 = self.down32(torch.cat([self.half16(m16), top], 1))
        return tuple(head(y) for head, y in zip(self.heads, (n8, m16, m32), strict=True))


def yolo_small() -> Detector:
    """Of the small one's widths and depths, for 640²."""
    return Detector((32, 64, 128, 256, 512), (1, 2, 3, 1))


def _stage(c_in: int, c_out: int, depth: int) -> tuple[nn.Module, nn.Module]:
    """A strided 3×3 and a block."""
    return conv_norm_silu(c_in, c_out, 3, 2), C3(c_out, c_out, depth, short=True)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
