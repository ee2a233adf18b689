"""Positions added around the space axes, or cropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from convfold.algebra.operation import Shape, T, Work
from convfold.algebra.spatial.base import Spatial
from convfold.ops import Ops


@dataclass(frozen=True, kw_only=True)
class Pad(Spatial):
    """As ``F.pad`` does, on any axes: ``pads`` are (lo, hi) of the last axis, then of the one before it.

    Positions are cropped first, then those that are left are copied.

    ``fill``: the number that is added, where that is not copied: by itself it is a pad with zeros and a constant.
    ``wraps``: of each space axis the (lo, hi) that a circular pad adds: it may go before a convolution.
    ``around``: may that be more than there are positions? Frameworks' own pads go round once.
    """

    pads: tuple[int, ...]
    mode: str = "constant"
    fill: float = 0.0
    wraps: tuple[tuple[int, int], ...] = ()
    around: bool = False

    @property
    def constants(self) -> bool:
        """Cropping preserves them, as does padding with copies of the data; zeros do not."""
        return self.copies or max(self.pads) <= 0

    @property
    def copies(self) -> bool:
        """Does it pad with copies of the data?"""
        return self.mode != "constant"

    @property
    def label(self) -> str:
        if self.copies or max(self.pads) <= 0:
            return f"{self.mode} pad" if self.copies else "crop"
        return "zero pad" if self.fill == 0 else "constant pad"

    def __call__(self, x: Tensor) -> Tensor:
        if not self.copies:
            return F.pad(x, list(self.pads), value=self.fill)
        for i, (lo, hi) in enumerate(zip(self.pads[::2], self.pads[1::2], strict=True), start=1):
            if lo or hi:
                x = x.index_select(-i, _copied(x.shape[-i], lo, hi, self.mode).to(x.device))
        return x

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        if not self.around:
            yield from super().work(xs, y)
            return
        n = prod(xs[0])
        for i, pair in enumerate(zip(self.pads[::2], self.pads[1::2], strict=True), start=1):
            before, n = n, n // xs[0][-i] * (xs[0][-i] + sum(pair))
            yield Work(0, before + n, calls=3, ops=3)

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        if self.origin is not None:
            return super().lower(ops, xs, y)
        if not self.around:
            return ops.pad(xs[0], self.pads, self.mode)
        x = xs[0]
        for i, (lo, hi) in enumerate(zip(self.pads[::2], self.pads[1::2], strict=True), start=1):
            x = ops.wrapped(x, len(y) - i, lo, hi)
        return x


def _copied(n: int, lo: int, hi: int, mode: str) -> Tensor:
    """Which of n positions stands at each place of a padded axis."""
    first, n = max(-lo, 0), n - max(-lo, 0) - max(-hi, 0)
    at = torch.arange(-max(lo, 0), n + max(hi, 0))
    if mode == "replicate":
        at = at.clamp(0, n - 1)
    elif mode == "circular":
        at = at % n
    else:  # back and forth, without the ends twice
        period = max(2 * (n - 1), 1)
        at = at % period
        at = torch.minimum(at, period - at) if n > 1 else at
    return at + first
