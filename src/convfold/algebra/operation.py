"""The kinds of affine step a region is made of: an operator applied, signals joined, or one moved along its axes.

Each is a frozen value, callable on tensors. A signal here may have its channel axis anywhere: a linear layer
on tokens (N, L, C) and a 1×1 convolution on maps (N, C, H, W) are the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from convfold.algebra.geometry import Geometry
from convfold.algebra.layout import Layout, Slice
from convfold.algebra.realisation import Realisation
from convfold.algebra.spatial import Resample, Spatial, Spread

__all__ = [
    "Apply",
    "Border",
    "Concat",
    "Correct",
    "Layout",
    "Move",
    "Operation",
    "Operator",
    "Resample",
    "Slice",
    "Spatial",
    "Spread",
    "Sum",
]


T = TypeVar("T")


class Operator(Protocol):
    """What a step applies: a `Convolution`, or the recipe for one."""

    @property
    def geometry(self) -> Geometry: ...

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False, slots=True)
class Apply:
    """An operator on channel axis ``axis``; its D space axes are the D that follow.

    ``how`` it is computed; None: whichever way is cheapest.
    """

    operator: Operator
    axis: int
    how: Realisation | None = None

    def __call__(self, x: Tensor) -> Tensor:
        dims = self.operator.geometry.dims
        if dims == 0:
            moved = x.movedim(self.axis, -1)
            y = self.operator(moved.reshape(-1, moved.shape[-1]))
            return y.reshape(*moved.shape[:-1], y.shape[-1]).movedim(-1, self.axis)
        y = self.operator(x.reshape(-1, *x.shape[self.axis :]))
        return y.reshape(*x.shape[: self.axis], *y.shape[1:])


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of signals of one shape, each with its sign: ``signs`` has one a signal, ±1; none: all are added."""

    signs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if all(sign > 0 for sign in self.signs):  # one form for a sum of nothing but additions
            object.__setattr__(self, "signs", ())

    def signed(self, xs: Sequence[T]) -> list[tuple[int, T]]:
        """The signals with their signs, one that is added first, if there is one: the others are added or taken off."""
        return sorted(zip(self.signs or (1,) * len(xs), xs, strict=True), key=lambda term: -term[0])

    def __call__(self, *xs: Tensor) -> Tensor:
        (sign, total), *rest = self.signed(xs)
        total = total if sign > 0 else -total
        for sign, x in rest:
            total = total + x if sign > 0 else total - x
        return total


@dataclass(frozen=True, slots=True)
class Concat:
    """Signals laid end to end along ``axis``."""

    axis: int

    def __call__(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, self.axis)


class Border(Protocol):
    """What a chain of steps computes and the one convolution that is applied in its stead does not."""

    def mended(self, way: str, y: Tensor, x: Tensor) -> Tensor:
        """``y``, which the convolution made of ``x``, with the border it should have."""


@dataclass(frozen=True, eq=False, slots=True)
class Correct:
    """The border of a signal whose channel axis is ``axis``, space behind it, made what it should be.

    Inputs: the signal and, unless what is missing are constants of known places, the signal it was computed from.
    ``way``: how, one of `plan.border.WAYS`; ``written``: the numbers that takes, once they are composed.
    """

    border: Border
    axis: int
    way: str
    written: object = None

    def __call__(self, y: Tensor, x: Tensor | None = None) -> Tensor:
        return self.border.mended(self.way, y, y if x is None else x)


#: Steps that treat every position along the axes they carry alike.
Move = Layout | Slice | Spatial | Spread

Operation = Apply | Sum | Concat | Correct | Resample | Move
