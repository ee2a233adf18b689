"""Parallel branches under one sum, the block RepVGG and MobileOne train: arXiv 2101.03697 and 2206.04040."""

from __future__ import annotations

from torch import Tensor, nn


class Branches(nn.Module):
    """``Σ branch(x)``; each branch is a convolution followed by a batch norm, or a batch norm alone."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.branches
        y = first(x)
        for branch in others:
            y = y + branch(x)
        return y


def conv_norm(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the size at stride 1, and its batch norm."""
    conv = nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


def identity_norm(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
    """The skip branch, a lone batch norm, where input and output have one shape."""
    return [nn.BatchNorm2d(c_in)] if c_in == c_out and stride == 1 else []


def mobileone_branches(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1, k: int = 1) -> Branches:
    """``k`` equal branches, a 1×1 scale branch beside larger kernels, and the skip, summed: arXiv 2206.04040."""
    same = [conv_norm(c_in, c_out, size, stride, groups) for _ in range(k)]
    scale = [conv_norm(c_in, c_out, 1, stride, groups)] if size > 1 else []
    return Branches(*same, *scale, *identity_norm(c_in, c_out, stride))


def classifier(channels: int, classes: int = 1000) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
