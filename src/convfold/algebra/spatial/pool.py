"""Means of windows, and of whole axes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from convfold.algebra.spatial.base import Spatial


@dataclass(frozen=True, kw_only=True)
class AveragePool(Spatial):
    """As ``F.avg_poolNd`` does."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    ceil: bool = False
    counted: bool = True
    divisor: int | None = None

    @property
    def constants(self) -> bool:
        """A mean of as many values as the window holds preserves them; zeros of the padding that count do not."""
        own = not any(self.padding) and not self.ceil and self.divisor == prod(self.kernel)
        return (self.divisor is None or own) and not (any(self.padding) and self.counted)

    @property
    def label(self) -> str:
        return "average pool"

    def __call__(self, x: Tensor) -> Tensor:
        f: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(self.kernel) - 1]
        rest = () if len(self.kernel) == 1 else (self.divisor,)
        y: Tensor = f(x, self.kernel, self.stride, self.padding, self.ceil, self.counted, *rest)
        return y


@dataclass(frozen=True, kw_only=True)
class AdaptivePool(Spatial):
    """Means of as many windows as are asked for, as ``F.adaptive_avg_poolNd`` does; None: as many as there are."""

    output: tuple[int | None, ...]

    @property
    def constants(self) -> bool:
        return True

    @property
    def label(self) -> str:
        return "adaptive average pool"

    def __call__(self, x: Tensor) -> Tensor:
        f: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(self.output) - 1]
        y: Tensor = f(x, self.output)
        return y


@dataclass(frozen=True, kw_only=True)
class Reduce(Spatial):
    """The mean or the sum over ``axes``."""

    axes: tuple[int, ...]
    mean: bool
    kept: bool

    @property
    def constants(self) -> bool:
        return self.mean

    @property
    def label(self) -> str:
        return "mean" if self.mean else "sum over axes"

    def __call__(self, x: Tensor) -> Tensor:
        return x.mean(self.axes, self.kept) if self.mean else x.sum(self.axes, self.kept)
