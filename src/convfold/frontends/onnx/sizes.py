"""A size that may change, as something to compare: what it is at several sizes of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsIndex


class Free(tuple[int, ...]):
    """What a size is in each trial; two sizes are one where they agree in all of them.

    The trials' sizes have no factor in common, so that sizes that are different functions of the inputs' differ in one.
    """

    __slots__ = ()

    def __mul__(self, other: SupportsIndex | Free) -> Free:
        if isinstance(other, Free):
            return Free(a * b for a, b in zip(self, other, strict=True))
        n = int(other)
        return Free(a * n for a in self)

    __rmul__ = __mul__

    def __sub__(self, other: SupportsIndex | Free) -> int | Free:
        """A number where it is the same in all trials."""
        others = other if isinstance(other, Free) else (int(other),) * len(self)
        return size([a - b for a, b in zip(self, others, strict=True)])


def size(trials: Sequence[int]) -> int | Free:
    """A number where it is the same in all trials."""
    return trials[0] if len(set(trials)) == 1 else Free(trials)


def empty(sizes: Sequence[int | Free] | None) -> bool:
    """Is one of them 0, in some trial?"""
    return any(0 in n if isinstance(n, Free) else n == 0 for n in sizes or ())
