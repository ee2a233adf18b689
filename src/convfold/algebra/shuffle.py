"""Positions into channels and back: one-hot convolutions whose stride, or upsampling, is their kernel's size."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from convfold.algebra.convolution import Convolution
from convfold.algebra.series import widened
from convfold.algebra.window import Window


def shuffled(channels: int, rates: Sequence[int], order: Sequence[int] | None = None) -> Convolution:
    """(C·∏r, *n) → (C, *r·n): a one-hot transposed convolution of stride r. Kernel: (C, ∏r, *r), flipped, in C groups.

    Phase p of output channel c is input channel c·∏r + p; with an ``order``, the one whose number there is that.
    """
    rate = prod(rates)
    one_hot = torch.eye(rate, dtype=torch.float64).reshape(1, rate, *rates).flip(*range(2, len(rates) + 2))
    kernel, windows = one_hot.repeat(channels, *(1,) * (len(rates) + 1)), windows_of(rates, down=False)
    if order is None or list(order) == sorted(order):
        return Convolution(kernel, None, channels, windows)
    return Convolution(widened(kernel, channels, 1)[:, list(order)], None, 1, windows)


def unshuffled(channels: int, rates: Sequence[int], order: Sequence[int] | None = None) -> Convolution:
    """(C, *r·n) → (C·∏r, *n): a one-hot convolution of stride r in C groups. Kernel: (C·∏r, 1, *r)."""
    rate = prod(rates)
    one_hot = torch.eye(rate, dtype=torch.float64).reshape(rate, 1, *rates)
    kernel, windows = one_hot.repeat(channels, *(1,) * (len(rates) + 1)), windows_of(rates, down=True)
    if order is None or list(order) == sorted(order):
        return Convolution(kernel, None, channels, windows)
    return Convolution(widened(kernel, channels, 1)[list(order)], None, 1, windows)


def windows_of(rates: Sequence[int], *, down: bool) -> tuple[Window, ...]:
    return tuple(Window(r, r) if down else Window(r, 1, r, 1, r - 1, r - 1) for r in rates)
