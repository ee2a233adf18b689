"""Running sums along an axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from convfold.algebra.spatial.base import Spatial


@dataclass(frozen=True, kw_only=True)
class Cumulate(Spatial):
    """``y[n] = Σ_{m ≤ n} x[m]`` along ``along``, the one axis it acts on.

    ``exclusive``: m < n; ``backward``: from the last to the first.
    """

    along: int
    exclusive: bool = False
    backward: bool = False

    @property
    def constants(self) -> bool:
        """A constant becomes a ramp."""
        return False

    @property
    def label(self) -> str:
        return "running sum"

    @property
    def matrices(self) -> Callable[[], tuple[Tensor, ...]] | None:
        (n,), _ = self.sizes
        if not isinstance(n, int) or self.along != self.axis + 1:  # space is what follows the channels
            return None
        lower = torch.ones(n, n, dtype=torch.float64).tril(-1 if self.exclusive else 0)
        return lambda: (lower.t() if self.backward else lower,)

    def __call__(self, x: Tensor) -> Tensor:
        y = x.flip(self.along).cumsum(self.along).flip(self.along) if self.backward else x.cumsum(self.along)
        return y - x if self.exclusive else y
