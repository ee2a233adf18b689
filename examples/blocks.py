"""Blocks that train with many branches and are one convolution: a field guide, in ordinary layers.

None has a way to deploy itself, and none needs one: ``convfold.collapse(block, x)`` trains it as the one convolution,
``convfold.fold(model, x)`` deploys it. ``norm=None`` leaves norms out; with them a branch is collapsed once they are
frozen. Each is what its paper adds up; what follows it there (a norm, a non-linearity) is the network's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Makes a norm of so many channels.
Norm = Callable[[int], nn.Module] | None


class Summed(nn.Module):
    """What its branches give, added up."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.branches
        y: Tensor = first(x)
        for branch in others:
            y = y + branch(x)
        return y


class Scaled(nn.Module):
    """A branch times a number a channel, which is learnt: OREPA's in place of a norm."""

    def __init__(self, branch: nn.Module, channels: int) -> None:
        super().__init__()
        self.branch = branch
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.branch(x)
        return y * self.scale


def conv(
    c_in: int, c_out: int, size: int | tuple[int, int], norm: Norm, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution of the image's size, and its norm."""
    layer = nn.Conv2d(c_in, c_out, size, 1, "same", dilation, groups, bias=norm is None)
    return nn.Sequential(layer, *([] if norm is None else [norm(c_out)]))


def acnet(c_in: int, c_out: int, norm: Norm = nn.BatchNorm2d) -> nn.Module:
    """3×3, 1×3 and 3×1: ACNet, arXiv 1908.03930."""
    return Summed(*(conv(c_in, c_out, size, norm) for size in ((3, 3), (1, 3), (3, 1))))


def repvgg(channels: int, norm: Norm = nn.BatchNorm2d) -> nn.Module:
    """3×3, 1×1 and the identity: RepVGG, arXiv 2101.03697."""
    identity = nn.Identity() if norm is None else norm(channels)
    return Summed(conv(channels, channels, 3, norm), conv(channels, channels, 1, norm), identity)


def mobileone(channels: int, times: int = 4, groups: int = 1, norm: Norm = nn.BatchNorm2d) -> nn.Module:
    """The 3×3 several times over, 1×1 and the identity: MobileOne, arXiv 2206.04040."""
    many = [conv(channels, channels, 3, norm, groups=groups) for _ in range(times)]
    identity = nn.Identity() if norm is None else norm(channels)
    return Summed(*many, conv(channels, channels, 1, norm, groups=groups), identity)


def replk(channels: int, large: int = 31, small: int = 5, norm: Norm = nn.BatchNorm2d) -> nn.Module:
    """A large depthwise kernel and a small one: RepLKNet, arXiv 2203.06717."""
    return Summed(*(conv(channels, channels, size, norm, groups=channels) for size in (large, small)))


def unireplk(channels: int, large: int = 13, norm: Norm = nn.BatchNorm2d) -> nn.Module:
    """A large depthwise kernel and small ones with gaps, as wide together: UniRepLKNet, arXiv 2311.15599."""
    gaps = ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5))
    small = [conv(channels, channels, size, norm, groups=channels, dilation=gap) for size, gap in gaps]
    return Summed(conv(channels, channels, large, norm, groups=channels), *small)


