"""Positions one by one: weighed, or taken in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from zlib import crc32

import torch
from torch import Tensor

from convfold.algebra.numbers import has_numbers
from convfold.algebra.operation import Shape, T
from convfold.algebra.spatial.base import Spatial
from convfold.ops import Ops


@dataclass(frozen=True, eq=False)
class Table:
    """A constant, compared by its numbers."""

    content: Tensor

    @cached_property
    def _sum(self) -> int:
        return crc32(self.content.detach().cpu().contiguous().numpy().data) if has_numbers(self.content) else id(self)

    def __hash__(self) -> int:
        return self._sum

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Table) and self._sum == other._sum and torch.equal(self.content, other.content)


@dataclass(frozen=True, kw_only=True)
class Weigh(Spatial):
    """Every position times a number of its own, the same in all channels; ``weights`` broadcasts.

    ``argument``: which of its call's the signal is; None where the call is more than this product.
    """

    weights: Table
    argument: int | None = field(default=0, compare=False)

    @property
    def constants(self) -> bool:
        return False

    @property
    def label(self) -> str:
        return "scale by position"

    @property
    def called(self) -> str:
        return "scale"

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.weights.content.to(x)

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        if self.argument is None:
            return ops.mul(xs[0], ops.constant("weight", self.weights.content))
        assert self.origin is not None
        return ops.again(self.origin, self, xs[0], self.argument)


@dataclass(frozen=True, kw_only=True)
class Take(Spatial):
    """Of all positions along ``axes``, counted as one axis, those of an index; its axes begin at ``at``."""

    axes: tuple[int, ...]
    index: Table
    at: int

    @property
    def constants(self) -> bool:
        return True

    @property
    def called(self) -> str:
        return "gather"

    @property
    def label(self) -> str:
        return "positions by an index"

    def __call__(self, x: Tensor) -> Tensor:
        many, index = len(self.axes), self.index.content.to(x.device)
        x = x.movedim(self.axes, tuple(range(-many, 0))).flatten(-many)
        y = x.index_select(-1, index.flatten()).reshape(*x.shape[:-1], *index.shape)
        new = range(index.dim())
        return y.movedim(tuple(i - index.dim() for i in new), tuple(self.at + i for i in new))


def flat_index(parts: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """One index an axis of such lengths, each perhaps from the end, as one of all their positions."""
    flat = torch.zeros((), dtype=torch.long)
    for i, (part, n) in enumerate(zip(parts, sizes, strict=True)):
        flat = flat + part.long() % n * prod(sizes[i + 1 :])
    return flat
