"""Positions in another order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from convfold.algebra.spatial.base import Spatial


@dataclass(frozen=True, kw_only=True)
class Flip(Spatial):
    """The positions along ``axes`` from the last to the first."""

    axes: tuple[int, ...]

    @property
    def constants(self) -> bool:
        return True

    @property
    def label(self) -> str:
        return "flip"

    def __call__(self, x: Tensor) -> Tensor:
        return x.flip(self.axes)


@dataclass(frozen=True, kw_only=True)
class Roll(Spatial):
    """The positions along ``axes`` moved round by ``shifts``; without axes, all of them as one."""

    shifts: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def constants(self) -> bool:
        return True

    @property
    def label(self) -> str:
        return "roll"

    def __call__(self, x: Tensor) -> Tensor:
        return x.roll(self.shifts, self.axes)