def dbb(c_in: int, c_out: int, size: int = 3, norm: Norm = nn.BatchNorm2d) -> nn.Module:
    """1×1, k×k, 1×1 then k×k, 1×1 then mean: Diverse Branch Block, arXiv 2103.13425.

    The first layer of a pair is padded, so that the second sees around the image what the first makes of zeros.
    """

    def padded(c: int) -> list[nn.Module]:
        layer = nn.Conv2d(c_in, c, 1, padding=size // 2, bias=norm is None)
        return [layer, *([] if norm is None else [norm(c)])]

    def last() -> list[nn.Module]:
        return [] if norm is None else [norm(c_out)]

    series = nn.Sequential(*padded(c_in), nn.Conv2d(c_in, c_out, size, bias=norm is None), *last())
    mean = nn.Sequential(*padded(c_out), nn.AvgPool2d(size, 1), *last())
    return Summed(conv(c_in, c_out, 1, norm), conv(c_in, c_out, size, norm), series, mean)


def orepa(c_in: int, c_out: int, size: int = 3) -> nn.Module:
    """k×k, 1×1, 1×1 then k×k, 1×1 then mean, depthwise then 1×1, each scaled: OREPA, arXiv 2204.00826.

    A norm follows the sum, in the network.
    """
    pad = size // 2
    first = nn.Conv2d(c_in, c_in, 1, padding=pad, bias=False)
    branches = [
        nn.Conv2d(c_in, c_out, size, padding=pad, bias=False),
        nn.Conv2d(c_in, c_out, 1, bias=False),
        nn.Sequential(first, nn.Conv2d(c_in, c_out, size, bias=False)),
        nn.Sequential(nn.Conv2d(c_in, c_out, 1, padding=pad, bias=False), nn.AvgPool2d(size, 1)),
        nn.Sequential(
            nn.Conv2d(c_in, 8 * c_in, size, padding=pad, groups=c_in, bias=False),
            nn.Conv2d(8 * c_in, c_out, 1, bias=False),
        ),
    ]
    return Summed(*(Scaled(branch, c_out) for branch in branches))


_SOBEL = ((1, 0, -1), (2, 0, -2), (1, 0, -1))
_LAPLACE = ((0, 1, 0), (1, -4, 1), (0, 1, 0))


class Edges(nn.Module):
    """A padded 1×1, then one fixed 3×3 mask in every channel with a learnt scale and bias."""

    def __init__(self, c_in: int, c_out: int, mask: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.mix = nn.Conv2d(c_in, c_out, 1, padding=1)
        self.scale = nn.Parameter(torch.randn(c_out, 1, 1, 1) * 1e-3)
        self.bias = nn.Parameter(torch.randn(c_out) * 1e-3)
        self.mask = nn.Buffer(torch.tensor(mask, dtype=torch.float32)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.mix(x), self.scale * self.mask, self.bias, groups=len(self.bias))


def ecb(c_in: int, c_out: int, ratio: float = 2.0) -> nn.Module:
    """3×3, 1×1 then 3×3, and the edges in two directions and in all: ECBSR, doi 10.1145/3474085.3475291."""
    hidden = int(c_out * ratio)
    series = nn.Sequential(nn.Conv2d(c_in, hidden, 1, padding=1), nn.Conv2d(hidden, c_out, 3))
    masks = (_SOBEL, tuple(zip(*_SOBEL, strict=True)), _LAPLACE)
    return Summed(nn.Conv2d(c_in, c_out, 3, padding=1), series, *(Edges(c_in, c_out, mask) for mask in masks))


def sesr(c_in: int, c_out: int, hidden: int = 256, size: int = 3) -> nn.Module:
    """k×k to many channels and 1×1 back, and the identity where it fits: SESR, arXiv 2103.09404."""
    pair = nn.Sequential(nn.Conv2d(c_in, hidden, size, padding=size // 2, bias=False), nn.Conv2d(hidden, c_out, 1))
    return Summed(pair, nn.Identity()) if c_in == c_out else pair


def conv3xc(c_in: int, c_out: int, gain: int = 2) -> nn.Module:
    """1×1 up, 3×3, 1×1 down, and 1×1 beside: SPAN's Conv3XC, arXiv 2311.12770."""
    series = nn.Sequential(
        nn.Conv2d(c_in, c_in * gain, 1, padding=1),
        nn.Conv2d(c_in * gain, c_out * gain, 3),
        nn.Conv2d(c_out * gain, c_out, 1),
    )
    return Summed(series, nn.Conv2d(c_in, c_out, 1))
