"""The border of a term: what its operator, composed as if no signal had an end, gets wrong there, and how to mend it.

Which way is cheapest depends on what differs (constants or data) and on whether the sizes are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, pairwise
from math import prod

import torch
from torch import Tensor

from convfold.algebra.border import Piece, compact, end, pieces
from convfold.algebra.convolution import Convolution
from convfold.algebra.geometry import Geometry
from convfold.algebra.margins import Margin, Shape, Spans, Strip, boxes, depends, margins, reads, shapes, strips
from convfold.algebra.realisation import Realisation
from convfold.plan.cost import Cost, Prices
from convfold.plan.realisation import cheapest, chosen
from convfold.plan.recipe import Recipe, lifted
from convfold.region import Signal
from convfold.report import Ghost

#: The ways a border is mended, and what they are called in a report.
WAYS = {
    "constants": "constants added to the strips of the border",
    "map": "a map of constants added",
    "ones": "a convolution of a map of ones added",
    "kernels": "kernels of its own for every edge and corner",
    "steps": "the original steps on strips of the border",
    "hoisted": "changed, as asked: all padding comes first",
}

#: Where composing kernels for a border would go through one with more numbers than this, they are not considered.
LARGEST = 1 << 24


@dataclass(frozen=True, eq=False)
class Border:
    """Where the sum of ``paths``, run step by step, and ``whole``, their one convolution on endless signals, differ.

    Attributes:
        whole: the operator that is applied.
        paths: what it stands for; each from the same input, first applied first.
        known: sizes of the input's space axes, None where free; ``sizes`` are those of the example.
    """

    whole: Recipe
    paths: tuple[tuple[Recipe, ...], ...]
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

    @property
    def parts(self) -> Iterator[Recipe]:
        return chain.from_iterable(self.paths)

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(source for part in self.parts for source in part.sources))

    def ways(self) -> list[str]:
        """Those that are exact here."""
        if self.fixed:
            if self.constant:
                return ["constants", "map"]
            return ["kernels", "steps"] if self.largest <= LARGEST else ["steps"]
        return ["ones", "steps"] if self.constant and self.level is not None else ["steps"]

    @cached_property
    def level(self) -> list[int] | None:
        """Of each path the step whose bias it is, if what comes up to it is pointwise: a constant over the input."""
        found = []
        for steps in self.geometries:
            first = next((i for i, g in enumerate(steps) if g.period is not None), None)
            if first is None or first + 1 == len(steps):
                return None
            if any(not g.pointwise or g.periodic for g in steps[: first + 1]):
                return None
            found.append(first)
        return found if not self.whole.geometry.periodic else None

    @cached_property
    def largest(self) -> int:
        """Numbers in the largest kernel that composing kernels for edges and corners goes through."""
        found = 0
        for shape in self.shapes():
            for steps in self.geometries:
                numbers = [g.weights for g in steps]
                for i, (rows, n) in enumerate(zip(shape.rows, self.sizes, strict=True)):
                    if rows is not None:
                        spans = reads([g.windows[i] for g in steps], n, rows, endless=True)
                        for k, (g, a, b) in enumerate(zip(steps, spans, spans[1:], strict=False)):
                            numbers[k] = numbers[k] * len(a) * len(b) // g.windows[i].taps
                found = max(found, *numbers)
        return found

    # --- what it costs -------------------------------------------------------------------------------------------

    def cost(self, way: str, prices: Prices, x: Signal, y: Signal, axis: int) -> Cost:
        """``x`` is what the operator reads, ``y`` what it gives; their channel axis is ``axis``."""
        match way:
            case "hoisted":
                return Cost()
            case "map":
                return prices.step(0, 3 * y.bytes)
            case "constants":
                return self._cost_of_constants(prices, y)
            case "ones":
                return self._cost_of_ones(prices, y)
            case "steps":
                return self._cost_of_steps(prices, x, y, axis)
            case _:
                return self._cost_of_pieces(prices, x, y)

    def _cost_of_constants(self, prices: Prices, y: Signal) -> Cost:
        """A slice and an addition for each strip; as operations of the model they are one."""
        position = y.bytes // max(prod(self.after), 1)
        total = Cost()
        for box in boxes(self.ends, self.after):
            positions = prod(n if r is None else len(r) for r, n in zip(box, self.after, strict=True))
            total += prices.step(0, 3 * position * positions, 2)
        return replace(total, ops=1)

    def _cost_of_pieces(self, prices: Prices, x: Signal, y: Signal) -> Cost:
        g = self.whole.geometry
        batch = prod(y.shape) // max(g.c_out * prod(self.after), 1)
        total = Cost()
        for shape in self.shapes():
            rows = prod(len(r) for r in shape.rows if r is not None)
            read = prod(len(q) for q in shape.reads if q is not None)
            rest = [i for i, r in enumerate(shape.rows) if r is None]
            out = batch * g.c_out * rows * prod(self.after[i] for i in rest)
            if not shape.linear:
                total += prices.step(0, 3 * out * y.itemsize, 2)
                continue
            weights, positions = g.c_out * rows * (g.c_in // g.groups) * read, batch
            for i in rest:
                w = g.windows[i]
                weights *= w.upsample * -(-w.taps // w.upsample) if w.upsample > 1 else w.taps
                positions *= -(-self.after[i] // w.upsample)
            strip = batch * g.c_in * read * prod(self.sizes[i] for i in rest)
            total += prices.step(weights * positions, (2 * strip + weights + 4 * out) * y.itemsize, 3)
        return total

    def _cost_of_ones(self, prices: Prices, y: Signal) -> Cost:
        total = prices.step(0, 3 * y.bytes)
        assert self.level is not None
        for steps, first in zip(self.geometries, self.level, strict=True):
            one = Signal((1, 1, *self.sizes), frozenset(), y.itemsize)
            for i, g in enumerate(steps[first + 1 :]):
                if i == 0:
                    g = Geometry(g.c_out, 1, 1, g.windows, (1,) * g.dims)
                total += cheapest(g, one, 1, prices)[1]
                one = _behind(one, g, 1)
        return total

    def _cost_of_steps(self, prices: Prices, x: Signal, y: Signal, axis: int) -> Cost:
        return sum((strip.cost for strip in self.stepped(self.paths, prices, x, y, axis)), Cost())

    def stepped(
        self, paths: Sequence[Sequence[Recipe]], prices: Prices, x: Signal, y: Signal, axis: int
    ) -> Iterator[Stepped]:
        """The steps on each strip: how each is computed, and what that costs."""
        for i, strip, high in self.strips():
            n = self.sizes[i]
            length = n - max(n - strip.inputs, 0) // strip.step * strip.step if high else min(n, strip.inputs)
            ways, total = [], prices.step(0, 2 * _with_space(y, axis, i, strip.rows).bytes, 4)
            for k, path in enumerate(paths):
                now, hows = _with_space(x, axis, i, length), []
                for step in path:
                    how, cost = chosen(step, now, axis, prices, part=True)
                    hows.append(how)
                    total += Cost() if step.identity else cost
                    now = _behind(now, step.geometry.lifted(len(self.sizes)), axis)
                ways.append(tuple(hows))
                total += prices.sum(2, now) if k else Cost()
            yield Stepped(i, strip, high, tuple(ways), total)

    # --- what it is ------------------------------------------------------------------------------------------------

    def read(self, y: Signal, axis: int) -> Signal:
        """The signal that the operator reads, given one with its batch."""
        return Signal((*y.shape[:axis], self.whole.geometry.c_in, *self.sizes), frozenset(), y.itemsize)

    def ghosts(self) -> Iterator[Ghost]:
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
                ghost = Ghost(reader, read, (g.c_out, *now), tuple(counts), data)
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

    # --- how it is mended ------------------------------------------------------------------------------------------

    def strips(self) -> Iterator[tuple[int, Strip, bool]]:
        """For the original steps: of each axis and end what they are run on; is it the high end?"""
        return strips([[(g.windows, g.period) for g in steps] for steps in self.geometries], self.ends)

    def shapes(self) -> Iterator[Shape]:
        return shapes([[g.windows for g in steps] for steps in self.geometries], self.sizes, self.ends)

    def pieces(self) -> Iterator[Piece]:
        return pieces(self._chains(), self.sizes, self.ends)

    def mended(self, way: str, y: Tensor, x: Tensor) -> Tensor:
        """``y``, which the operator made of ``x``, with the border it should have: (N, c, *space)."""
        match way:
            case "map":
                return y + self.map().to(y.dtype)
            case "ones":
                for steps in self.ones():
                    y = y + _applied(steps, torch.ones_like(x[:1, :1]))
                return y
        y = y.clone()
        match way:
            case "constants":
                for box, values in self.constants():
                    y[(..., *(slice(None) if r is None else slice(r.start, r.stop) for r in box))] += values.to(y.dtype)
            case "kernels":
                for piece in self.pieces():
                    y[piece.place()] += piece(x.to(torch.float64)).to(y.dtype)
            case "steps":
                for i, strip, high in self.strips():
                    part = end(x, 2 + i, strip.inputs, strip.step, high)
                    exact = sum(_applied(steps, part) for steps in self._chains())
                    assert isinstance(exact, Tensor)
                    end(y, 2 + i, strip.rows, 1, high).copy_(end(exact, 2 + i, strip.rows, 1, high))
        return y

    def map(self) -> Tensor:
        """(c, *after): what is missing where nothing is read."""
        return self.difference(None)[0]

    def constants(self) -> Iterator[tuple[Spans, Tensor]]:
        """The parts of the map that are not zero: where, and (c, *positions) or one position for all."""
        whole = self.map()
        for box in boxes(self.ends, self.after):
            part = whole
            for i, span in enumerate(box):
                part = part if span is None else part.narrow(i + 1, span.start, len(span))
            yield box, compact(part)

    def _chains(self) -> list[list[Convolution]]:
        dims = len(self.sizes)
        chains = [[lifted(step, dims).value.lifted(dims) for step in path] for path in self.paths]
        device = next((op.kernel.device for ops in chains for op in ops if op.kernel.device.type != "cpu"), None)
        return [[op.to(device=device) for op in ops] for ops in chains]

    def difference(self, x: Tensor | None) -> Tensor:
        """Zero but for the border."""
        chains, whole = self._chains(), self.whole.value.lifted(len(self.sizes))
        if x is None:
            like = chains[0][0].kernel
            x = torch.zeros(1, whole.c_in, *self.sizes, dtype=like.dtype, device=like.device)
        total = -whole.to(x.dtype, x.device)(x)
        for steps in chains:
            total = total + _applied(steps, x)
        return total

    def ones(self) -> list[list[Convolution]]:
        """Chains that, applied to a map of ones as large as the input, add up to what is missing."""
        assert self.level is not None
        found = []
        for steps, first in zip(self._chains(), self.level, strict=True):
            value, rest = steps[first].periodic_bias(), steps[first + 1 :]
            for op in rest[:1]:
                taps = torch.einsum(
                    "gom...,gm->go...",
                    op.kernel.unflatten(0, (op.groups, -1)),
                    value.reshape(op.groups, -1),
                ).flatten(0, 1)
                rest[0] = Convolution(taps.unsqueeze(1), op.bias, 1, op.windows)
            found.append(rest)
        whole = self.whole.value.lifted(len(self.sizes))
        if whole.bias is not None:  # what the operator has added everywhere
            last = found[-1][-1]
            left = -whole.bias if last.bias is None else last.bias - whole.bias
            found[-1][-1] = Convolution(last.kernel, left, last.groups, last.windows)
        return found

    def forget(self) -> None:
        for part in (self.whole, *self.parts):
            part.forget()


@dataclass(frozen=True, slots=True)
class Stepped:
    """The steps of a chain on one strip: of each path how each step is computed, and the cost of all."""

    axis: int
    strip: Strip
    high: bool
    hows: tuple[tuple[Realisation, ...], ...]
    cost: Cost


def _applied(steps: list[Convolution], x: Tensor) -> Tensor:
    for op in steps:
        x = op.to(x.dtype, x.device)(x)
    return x


def _with_space(x: Signal, axis: int, i: int, n: int) -> Signal:
    at = axis + 1 + i
    return Signal((*x.shape[:at], n, *x.shape[at + 1 :]), frozenset(), x.itemsize)


def _behind(x: Signal, g: Geometry, axis: int) -> Signal:
    """What an operator makes of a signal."""
    space = g.size(x.space(axis, g.dims))
    return Signal((*x.shape[:axis], g.c_out, *space, *x.shape[axis + 1 + g.dims :]), frozenset(), x.itemsize)
