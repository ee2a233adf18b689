"""Positions added around the space axes, or cropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from convfold.algebra.operation import Shape, T
from convfold.algebra.spatial.base import Spatial
from convfold.ops import Ops


@dataclass(frozen=True, kw_only=True)
class Pad(Spatial):
    """As ``F.pad`` does: ``pads`` are (lo, hi) of the last axis, then of the one before it.

    ``wraps``: of each space axis the (lo, hi) that a circular pad adds: it may go before a convolution.
    """

    pads: tuple[int, ...]
    mode: str = "constant"
    wraps: tuple[tuple[int, int], ...] = ()

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
        return f"{self.mode} pad" if self.copies else "zero pad" if max(self.pads) > 0 else "crop"

    def __call__(self, x: Tensor) -> Tensor:
        return F.pad(x, list(self.pads), self.mode)

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        if self.origin is not None:
            return super().lower(ops, xs, y)
        return ops.pad(xs[0], self.pads, self.mode)
