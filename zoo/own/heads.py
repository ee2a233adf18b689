"""Heads, necks and decoder steps as they are written in segmentation, detection and generation: affine between resizes.

What most of them spend goes into convolutions behind an upsampling, a pool or a concat. None is a whole network: the
maps they read are their inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .densenet import transition
from .parts import Residual

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_UPWARD = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_SMOOTH = {2: "bilinear", 3: "trilinear"}


class SemanticFPN(nn.Module):
    """Maps of falling size, 1×1 laterals, top-down sums, 1×1 and bilinear to the largest, joined; a 1×1 classifier.

    The pyramid of arXiv 1612.03144 and the all-levels head of 1901.02446, with a 1×1 where those smooth by a 3×3.
    ``concat``: the levels are laid side by side before the classifier, else they are summed.
    """

    def __init__(self, c_in: Sequence[int], channels: int, hidden: int, classes: int, concat: bool = False) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in c_in)
        self.levels = nn.ModuleList(nn.Conv2d(channels, hidden, 1) for _ in c_in)
        self.classifier = nn.Conv2d(hidden * len(c_in) if concat else hidden, classes, 1)
        self.concat = concat

    def forward(self, *maps: Tensor) -> Tensor:
        pyramid = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for i in reversed(range(len(pyramid) - 1)):
            pyramid[i] = pyramid[i] + F.interpolate(pyramid[i + 1], size=pyramid[i].shape[2:], mode="nearest")
        size = maps[0].shape[2:]
        levels = [
            F.interpolate(level(x), size=size, mode="bilinear", align_corners=False)
            for level, x in zip(self.levels, pyramid, strict=True)
        ]
        return self.classifier(torch.cat(levels, 1) if self.concat else sum(levels[1:], levels[0]))


class PyramidPooling(nn.Module):
    """Means over 1, 2, 3 and 6 bins an axis, 1×1, bilinear back, beside the map itself; 1×1, norm, ReLU.

    PSPNet's module, arXiv 1612.01105, with no activation in the branches, as in its first ports to PyTorch.
    """

    def __init__(self, c_in: int, c_out: int, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        c_branch = c_in // len(bins)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(n), nn.Conv2d(c_in, c_branch, 1, bias=False)) for n in bins
        )
        self.bottleneck = nn.Sequential(
            nn.Conv2d(c_in + c_branch * len(bins), c_out, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        priors = [F.interpolate(branch(x), size, mode="bilinear", align_corners=True) for branch in self.branches]
        return self.bottleneck(torch.cat([x, *priors], 1))


class DenseNetTransitions(nn.Module):
    """Transitions of DenseNet, each on a map of its own. arXiv 1608.06993."""

    def __init__(self, *channels: int) -> None:
        super().__init__()
        self.transitions = nn.ModuleList(transition(c) for c in channels)

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        return tuple(transition(x) for transition, x in zip(self.transitions, maps, strict=True))


class Upsample(nn.Module):
    """Every position twice an axis, then 3×3: `diffusers` calls it Upsample2D."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def diffusion_decoder(widths: Sequence[int], c_out: int = 3, groups: int = 32) -> nn.Sequential:
    """The upward path of a latent diffusion model's decoder without its residual blocks: arXiv 2112.10752.

    One `Upsample` a width, each followed by group norm, SiLU and a 3×3 to the next width, the last to ``c_out``.
    """
    stages: list[nn.Module] = []
    for c, following in pairwise((*widths, c_out)):
        norm = nn.GroupNorm(min(groups, c // 2), c, eps=1e-6)
        stages += [Upsample(c), norm, nn.SiLU(), nn.Conv2d(c, following, 3, padding=1)]
    return nn.Sequential(*stages)


class UNetStep(nn.Module):
    """The lower map, brought to twice its size, beside the skip; two 3×3 with norms: arXiv 1505.04597, 1606.06650.

    ``up`` says how: a transposed convolution to half the channels, a smooth resize with a 1×1 to half the channels, or
    the resize alone.
    """

    def __init__(self, channels: int, dims: int = 2, up: str = "transposed") -> None:
        super().__init__()
        smooth = nn.Upsample(scale_factor=2, mode=_SMOOTH[dims], align_corners=up == "resize")
        c_up = 2 * channels if up == "resize" else channels
        match up:
            case "transposed":
                self.up: nn.Module = _UPWARD[dims](2 * channels, channels, 2, stride=2)
            case "resize-1x1":
                self.up = nn.Sequential(smooth, _CONV[dims](2 * channels, channels, 1))
            case "resize":
                self.up = smooth
            case _:
                raise ValueError(up)
        self.convs = nn.Sequential(
            *_conv_norm(dims, c_up + channels, channels), nn.ReLU(), *_conv_norm(dims, channels, channels), nn.ReLU()
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.convs(torch.cat([skip, self.up(x)], 1))


def _conv_norm(dims: int, c_in: int, c_out: int) -> tuple[nn.Module, nn.Module]:
    return _CONV[dims](c_in, c_out, 3, padding=1, bias=False), _NORM[dims](c_out)


def conv_norm_silu(c_in: int, c_out: int, size: int = 1, stride: int = 1) -> nn.Sequential:
    """As YOLOv5 has it; an even kernel is one that halves the size."""
    conv = nn.Conv2d(c_in, c_out, size, stride, padding=(size - 1) // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out, eps=1e-3), nn.SiLU())


class C3(nn.Module):
    """YOLOv5's cross-stage block: two 1×1 read the input, one goes through bottlenecks; a 1×1 joins them.

    ``short``: each bottleneck adds what it reads.
    """

    def __init__(self, c_in: int, c_out: int, depth: int = 1, short: bool = False) -> None:
        super().__init__()
        hidden = c_out // 2
        self.through, self.past = conv_norm_silu(c_in, hidden), conv_norm_silu(c_in, hidden)
        body = Residual if short else nn.Sequential
        self.bottleneck = nn.Sequential(
            *(body(conv_norm_silu(hidden, hidden), conv_norm_silu(hidden, hidden, 3)) for _ in range(depth))
        )
        self.join = conv_norm_silu(2 * hidden, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([self.bottleneck(self.through(x)), self.past(x)], 1))


class DetectorNeck(nn.Module):
    """The way up in YOLOv5's neck: 1×1, every position twice, beside the lateral, a `C3`; once a lateral."""

    def __init__(self, c_top: int, *c_laterals: int) -> None:
        super().__init__()
        steps = list(pairwise((c_top, *c_laterals)))
        self.reduce = nn.ModuleList(conv_norm_silu(c_in, c) for c_in, c in steps)
        self.blocks = nn.ModuleList(C3(2 * c, c) for _, c in steps)

    def forward(self, top: Tensor, *laterals: Tensor) -> tuple[Tensor, ...]:
        maps = [top]
        for reduce, block, lateral in zip(self.reduce, self.blocks, laterals, strict=True):
            up = F.interpolate(reduce(maps[-1]), scale_factor=2.0, mode="nearest")
            maps.append(block(torch.cat([up, lateral], 1)))
        return tuple(maps[1:])


Shapes = Sequence[tuple[int, ...]]


def _pyramid(height: int, width: int, *channels: int) -> Shapes:
    """Of maps each half as high and wide as the one before."""
    return [(1, c, height >> i, width >> i) for i, c in enumerate(channels)]


#: Builder and input shapes by name, at the sizes the papers use them.
HEADS: Mapping[str, tuple[Callable[[], nn.Module], Shapes]] = {
    "densenet-transition": (
        lambda: DenseNetTransitions(256, 512, 1024),
        [(1, 256, 56, 56), (1, 512, 28, 28), (1, 1024, 14, 14)],
    ),
    "detector-neck": (
        lambda: DetectorNeck(1024, 512, 256),
        [(1, 1024, 20, 20), (1, 512, 40, 40), (1, 256, 80, 80)],
    ),
    "diffusion-decoder": (lambda: diffusion_decoder((512, 256, 128)), [(1, 512, 32, 32)]),
    "fpn-head": (lambda: SemanticFPN([256] * 4, 256, 128, 150), _pyramid(128, 128, 256, 256, 256, 256)),
    "fpn-head-concat": (
        lambda: SemanticFPN([256] * 4, 256, 128, 150, concat=True),
        _pyramid(128, 128, 256, 256, 256, 256),
    ),
    "pyramid-pooling": (lambda: PyramidPooling(512, 512), [(1, 512, 64, 64)]),
    "pyramid-pooling-small": (lambda: PyramidPooling(64, 64), [(1, 64, 24, 26)]),
    "unet-3d-step": (lambda: UNetStep(32, 3), [(1, 64, 16, 16, 16), (1, 32, 32, 32, 32)]),
    "unet-3d-step-trilinear": (lambda: UNetStep(32, 3, "resize"), [(1, 64, 16, 16, 16), (1, 32, 32, 32, 32)]),
    "unet-step": (lambda: UNetStep(64), [(1, 128, 64, 64), (1, 64, 128, 128)]),
    "unet-step-1x1": (lambda: UNetStep(64, 2, "resize-1x1"), [(1, 128, 64, 64), (1, 64, 128, 128)]),
    "tiny-densenet-transition": (lambda: DenseNetTransitions(8, 12), [(1, 8, 11, 14), (1, 12, 6, 8)]),
    "tiny-detector-neck": (lambda: DetectorNeck(16, 12, 8), [(1, 16, 5, 6), (1, 12, 10, 12), (1, 8, 20, 24)]),
    "tiny-diffusion-decoder": (lambda: diffusion_decoder((12, 8), groups=2), [(1, 12, 5, 7)]),
    "tiny-fpn-head": (lambda: SemanticFPN([8, 12, 12, 16], 8, 6, 5), _pyramid(16, 24, 8, 12, 12, 16)),
    "tiny-fpn-head-concat": (
        lambda: SemanticFPN([8, 12, 12, 16], 8, 6, 5, concat=True),
        _pyramid(16, 24, 8, 12, 12, 16),
    ),
    "tiny-pyramid-pooling": (lambda: PyramidPooling(16, 12), [(1, 16, 13, 16)]),
    "tiny-unet-3d-step": (lambda: UNetStep(4, 3), [(1, 8, 3, 4, 5), (1, 4, 6, 8, 10)]),
    "tiny-unet-3d-step-trilinear": (lambda: UNetStep(4, 3, "resize"), [(1, 8, 3, 4, 5), (1, 4, 6, 8, 10)]),
    "tiny-unet-step": (lambda: UNetStep(6), [(1, 12, 5, 7), (1, 6, 10, 14)]),
    "tiny-unet-step-1x1": (lambda: UNetStep(6, 2, "resize-1x1"), [(1, 12, 5, 7), (1, 6, 10, 14)]),
}
