"""Generators of images from noise, transposed convolutions throughout: DCGAN, arXiv 1511.06434; InfoGAN, 1606.03657."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def dcgan(noise: int = 100, widths: Sequence[int] = (1024, 512, 256, 128), colours: int = 3) -> nn.Sequential:
    """From ``(batch, noise, 1, 1)``: 4×4 to 4², then twice the size a layer, batch norm and ReLU behind each; tanh."""
    first, last = widths[0], widths[-1]
    steps: list[nn.Module] = [nn.ConvTranspose2d(noise, first, 4, bias=False), nn.BatchNorm2d(first), nn.ReLU()]
    for c_in, c_out in pairwise(widths):
        steps += [_twice(c_in, c_out, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
    return nn.Sequential(*steps, _twice(last, colours, bias=False), nn.Tanh())


def infogan(codes: int = 228, widths: Sequence[int] = (448, 256, 128, 64), colours: int = 3) -> nn.Sequential:
    """That of faces, to 32²: a linear layer to 2², 4×4 of stride 2; batch norms behind the first two; tanh.

    ``codes``: noise and latent codes, 128 numbers and ten categories of ten.
    """
    first, second, *_ = widths
    flat = 4 * first
    steps: list[nn.Module] = [nn.Linear(codes, flat), nn.BatchNorm1d(flat), nn.ReLU(), nn.Unflatten(1, (first, 2, 2))]
    steps += [_twice(first, second), nn.BatchNorm2d(second), nn.ReLU()]
    for c_in, c_out in pairwise(widths[1:]):
        steps += [_twice(c_in, c_out), nn.ReLU()]
    return nn.Sequential(*steps, _twice(widths[-1], colours), nn.Tanh())


def _twice(c_in: int, c_out: int, bias: bool = True) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(c_in, c_out, 4, 2, padding=1, bias=bias)
