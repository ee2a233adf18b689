"""FSRCNN, super-resolution in the small, arXiv 1608.00367: all work is done below one transposed convolution."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def fsrcnn(features: int = 56, mapped: int = 12, depth: int = 4, scale: int = 3) -> nn.Sequential:
    """One luminance channel in: 5×5, 1×1 to fewer channels, ``depth`` 3×3, 1×1 back, PReLUs; 9×9 to ``scale`` times."""
    widths = [1, features, mapped, *[mapped] * depth, features]
    sizes = [5, 1, *[3] * depth, 1]
    steps: list[nn.Module] = []
    for (c_in, c_out), size in zip(pairwise(widths), sizes, strict=True):
        steps += [nn.Conv2d(c_in, c_out, size, padding=size // 2), nn.PReLU(c_out)]
    return nn.Sequential(*steps, nn.ConvTranspose2d(features, 1, 9, scale, padding=4, output_padding=scale - 1))
