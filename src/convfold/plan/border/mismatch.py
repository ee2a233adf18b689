"""The border of a term: what its operator, composed as if no signal had an end, gets wrong there.

How that is mended: one file a way beside this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import torch
from torch import Tensor

from convfold.algebra.border import Piece, pieces
from convfold.algebra.convolution import Convolution
from convfold.algebra.geometry import Geometry
from convfold.algebra.margins import Margin, Shape, Strip, apart, depends, far, margins, shapes, shortest, strips
from convfold.plan.deferred import Deferred, lifted
from convfold.region import Signal


@dataclass(frozen=True)
class GhostRead:
    """What a layer reads, as zeros, beyond the ends of the one before it, and would not be zero without an end."""

    reader: str
    read: str
    size: tuple[int, ...]  # channels and space of what is read
    beyond: tuple[tuple[int, int], ...]  # of each axis, positions below and above
    data: bool  # else a constant: a bias, a norm's shift

    def __str__(self) -> str:
        axes = ", ".join(f"{below} + {above}" for below, above in self.beyond)
        what = "data" if self.data else "a constant"
        return f"{self.reader} reads {axes} positions beyond {self.read}'s {'×'.join(map(str, self.size))}: {what}"


@dataclass(frozen=True, eq=False)
class Border:
    """Where the sum of ``paths``, run step by step, and ``whole``, their one convolution on endless signals, differ.

    Attributes:
        whole: the operator that is applied.
        paths: what it stands for; each from the same input, first applied first.
        known: sizes of the input's space axes, None where free; ``sizes`` are those of the example.
    """

    whole: Deferred
    paths: tuple[tuple[Deferred, ...], ...]
    known: tuple[int | None, ...]
    sizes: tuple[int, ...]

    @cached_property
    def geometries(self) -> list[list[Geometry]]:
        return [[step.geometry.lifted(len(self.sizes)) for step in path] for path in self.paths]

    @cached_property
    def after(self) -> tuple[int, ...]:
        return self.whole.geometry.lifted(len(self.sizes)).size(self.sizes)

    @cached_property
    def ends(self) -> tuple[Margin, ...]:
        """Of each axis."""
        chains = [[(g.windows, g.period is not None) for g in steps] for steps in self.geometries]
        found = margins(chains, self.known)
        return tuple(
            end if n is None else end.within(m) for end, n, m in zip(found, self.known, self.after, strict=True)
        )

    @property
    def empty(self) -> bool:
        return all(end.empty for end in self.ends)

    @property
    def constant(self) -> bool:
        """Is what is missing the same whatever the input?"""
        return not any(end.data for end in self.ends)

    @property
    def fixed(self) -> bool:
        return None not in self.known

    @cached_property
    def apart(self) -> bool:
        """Is each end of an axis whose length is free wrong in its own way, the same at every length?"""
        return all(
            n is not None or apart([g.windows[i] for g in steps], [g.period[i] if g.period else 1 for g in steps])
            for steps in self.geometries
            for i, n in enumerate(self.known)
        )

    @cached_property
    def least(self) -> tuple[int | None, ...]:
        """Of each axis whose length is free how many inputs it has at least, as every step gives something."""
        return tuple(
            None if n is not None else max(shortest([g.windows[i] for g in steps]) for steps in self.geometries)
            for i, n in enumerate(self.known)
        )

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The sizes, free ones so long that the two ends do not know of each other."""
        return tuple(
            n if n is not None else max(far([g.windows[i] for g in steps]) for steps in self.geometries)
            for i, n in enumerate(self.known)
        )

    @property
    def parts(self) -> Iterator[Deferred]:
        return chain.from_iterable(self.paths)

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(source for part in self.parts for source in part.sources))

    def read(self, y: Signal, axis: int) -> Signal:
        """The signal that the operator reads, given one with its batch."""
        return Signal((*y.shape[:axis], self.whole.geometry.c_in, *self.sizes), frozenset(), y.itemsize)

    def ghosts(self) -> Iterator[GhostRead]:
        """Each step that reads, as zeros, positions beyond the ends of the one before it that would not be zero."""
        seen = set()
        for path, steps in zip(self.paths, self.geometries, strict=True):
            now, biased = self.sizes, False
            for i, (g, after) in enumerate(pairwise(steps)):
                now, biased = g.size(now), biased or g.period is not None
                counts, data = [], False
                for axis, (w, n) in enumerate(zip(after.windows, now, strict=True)):
                    before = tuple(s.windows[axis] for s in steps[: i + 1])
                    places = [p for p in w.outside(n) if biased or depends(before, p, self.sizes[axis])]
                    data = data or any(depends(before, p, self.sizes[axis]) for p in places)
                    below = sum(p < 0 for p in places)
                    counts.append((below, len(places) - below))
                reader, read = (next(iter(reversed([*r.sources])), "a step") for r in (path[i + 1], path[i]))
                ghost = GhostRead(reader, read, (g.c_out, *now), tuple(counts), data)
                if any(map(any, counts)) and ghost not in seen:
                    seen.add(ghost)
                    yield ghost

    def change(self) -> float:
        """‖whole − paths‖ / ‖paths‖ on the border, for a normal random input."""
        whole = self.whole.value
        noise = torch.randn(whole.c_in, *self.sizes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x = noise.to(whole.kernel.device)[None]
        difference = self.difference(x)
        inside = [slice(end.lo, n - end.hi) for end, n in zip(self.ends, self.after, strict=True)]
        exact = (whole(x) + difference).detach()
        exact[(slice(None), slice(None), *inside)] = 0
        return float(difference.detach().norm() / exact.norm())

    def strips(self) -> Iterator[tuple[int, Strip, bool]]:
        """For the original steps: of each axis and end what they are run on; is it the high end?"""
        return strips([[(g.windows, g.period) for g in steps] for steps in self.geometries], self.ends)

    def shapes(self) -> Iterator[Shape]:
        """At ``lengths``."""
        return shapes([[g.windows for g in steps] for steps in self.geometries], self.lengths, self.ends)

    def pieces(self) -> Iterator[Piece]:
        return pieces(self.chains(), self.lengths, self.ends, self.least)

    def chains(self) -> list[list[Convolution]]:
        """The paths composed, step by step."""
        dims = len(self.sizes)
        chains = [[lifted(step, dims).value.lifted(dims) for step in path] for path in self.paths]
        device = next((op.kernel.device for ops in chains for op in ops if op.kernel.device.type != "cpu"), None)
        return [[op.to(device=device) for op in ops] for ops in chains]

    def difference(self, x: Tensor) -> Tensor:
        """Zero but for the border."""
        chains, whole = self.chains(), self.whole.value.lifted(len(self.sizes))
        total = -whole.to(x.dtype, x.device)(x)
        for steps in chains:
            total = total + _applied(steps, x)
        return total

    def forget(self) -> None:
        for part in (self.whole, *self.parts):
            part.forget()


def _applied(steps: list[Convolution], x: Tensor) -> Tensor:
    for op in steps:
        x = op.to(x.dtype, x.device)(x)
    return x
