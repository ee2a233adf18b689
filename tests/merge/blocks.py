"""Blocks as people write them, affine in eval mode, and what they must become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.folding import Net, double, noise

CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class RepVGG(nn.Module):
    """3×3, 1×1 and identity, each with a norm: the block of RepVGG without its ReLU."""

    def __init__(self, c: int = 4, dims: int = 2) -> None:
        super().__init__()
        self.dense = nn.Sequential(CONV[dims](c, c, 3, padding=1, bias=False), NORM[dims](c))
        self.one = nn.Sequential(CONV[dims](c, c, 1, bias=False), NORM[dims](c))
        self.norm = NORM[dims](c)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dense(x) + self.one(x) + self.norm(x)
        return y


class DiverseBranch(nn.Module):
    """3×3; 1×1 then 3×3; 1×1 then average pool; 1×1: DBB with the paddings that make it exact."""

    def __init__(self, c: int = 3, o: int = 4) -> None:
        super().__init__()
        self.origin = nn.Sequential(nn.Conv2d(c, o, 3, padding=1, bias=False), nn.BatchNorm2d(o))
        self.wide = nn.Sequential(nn.Conv2d(c, 6, 1, bias=False), nn.Conv2d(6, o, 3, padding=1), nn.BatchNorm2d(o))
        self.pool = nn.Sequential(nn.Conv2d(c, o, 1, bias=False), nn.AvgPool2d(3, 1, 1), nn.BatchNorm2d(o))
        self.one = nn.Sequential(nn.Conv2d(c, o, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.origin(x) + self.wide(x) + self.pool(x) + self.one(x)
        return y


class MobileOne(nn.Module):
    """Branches in a ModuleList, summed by `sum`, which starts at the number 0."""

    def __init__(self, c: int = 3, branches: int = 3) -> None:
        super().__init__()
        conv = [nn.Conv2d(c, c, 3, 2, 1, groups=c, bias=False) for _ in range(branches)]
        self.branches = nn.ModuleList(nn.Sequential(m, nn.BatchNorm2d(c)) for m in conv)
        self.one = nn.Sequential(nn.Conv2d(c, c, 1, 2, 0, groups=c, bias=False), nn.BatchNorm2d(c))

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches) + self.one(x)


class StdConv2d(nn.Conv2d):
    """A convolution whose weight is standardised, as in BiT."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.var((1, 2, 3), keepdim=True, unbiased=False) + 1e-6).sqrt()
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Residual(nn.Sequential):
    """A Sequential by inheritance, a residual by its forward."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)  # type: ignore[no-untyped-call]


class ScaledLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * super().forward(x)


class EqualisedConv2d(nn.Conv2d):
    """StyleGAN's: `forward` is nn.Conv2d's own, what it calls is not."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight / 3, bias)


