"""Small parts that several architectures share: a residual, a scale a channel, squeeze and excitation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """``x + body(x)``, the body in series."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class LayerScale(nn.Module):
    """A learnt factor a channel: arXiv 2103.17239."""

    def __init__(self, channels: int, init: float = 1e-5) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.full((channels, 1, 1), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.lambda1


class SqueezeExcite(nn.Module):
    """The mean over space through two 1×1, the first to ``reduced`` channels; its gate times the input.

    arXiv 1709.01507.
    """

    def __init__(self, channels: int, reduced: int, gate: nn.Module | None = None) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, reduced, 1),
            nn.ReLU(),
            nn.Conv2d(reduced, channels, 1),
            gate or nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def divisible(channels: float, by: int) -> int:
    """The nearest multiple of ``by``, the next where that loses more than a tenth: as mobile networks round widths."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded if rounded >= 0.9 * channels else rounded + by
