"""What a chain of padded convolutions does at the border that their one convolution does not, and how to mend it.

Between two steps of a chain the signal ends, and the next one reads zeros beyond. On a signal without end the chain is
one convolution; on one that ends they part in a ring, so many outputs from each end of each axis (`margins`). There
the chain is computed exactly by *pieces*. An axis of which only a few rows matter is a matrix: folded into the
channels (`cut`) it leaves a convolution with one axis fewer, and chains of those compose like any other. With E the
chain as it is and I_a the same with axis a taken to be endless,

    E − I_0 I_1 … E = Σ_a (I_0 … I_{a−1}) (E − I_a E),

and E − I_a E is zero but for the margins of axis a: strips along the edges, and in them, recursively, corners.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import torch
from torch import Tensor

from convfold.algebra import parallel, series
from convfold.algebra.convolution import Convolution
from convfold.algebra.margins import Margin, Shape, Spans, reads, shapes
from convfold.algebra.window import Window

#: The operators of a chain, first applied first.
Chain = Sequence[Convolution]


def end(x: Tensor, axis: int, n: int, step: int, high: bool) -> Tensor:
    """The first or last n positions, or all there are; the last from a multiple of ``step`` on."""
    if not high:
        return x[(slice(None),) * axis + (slice(n),)]
    first = -n if step == 1 else torch.sym_max(x.shape[axis] - n, 0) // step * step
    return x[(slice(None),) * axis + (slice(first, None),)]


def cut(op: Convolution, axis: int, rows_in: range, rows_out: range) -> Convolution:
    """The same map between some rows of one axis, these folded into the channels: (N, c·rows, *other axes).

    K'[(o, p), (i, q), …] = Σ_t K[o, i, t, …] where output p reads input q at tap t; inputs elsewhere are zero.
    """
    w = op.windows[axis]
    p, t = torch.tensor(rows_out), torch.arange(w.taps)
    at = p[None, :] * w.stride + t[:, None] * w.dilation - w.lo  # (T, P)
    q = torch.tensor(rows_in) * w.upsample
    place = (at[..., None] == q).to(op.kernel)  # (T, P, Q)
    kernel = torch.einsum("oi...t,tpq->opiq...", op.kernel.movedim(axis + 2, -1), place)
    windows = (*op.windows[:axis], *op.windows[axis + 1 :])
    bias = op.bias
    if bias is not None:
        bias = op.periodic_bias()
        bias = bias.index_select(axis + 1, p.to(bias.device) % bias.shape[axis + 1]).movedim(axis + 1, 1).flatten(0, 1)
    return Convolution(kernel.flatten(0, 1).flatten(1, 2), bias, op.groups, windows)


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """What is to be added to a part of the border.

    Attributes:
        rows: of each axis the outputs it is for; None: all.
        reads: and the inputs it reads.
        operator: from those inputs to (N, c·∏rows·∏phases, *axes): an axis with rows is left with one position.
        phases: of each axis the rate at which it upsamples: the operator gives them as channels, after the rows.
        before, sizes: lengths of the axes of the whole input, and of the whole result.
        linear: does it read anything? Else it is its bias.
    """

    rows: Spans
    reads: Spans
    operator: Convolution
    phases: tuple[int, ...]
    before: tuple[int, ...]
    sizes: tuple[int, ...]
    linear: bool

    def __call__(self, x: Tensor) -> Tensor:
        """(N, c_in, *before) → (N, c, *(rows or size))"""
        for i, span in enumerate(self.reads):
            if span is not None:
                x = x.narrow(i + 2, span.start, len(span))
        y: Tensor = self.laid_out(self.operator(x), [-1], Tensor.reshape, Tensor.permute, Tensor.narrow)
        return y

    def laid_out(self, y: Any, batch: list[int], reshape: Any, permute: Any, narrow: Any) -> Any:
        """The operator's result as (*batch, c, *(rows or size)), with whatever computes that."""
        rows = [1 if r is None else len(r) for r in self.rows]
        places = [-(-n // p) if r is None else 1 for r, n, p in zip(self.rows, self.sizes, self.phases, strict=True)]
        channels, dims, first = self.operator.c_out // prod(rows) // prod(self.phases), len(rows), len(batch) + 1
        lengths = [*rows, *self.phases, *places]
        order = [a for i in range(dims) for a in (i, 2 * dims + i, dims + i)]
        if (real := [a for a in order if lengths[a] > 1]) != sorted(real):
            y = reshape(y, [*batch, channels, *lengths])
            y = permute(y, [*range(first), *(first + a for a in order)])
        y = reshape(y, [*batch, channels, *(prod(lengths[i::dims]) for i in range(dims))])
        for i, (r, n, p, m) in enumerate(zip(self.rows, self.sizes, self.phases, places, strict=True)):
            if r is None and p * m > n:
                y = narrow(y, first + i, 0, n)
        return y

    def constants(self) -> Tensor:
        """(c, *(rows or size)): what it adds whatever it reads."""
        y: Tensor = self(self.operator.kernel.new_zeros(1, self.operator.c_in, *self.before))[0]
        return compact(y)

    def place(self) -> tuple[Any, ...]:
        """Where in (N, c, *size) it is added."""
        return (..., *(slice(None) if r is None else slice(r.start, r.stop) for r in self.rows))


def compact(y: Tensor) -> Tensor:
    """(c, *sizes) with one position for every axis along which all are alike."""
    for axis in range(1, y.dim()):
        first = y.narrow(axis, 0, 1)
        y = first if torch.equal(y, first.expand_as(y)) else y
    return y


@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """± a chain of which some axes have been cut: the steps, and the sizes of the axes left before each step."""

    sign: int
    steps: list[Convolution]
    sizes: list[tuple[int, ...]]

    def cut(self, axis: int, rows: range, span: range) -> Iterator[_Part]:
        """E − I_a E: as it is, less the same with the axis taken to be endless."""
        windows = [step.windows[axis] for step in self.steps]
        left = [(*s[:axis], *s[axis + 1 :]) for s in self.sizes]
        for sign, endless in ((1, False), (-1, True)):
            spans = [span, *reads(windows, self.sizes[0][axis], rows, endless)[1:]]
            steps = [cut(step, axis, a, b) for step, a, b in zip(self.steps, spans, spans[1:], strict=False)]
            yield _Part(self.sign * sign, steps, left)

    def composed(self) -> Convolution:
        """On a signal without end."""
        return series.chain(self.steps, self.sizes, endless=True) * float(self.sign)


def pieces(chains: Sequence[Chain], sizes: Sequence[int], ends: Sequence[Margin]) -> Iterator[Piece]:
    """What is to be added to the border of the one convolution that a sum of chains is on signals without end.

    Args:
        chains: each from inputs (N, c_in, *sizes) to outputs of one shape; all steps have these many axes.
        ends: their :func:`margins` at these sizes.
    """
    parts = []
    for steps in chains:
        known = [tuple(sizes)]
        for step in steps:
            known.append(step.geometry.size(known[-1]))
        parts.append(_Part(1, list(steps), known[:-1]))
        after = known[-1]
    found: dict[tuple[object, ...], list[_Part]] = {}

    def cut_to(shape: Shape) -> list[_Part]:
        """The parts of a piece: those of the piece it lies in, cut once more."""
        cuts = [i for i, r in enumerate(shape.rows) if r is not None]
        if not cuts:
            return parts
        if shape.rows not in found:
            last = cuts[-1]
            wider = Shape(_without(shape.rows, last), _without(shape.reads, last), True)
            rows, span = shape.rows[last], shape.reads[last]
            assert rows is not None and span is not None
            place = last - len(cuts) + 1  # among the axes that are left
            found[shape.rows] = [new for part in cut_to(wider) for new in part.cut(place, rows, span)]
        return found[shape.rows]

    for shape in shapes([[step.windows for step in steps] for steps in chains], sizes, ends):
        left = [i for i, r in enumerate(shape.rows) if r is None]
        rest = tuple(sizes[i] for i in left)
        total = reduce(lambda a, b: parallel.parallel(a, b, rest), (p.composed() for p in cut_to(shape)))
        yield _piece(shape, total, sizes, after, left)


def _without(spans: Spans, i: int) -> Spans:
    return (*spans[:i], None, *spans[i + 1 :])


def _piece(shape: Shape, op: Convolution, sizes: Sequence[int], after: Sequence[int], left: list[int]) -> Piece:
    """Its operator with the axes that were cut put back, as taps that read all rows at once."""
    rates = [w.upsample for w in op.windows]
    if max(rates, default=1) > 1:
        whole = tuple(
            w.with_size(sizes[i], -(-after[i] // w.upsample) * w.upsample)
            for i, w in zip(left, op.windows, strict=True)
        )
        unshuffle = _unshuffle(op.c_out, rates).to(op.kernel.dtype, op.kernel.device)
        op = unshuffle @ Convolution(op.kernel, op.bias, op.groups, whole)
    counts = [1 if q is None else len(q) for q in shape.reads]
    kernel = op.kernel.unflatten(1, (-1, *(c for c, q in zip(counts, shape.reads, strict=True) if q is not None)))
    # (o, i, *rows of the cut axes, *taps of the others) → the axes in their order
    cuts = [i for i, q in enumerate(shape.reads) if q is not None]
    order = [2 + (cuts.index(i) if i in cuts else len(cuts) + left.index(i)) for i in range(len(counts))]
    kernel = kernel.permute(0, 1, *order)
    windows, rest = [], iter(op.windows)
    for q in shape.reads:
        windows.append(next(rest) if q is None else Window(len(q)))
    bias = op.bias
    if bias is not None and bias.dim() > 1:
        periods = iter(bias.shape[1:])
        bias = bias.reshape(len(bias), *(next(periods) if q is None else 1 for q in shape.reads))
    every = iter(rates)
    phases = tuple(next(every) if r is None else 1 for r in shape.rows)
    return Piece(
        shape.rows,
        shape.reads,
        Convolution(kernel, bias, op.groups, tuple(windows)),
        phases,
        tuple(sizes),
        tuple(after),
        shape.linear,
    )


def _unshuffle(channels: int, rates: Sequence[int]) -> Convolution:
    """Every phase of each axis as a channel: (c, φ_0, φ_1, …)."""
    phases = prod(rates)
    one_hot = torch.eye(phases).reshape(phases, 1, *rates).repeat(channels, 1, *(1,) * len(rates))
    return Convolution(one_hot, None, channels, tuple(Window(r, r) for r in rates))
