"""Positions in another order, some of them, or all of them again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
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


@dataclass(frozen=True, kw_only=True)
class Stride(Spatial):
    """Along each of ``axes`` the positions of a range: every so many, backwards too; ``stop`` None: to the end."""

    axes: tuple[int, ...]
    ranges: tuple[tuple[int, int | None, int], ...]

    @property
    def constants(self) -> bool:
        return True

    @property
    def label(self) -> str:
        return "slice with steps"

    def __call__(self, x: Tensor) -> Tensor:
        for axis, (start, stop, step) in zip(self.axes, self.ranges, strict=True):
            at = range(x.shape[axis])[slice(start, stop, step)]
            x = x.index_select(axis, torch.tensor(at, device=x.device))
        return x


@dataclass(frozen=True, kw_only=True)
class Tile(Spatial):
    """All positions again and again, ``repeats`` times along each axis of the signal."""

    repeats: tuple[int, ...]

    @property
    def constants(self) -> bool:
        return True

    @property
    def label(self) -> str:
        return "tiling"

    def __call__(self, x: Tensor) -> Tensor:
        return x.repeat(self.repeats)


@dataclass(frozen=True, kw_only=True)
class Repeat(Spatial):
    """Every position ``times`` times, along one axis."""

    along: int
    times: int

    @property
    def constants(self) -> bool:
        return True

    @property
    def label(self) -> str:
        return "repetition"

    def __call__(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.times, self.along)