class LoRA(nn.Module):
    def __init__(self, c: int = 6, o: int = 5, rank: int = 2) -> None:
        super().__init__()
        self.base, self.dropout = nn.Linear(c, o), nn.Dropout(0.1)
        self.a, self.b = nn.Linear(c, rank, bias=False), nn.Linear(rank, o, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + 2.0 * self.b(self.a(self.dropout(x)))
        return y


class Split(nn.Module):
    """Half of the channels pass a convolution, the others pass by: the split of CSP and Res2Net."""

    def __init__(self, c: int = 4) -> None:
        super().__init__()
        self.inside = nn.Conv2d(c, c, 1, bias=False)
        self.conv = nn.Conv2d(c // 2, c // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.inside(x).chunk(2, 1)
        return torch.cat([a, self.conv(b)], 1)


class Taps(nn.Module):
    """No layer at all: bare parameters and functions."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.randn(4, 3, 3, 2)), nn.Parameter(torch.randn(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (0, 1, 1, 1)), self.weight) * self.scale - 1.5


def tokens(m: Any, x: Tensor) -> Tensor:
    """ConvNeXt's way: channels last for the linear layers."""
    y = m.wide(m.depthwise(x).permute(0, 2, 3, 1))
    return x + m.gamma[:, None, None] * m.narrow(y).permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    c = 4
    return Net(
        tokens,
        depthwise=nn.Conv2d(c, c, 5, padding=2, groups=c),
        wide=nn.Linear(c, 7),
        narrow=nn.Linear(7, c),
        gamma=nn.Parameter(torch.randn(c)),
    )


def bottleneck(dims: int) -> nn.Module:
    """x + the 3×3 of a 3×3: its border is not its interior's."""
    conv, norm = CONV[dims], NORM[dims]
    return Net(
        lambda m, x: x + m.b(m.norm(m.a(x))), a=conv(2, 3, 3, padding=1), norm=norm(3), b=conv(3, 2, 3, padding=1)
    )


Block = tuple[Callable[[], nn.Module], tuple[int, ...]]

#: The block and its input's shape, without the batch: what `of` makes one value of.
ONE: dict[str, Block] = {
    "RepVGG": (RepVGG, (4, 7, 6)),
    "RepVGG, 1-D": (lambda: RepVGG(3, 1), (3, 9)),
    "RepVGG, 3-D": (lambda: RepVGG(2, 3), (2, 4, 5, 3)),
    "DBB": (DiverseBranch, (3, 7, 6)),
    "MobileOne": (MobileOne, (3, 7, 6)),
    "ACNet": (
        lambda: Net(
            lambda m, x: m.square(x) + m.row(x) + m.column(x),
            square=nn.Conv2d(3, 4, 3, padding=1),
            row=nn.Conv2d(3, 4, (1, 3), padding=(0, 1)),
            column=nn.Conv2d(3, 4, (3, 1), padding=(1, 0)),
        ),
        (3, 7, 6),
    ),
    "standardised": (lambda: StdConv2d(3, 4, (3, 2), padding=(1, 0)), (3, 7, 6)),
    "standardised in a Sequential": (lambda: nn.Sequential(StdConv2d(3, 4, 3), nn.BatchNorm2d(4)), (3, 7, 6)),
    "equalised": (lambda: EqualisedConv2d(3, 4, 3, stride=2), (3, 7, 6)),
    "residual Sequential": (lambda: Residual(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)), (4, 7, 6)),
    "scaled linear": (lambda: ScaledLinear(6, 5), (6,)),
    "LoRA": (LoRA, (6,)),
    "split": (Split, (4, 7, 6)),
    "concat": (
        lambda: Net(
            lambda m, x: torch.cat([m.a(x), m.b(x), x], 1),
            a=nn.Conv2d(3, 4, 3, padding=1),
            b=nn.Conv2d(3, 2, 1),
        ),
        (3, 7, 6),
    ),
    "functions": (Taps, (3, 7, 6)),
    "ConvNeXt": (convnext, (4, 7, 6)),
    "nested": (
        lambda: Net(lambda m, x: 2 * m.inner(x) - x, inner=Residual(RepVGG(), nn.Conv2d(4, 4, 1))),
        (4, 7, 6),
    ),
    "in place": (
        lambda: Net(lambda m, x: m.conv(x).add_(1.0).mul_(0.5), conv=nn.Conv2d(3, 4, 3, stride=2)),
        (3, 7, 6),
    ),
    "upsampling": (
        lambda: Net(lambda m, x: m.conv(F.interpolate(x, scale_factor=2)), conv=nn.Conv2d(3, 4, 3, padding=1)),
        (3, 7, 6),
    ),
    "shuffle": (
        lambda: Net(lambda m, x: F.pixel_shuffle(m.conv(x), 2) * 0.5, conv=nn.Conv2d(3, 8, 3, padding=1)),
        (3, 7, 6),
    ),
    "unshuffle": (
        lambda: Net(lambda m, x: m.conv(F.pixel_unshuffle(x, 2)), conv=nn.Conv2d(12, 4, 2)),
        (3, 8, 6),
    ),
    "gamma": (lambda: Net(lambda m, x: x * m.gamma, gamma=nn.Parameter(torch.randn(5, 1, 1))), (5, 4, 6)),
    "stride 2, up 2, behind a crop": (
        lambda: Net(lambda m, x: m.up(m.down(x)), down=nn.Conv2d(3, 4, 2, stride=2), up=nn.Conv2d(4, 5, 2, stride=3)),
        (3, 9, 11),
    ),
}

#: What is one convolution inside and another at the border: `merge` mends it, `of` refuses.
BORDERED: dict[str, Block] = {
    "3×3 twice, 1-D": (lambda: bottleneck(1), (2, 9)),
    "3×3 twice": (lambda: bottleneck(2), (2, 9, 8)),
    "3×3 twice, 3-D": (lambda: bottleneck(3), (2, 6, 7, 5)),
    "in series inside": (
        lambda: Net(
            lambda m, x: m.b(m.norm(m.a(x))),
            a=nn.Conv2d(3, 4, 3, padding=1),
            norm=nn.BatchNorm2d(4),
            b=nn.Conv2d(4, 2, 3, stride=2, padding=1),
        ),
        (3, 9, 8),
    ),
    "two of them": (lambda: nn.Sequential(bottleneck(2), bottleneck(2)), (2, 9, 8)),
    "between layers": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), bottleneck(2), nn.BatchNorm2d(2), nn.PixelShuffle(1)),
        (3, 9, 8),
    ),
    "part of the channels": (
        lambda: Net(
            lambda m, x: torch.cat([m.b(m.a(x)), m.c(x)], 1),
            a=nn.Conv2d(3, 4, 3, padding=1),
            b=nn.Conv2d(4, 2, 3, padding=1),
            c=nn.Conv2d(3, 3, 1),
        ),
        (3, 9, 8),
    ),
    "RepVGG twice": (lambda: nn.Sequential(RepVGG(3), RepVGG(3)), (3, 9, 8)),
}


def sizes(net: nn.Module, shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Every shape from the smallest that the net takes to somewhat above the given one, of several proportions."""
    found = []
    for n in range(1, max(shape[1:], default=1) + 3):
        for more in (0, 3):
            space = (n, *(n + more for _ in shape[2:]))[: len(shape) - 1]
            try:
                y = net(noise(1, shape[0], *space))
            except (RuntimeError, ValueError):
                continue
            if y.numel():
                found.append((shape[0], *space))
    return list(dict.fromkeys([*found, tuple(shape)]))


def built(block: Block) -> tuple[nn.Module, tuple[int, ...]]:
    make, shape = block
    return double(make()), shape
