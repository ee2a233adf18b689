"""Means of windows, and of whole axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convfold.algebra.spatial.base import Spatial, along_axes
from convfold.algebra.window import Window


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
    def called(self) -> str:
        return "pool"

    @property
    def label(self) -> str:
        return "average pool"

    def __call__(self, x: Tensor) -> Tensor:
        f: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(self.kernel) - 1]
        rest = () if len(self.kernel) == 1 else (self.divisor,)
        y: Tensor = f(x, self.kernel, self.stride, self.padding, self.ceil, self.counted, *rest)
        return y


@dataclass(frozen=True, kw_only=True)
class WindowMean(Spatial):
    """Means of windows of any dilation and padding, as the operator AveragePool of ONNX has them.

    ``counted``: zeros of the padding count; what a last window reads beyond that never does. ``output``: how many
    windows there are, at the example's sizes.
    """

    windows: tuple[Window, ...]
    counted: bool
    output: tuple[int, ...]

    @property
    def constants(self) -> bool:
        return not self.counted or not any(w.lo or w.hi for w in self.windows)

    @property
    def called(self) -> str:
        return "pool"

    @property
    def label(self) -> str:
        return "average pool"

    @property
    def matrices(self) -> Callable[[], tuple[Tensor, ...]] | None:
        before, after = self.sizes
        if not all(isinstance(n, int) for n in (*before, *after)):
            return None
        return lambda: self._means(before)

    def _means(self, before: Sequence[Any]) -> tuple[Tensor, ...]:
        """One an axis, (after, before): a window is counted axis by axis too."""
        axes = zip(self.windows, before, self.output, strict=True)
        return tuple(members(w, n, m) / counts(w, n, m, self.counted)[:, None] for w, n, m in axes)

    def __call__(self, x: Tensor) -> Tensor:
        first = x.dim() - len(self.windows)
        return along_axes(x, self._means(x.shape[first:]), range(first, x.dim()))


def members(w: Window, n: int, m: int) -> Tensor:
    """(m, n): ones where output window j holds input position i."""
    at = _read(w, m)
    return (at[:, :, None] == torch.arange(n)).sum(1).double()


def counts(w: Window, n: int, m: int, padding: bool) -> Tensor:
    """(m,): how many positions each window holds, those of the padding too or not."""
    at, (lo, hi) = _read(w, m), ((w.lo, w.hi) if padding else (0, 0))
    return ((at >= -lo) & (at < n + hi)).sum(1).clamp(min=1)


def _read(w: Window, m: int) -> Tensor:
    """(m, taps): the positions that each window reads."""
    return torch.arange(m)[:, None] * w.stride - w.lo + torch.arange(w.taps) * w.dilation


@dataclass(frozen=True, kw_only=True)
class AdaptivePool(Spatial):
    """Means of as many windows as are asked for, as ``F.adaptive_avg_poolNd`` does; None: as many as there are."""

    output: tuple[int | None, ...]

    @property
    def constants(self) -> bool:
        return True

    @property
    def called(self) -> str:
        return "pool"

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
    def called(self) -> str:
        return "pool"

    @property
    def label(self) -> str:
        return "mean" if self.mean else "sum over axes"

    def __call__(self, x: Tensor) -> Tensor:
        return x.mean(self.axes, self.kept) if self.mean else x.sum(self.axes, self.kept)
