"""EDSR, super-resolution without batch norms, arXiv 1707.02921: its upsampling tail has no non-linearity."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, scale: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(channels, channels), nn.ReLU(), _conv(channels, channels))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) * self.scale


class MeanShift(nn.Conv2d):
    """Takes the mean colour off, or (``sign`` 1) puts it back: a 1×1 convolution with fixed weights."""

    def __init__(self, sign: int, mean: tuple[float, ...] = (0.4488, 0.4371, 0.4040)) -> None:
        super().__init__(3, 3, 1)
        self.weight.data = torch.eye(3).reshape(3, 3, 1, 1)
        self.bias.data = sign * torch.tensor(mean)  # type: ignore[union-attr]


class EDSR(nn.Module):
    """``EDSR-baseline``: 16 blocks of 64 channels. ``scale`` 2 or 4, in steps of 2."""

    def __init__(self, blocks: int = 16, channels: int = 64, scale: int = 4) -> None:
        super().__init__()
        self.sub_mean, self.add_mean = MeanShift(-1), MeanShift(1)
        self.head = _conv(3, channels)
        self.body = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)), _conv(channels, channels))
        self.tail = edsr_tail(channels, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.sub_mean(x))
        y: Tensor = self.add_mean(self.tail(x + self.body(x)))
        return y


def edsr_tail(channels: int = 64, scale: int = 4) -> nn.Sequential:
    """Convolution and shuffle, once for every doubling, and a convolution to colours: all padded by 1."""
    steps: list[nn.Module] = []
    for _ in range(scale.bit_length() - 1):
        steps += [_conv(channels, 4 * channels), nn.PixelShuffle(2)]
    return nn.Sequential(*steps, _conv(channels, 3))


def _conv(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)
