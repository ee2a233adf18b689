"""What a chain of padded convolutions does at the border that their one convolution does not, and how to mend it.

Between two steps of a chain the signal ends, and the next one reads zeros beyond. On a signal without end the chain is
one convolution; on one that ends they part in a ring, so many outputs from each end of each axis (`margins`). There
the chain is computed exactly by *pieces*. An axis of which only a few rows matter is a matrix, and its rows are
channels: what they read of the input is read off the chain (`adjoint`), whose signals end there or do not. With E the
chain as it is and I_a the same with axis a taken to be endless,

    E − I_0 I_1 … E = Σ_a (I_0 … I_{a−1}) (E − I_a E),

and E − I_a E is zero but for the margins of axis a: strips along the edges, and in them, recursively, corners.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd, lcm, prod
from typing import Any

import torch
from torch import Tensor

from convfold.algebra import adjoint
from convfold.algebra.convolution import Convolution
from convfold.algebra.margins import Margin, Shape, Spans, from_end, shapes
from convfold.algebra.operation import T
from convfold.algebra.structure import alive, trimmed
from convfold.algebra.window import Window
from convfold.ops import Eager, Ops, Part

#: The operators of a chain, first applied first.
Chain = Sequence[Convolution]


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """What is to be added to a part of the border.

    Attributes:
        rows: of each axis the outputs it is for; None: all.
        reads: and the inputs it reads.
        operator: from those inputs to (N, c·∏rows or phases, *axes): an axis with rows is left with one position.
        phases: of each other axis after how many outputs the same comes again: they are channels, as rows are.
        before, sizes: lengths of the axes of the whole input, and of the whole result.
        linear: does it read anything? Else it is its bias.
        least: of each axis None; of one whose length is free, so that ``before`` and ``sizes`` are any that are large
            enough, how many inputs it has at least.
    """

    rows: Spans
    reads: Spans
    operator: Convolution
    phases: tuple[int, ...]
    before: tuple[int, ...]
    sizes: tuple[int, ...]
    linear: bool
    least: tuple[int | None, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """(N, c_in, *before) → (N, c, *(rows or size))"""
        return self.laid_out(Eager(x), self.operator(self.read(Eager(x), x, 1)), 1)

    def read(self, ops: Ops[T], x: T, axis: int) -> T:
        """What it reads of the input, whose channels are on ``axis``; zeros where a shorter one has nothing."""
        for i, (span, n, least) in enumerate(zip(self.reads, self.before, self.least, strict=True)):
            if span is None:
                continue
            at = axis + 1 + i
            if least is None:
                x = ops.slice(x, at, span.start, span.stop)
                continue
            k, span = len(span), from_end(span, n)
            high = span.start < 0
            reach = -span.start if high else span.stop
            if least >= reach:
                x = ops.slice(x, at, span.start, span.stop or None)
                continue
            x = ops.filled(x, at, axis + 1 + len(self.rows), reach, high)
            if k < reach:
                x = ops.slice(x, at, 0, k) if high else ops.slice(x, at, reach - k, reach)
        return x

    def part(self, value: T, axis: int) -> Part[T]:
        """What it gives, and where that belongs: as much of it as there is."""
        rows = [
            r if r is None or least is None else from_end(r, n)
            for r, n, least in zip(self.rows, self.sizes, self.least, strict=True)
        ]
        lengths = zip(rows, self.sizes, self.before, self.phases, self.least, strict=True)
        short = [  # phases are outputs an input, as strides are none where a length is free
            axis + 1 + i
            for i, (r, n, m, up, least) in enumerate(lengths)
            if r is not None and least is not None and n - up * (m - least) < len(r)
        ]
        return Part(rows, value, short)

    def laid_out(self, ops: Ops[T], y: T, axis: int) -> T:
        """The operator's result, its channels on ``axis``, as (…, c, *(rows or size)), with whatever computes that."""
        if any(r is None and least is not None for r, least in zip(self.rows, self.least, strict=True)):
            return self._along_free(ops, y, axis)
        batch = [-1] * axis
        inner = [p if r is None else len(r) for r, p in zip(self.rows, self.phases, strict=True)]
        places = [-(-n // p) if r is None else 1 for r, n, p in zip(self.rows, self.sizes, self.phases, strict=True)]
        channels, dims, first = self.operator.c_out // prod(inner), len(inner), len(batch) + 1
        lengths = [*inner, *places]
        order = [a for i in range(dims) for a in (dims + i, i)]
        if (real := [a for a in order if lengths[a] > 1]) != sorted(real):
            y = ops.reshape(y, [*batch, channels, *lengths])
            y = ops.permute(y, [*range(first), *(first + a for a in order)])
        y = ops.reshape(y, [*batch, channels, *(prod(lengths[i::dims]) for i in range(dims))])
        for i, (r, n, p, m) in enumerate(zip(self.rows, self.sizes, self.phases, places, strict=True)):
            if r is None and p * m > n:
                y = ops.slice(y, first + i, 0, n)
        return y

    def _along_free(self, ops: Ops[T], y: T, axis: int) -> T:
        """The same where the length of an axis that is not cut is free: only axes of more than one row are moved."""
        first, dims = axis + 1, len(self.rows)
        inner = [p if r is None else len(r) for r, p in zip(self.rows, self.phases, strict=True)]
        split = [i for i, n in enumerate(inner) if n > 1]
        gone = [i for i in split if self.rows[i] is not None]  # their rows take the place of their one position
        for i in reversed(gone):
            y = ops.select(y, first + i, 0)
        if split:
            y = ops.unflatten(y, axis, [self.operator.c_out // prod(inner), *(inner[i] for i in split)])
        places = iter(range(first + len(split), first + len(split) + dims))
        order: list[int] = []
        for i in range(dims):
            order += [] if i in gone else [next(places)]
            order += [first + split.index(i)] if i in split else []
        if order != sorted(order):
            y = ops.permute(y, [*range(first), *order])
        for i, (r, n, p) in enumerate(zip(self.rows, self.sizes, self.phases, strict=True)):
            if r is None and p > 1:
                y = ops.flatten(y, first + i)
                if over := -n % p:
                    y = ops.slice(y, first + i, 0, -over)
        return y

    def constants(self) -> Tensor:
        """(c, *(rows or size)), one position for all where they are alike: what it adds whatever it reads."""
        places = [-(-n // p) if r is None else 1 for r, n, p in zip(self.rows, self.sizes, self.phases, strict=True)]
        bias = self.operator.bias
        if bias is None:
            bias = self.operator.kernel.new_zeros(self.operator.c_out)
        y = bias.reshape(1, -1, *(1,) * len(places)).expand(1, -1, *places)
        return compact(self.laid_out(Eager(y), y, 1)[0])

    def place(self) -> tuple[Any, ...]:
        """Where in (N, c, *size) it is added."""
        return (..., *(slice(None) if r is None else slice(r.start, r.stop) for r in self.rows))


def compact(y: Tensor) -> Tensor:
    """(c, *sizes) with one position for every axis along which all are alike."""
    for axis in range(1, y.dim()):
        first = y.narrow(axis, 0, 1)
        y = first if torch.equal(y, first.expand_as(y)) else y
    return y


def pieces(
    chains: Sequence[Chain], sizes: Sequence[int], ends: Sequence[Margin], least: tuple[int | None, ...] | None = None
) -> Iterator[Piece]:
    """What is to be added to the border of the one convolution that a sum of chains is on signals without end.

    Args:
        chains: each from inputs (N, c_in, *sizes) to outputs of one shape; all steps have these many axes.
        ends: their :func:`margins` at these sizes.
        least: see `Piece`: of the axes whose length is free, where ends must be ``apart``.
    """
    least = (None,) * len(sizes) if least is None else least
    known = [_sizes(steps, sizes) for steps in chains]
    periods = [adjoint.period(steps) for steps in chains]
    phases = tuple(lcm(*(p[i][0] for p in periods)) for i in range(len(sizes)))
    strides = tuple(p * periods[0][i][1] // periods[0][i][0] for i, p in enumerate(phases))
    groups = gcd(*(step.groups for steps in chains for step in steps))
    for shape in shapes([[step.windows for step in steps] for steps in chains], sizes, ends):
        cuts = [i for i, r in enumerate(shape.rows) if r is not None]
        outputs = [range(p) if r is None else r for r, p in zip(shape.rows, phases, strict=True)]
        parts = []
        # (I_{<a})(E − I_a E) for every axis that is cut: E with each of them ending or not, and a sign.
        for ending in product((True, False), repeat=len(cuts)):
            ended = [i in cuts and ending[cuts.index(i)] for i in range(len(sizes))]
            sign = -1 if (len(cuts) - sum(ending)) % 2 else 1
            parts += [
                (sign, adjoint.read_off(steps, before, outputs, ended, shape.reads, groups, shape.linear))
                for steps, before in zip(chains, known, strict=True)
            ]
        operator = _added(parts, shape, strides)
        windows = tuple(
            w if r is not None else w.with_size(n, -(-m // p))
            for w, r, n, m, p in zip(operator.windows, shape.rows, sizes, known[0][-1], phases, strict=True)
        )
        operator = Convolution(operator.kernel, operator.bias, groups, windows)
        operator = trimmed(operator, [i for i in range(len(sizes)) if i not in cuts])
        uncut = [n if r is None and m is None else None for r, n, m in zip(shape.rows, sizes, least, strict=True)]
        operator = alive(operator, uncut)
        yield Piece(shape.rows, shape.reads, operator, phases, tuple(sizes), tuple(known[0][-1]), shape.linear, least)


def _sizes(steps: Chain, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Before the first step, and after each."""
    known = [tuple(sizes)]
    for step in steps:
        known.append(step.geometry.size(known[-1]))
    return known


def _added(parts: Sequence[tuple[int, adjoint.Reading]], shape: Shape, strides: Sequence[int]) -> Convolution:
    """Readings of one set of outputs added up, each where its taps stand."""
    spans = tuple(
        range(min(part.spans[i].start for _, part in parts), max(part.spans[i].stop for _, part in parts))
        if q is None
        else q
        for i, q in enumerate(shape.reads)
    )
    first = parts[0][1]
    outputs = first.bias.dim()  # channels, then one dimension an axis
    kernel = first.kernel.new_zeros(*first.kernel.shape[: outputs + 1], *map(len, spans))
    bias = torch.zeros_like(first.bias)
    for sign, part in parts:
        at: tuple[Any, ...] = tuple(
            slice(s.start - t.start, s.stop - t.start) for s, t in zip(part.spans, spans, strict=True)
        )
        kernel[(..., *at)] += sign * part.kernel
        bias += sign * part.bias
    windows = tuple(
        Window(len(s), stride, lo=-s.start) if q is None else Window(len(s))
        for s, stride, q in zip(spans, strides, shape.reads, strict=True)
    )
    biased = bool(bias.detach().ne(0).any())
    return Convolution(kernel.flatten(0, outputs - 1), bias.flatten() if biased else None, first.groups, windows)
