"""What a chain of padded convolutions does at the border that their one convolution does not, and how to mend it.

Between two steps of a chain the signal ends, and the next one reads zeros beyond. On a signal without end the chain is
one convolution; on one that ends they agree wherever nothing was read outside that would not have been zero there.
The rest is a ring: on each axis so many outputs from the low end, so many from the high one (`margins`).

There the chain is computed exactly by *pieces*. An axis of which only a few rows matter is a matrix: folded into the
channels (`cut`) it leaves a convolution with one axis fewer, and chains of those compose like any other. With E the
chain as it is and I_a the same with axis a taken to be endless,

    E − I_0 I_1 … E = Σ_a (I_0 … I_{a−1}) (E − I_a E),

and E − I_a E is zero but for the margins of axis a: strips along the edges, and in them, recursively, corners.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import lcm, prod
from typing import Any

import torch
from torch import Tensor

from convfold.algebra import parallel, series
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window

#: The operators of a chain, first applied first.
Chain = Sequence[Convolution]

#: Of each axis some positions, or (None) all.
Spans = tuple[range | None, ...]


@dataclass(frozen=True, slots=True)
class Margin:
    """How many outputs at each end of one axis are not what the one convolution gives; is it data that differs?"""

    lo: int
    hi: int
    data: bool

    @property
    def empty(self) -> bool:
        return self.lo == self.hi == 0

    def within(self, n: int) -> Margin:
        """The same where there are only n outputs."""
        return self if self.lo + self.hi < n else Margin(n, 0, self.data)

    def __or__(self, other: Margin) -> Margin:
        return Margin(max(self.lo, other.lo), max(self.hi, other.hi), self.data or other.data)


@lru_cache(maxsize=1 << 14)
def margin(windows: tuple[Window, ...], biased: tuple[bool, ...], n: int | None) -> Margin:
    """The margin of a chain on one axis of n inputs; None: one wide enough for every n.

    ``biased`` says of each step whether it, or one before it, has a bias.
    """
    if n is not None:
        return _margin(windows, biased, n)
    # Far from each other the two ends do not know of each other; what is nearer reads less. How far the high end is
    # from the last position read depends on remainders: every one of them is looked at.
    step = prod(w.stride for w in windows)
    far = _far(windows)
    return reduce(Margin.__or__, (_margin(windows, biased, far + i) for i in range(step)))


def _margin(windows: tuple[Window, ...], biased: tuple[bool, ...], n: int) -> Margin:
    """Step by step: the outputs that read a position that is wrong, and next to them those that are not there."""
    size, wrong, data = n, set[int](), False
    for i, w in enumerate(windows):
        size = w.size(size)
        wrong = {q for p in wrong for q in w.outputs(p) if 0 <= q < size}
        for p in windows[i + 1].outside(size) if i + 1 < len(windows) else ():
            if depends(windows[: i + 1], p, n):
                wrong.add(p)
                data = True
            elif biased[i]:
                wrong.add(p)
    if not wrong:
        return Margin(0, 0, False)
    places = sorted(wrong)
    between = [(a + 1, size - b) for a, b in zip([-1, *places], [*places, size], strict=True)]
    lo, hi = min(between, key=lambda ends: (sum(ends), max(ends)))
    return Margin(lo, hi, data)


def depends(windows: tuple[Window, ...], p: int, n: int) -> bool:
    """Would position p of what the steps give, were there no ends between them, depend on any of the n inputs?"""
    places = {p}
    for w in reversed(windows):
        places = {q for p in places for q in w.inputs(p)}
    return any(0 <= q < n for q in places)


def margins(
    chains: Iterable[Sequence[tuple[tuple[Window, ...], bool]]], sizes: Sequence[int | None]
) -> tuple[Margin, ...]:
    """The margins, one an axis, of a sum of chains; of each step its windows and whether it has a bias."""
    found = [Margin(0, 0, False)] * len(sizes)
    for steps in chains:
        biased, seen = [], False
        for _, bias in steps:
            biased.append(seen := seen or bias)
        for i, n in enumerate(sizes):
            found[i] |= margin(tuple(w[i] for w, _ in steps), tuple(biased), n)
    return tuple(found)


def reads(windows: Sequence[Window], n: int, rows: range, endless: bool = False) -> list[range]:
    """The positions that ``rows`` of the result depend on, from the input's to the result's, along one axis.

    ``endless``: the signals between the steps go on beyond their ends; the input, zero there, never needs to.
    """
    sizes = _sizes(windows, n)
    found = [rows]
    for i in reversed(range(len(windows))):
        w, rows = windows[i], found[-1]
        first = -((w.lo - w.stride * rows.start) // w.upsample)
        last = (w.stride * (rows.stop - 1) + w.reach - w.lo) // w.upsample
        if i == 0 or not endless:
            first, last = max(first, 0), min(last, sizes[i] - 1)
        if last < first:  # nothing is read: one position, and no tap that meets it
            first = last = min(max(first, 0), max(sizes[i] - 1, 0))
        found.append(range(first, last + 1))
    return found[::-1]


@dataclass(frozen=True, slots=True)
class Strip:
    """So much of a chain's input, from one end of an axis, that the steps on it alone give the outputs at that end.

    Exact at every size: of a signal that is shorter, it is all there is. From the high end it begins at a multiple of
    ``step`` positions, so that strides fall where they fall on the whole; it is up to ``step`` − 1 longer then.
    """

    rows: int
    inputs: int
    step: int


def low_strip(windows: Sequence[Window], rows: int) -> Strip:
    """Every step's signal is long enough to hold what the first ``rows`` outputs read of it."""
    needed = reads(windows, _far(windows) + rows * prod(w.stride for w in windows), range(rows))
    n = needed[0].stop
    while any(size < span.stop for size, span in zip(_sizes(windows, n), needed, strict=True)):
        n += 1
    return Strip(rows, n, 1)


def high_strip(windows: Sequence[Window], rows: int, period: int = 1) -> Strip:
    """The same for the last ``rows`` outputs, whatever the remainder of the size; ``period`` is that of the biases."""
    step = prod(w.stride for w in windows) * period
    inputs = 0
    for n in range(start := _far(windows) + rows * step, start + step):
        *_, total = _sizes(windows, n)
        needed = reads(windows, n, range(total - rows, total))
        up, down = 1, 1  # position p of this step's signal lies at p·down/up of the input
        for i, span in enumerate(needed):
            inputs = max(inputs, n - span.start * down // up)
            if i < len(windows):
                up, down = up * windows[i].upsample, down * windows[i].stride
    return Strip(rows, inputs, step)


def strips(
    chains: Sequence[Sequence[tuple[tuple[Window, ...], tuple[int, ...] | None]]], ends: Sequence[Margin]
) -> Iterator[tuple[int, Strip, bool]]:
    """Of each axis and end, what the steps of all chains are to be run on; is it the high end?

    Of each step its windows and the period of its bias.
    """
    for i, margin in enumerate(ends):
        period = lcm(*(p[i] for steps in chains for _, p in steps if p))
        for rows, high in ((margin.lo, False), (margin.hi, True)):
            if rows:
                along = [[w[i] for w, _ in steps] for steps in chains]
                found = [high_strip(ws, rows, period) if high else low_strip(ws, rows) for ws in along]
                step = lcm(*(s.step for s in found))
                yield i, Strip(rows, max(s.inputs for s in found), step), high


def end(x: Tensor, axis: int, n: int, step: int, high: bool) -> Tensor:
    """The first or last n positions, or all there are; the last from a multiple of ``step`` on."""
    if not high:
        return x[(slice(None),) * axis + (slice(n),)]
    first = -n if step == 1 else torch.sym_max(x.shape[axis] - n, 0) // step * step
    return x[(slice(None),) * axis + (slice(first, None),)]


def _far(windows: Sequence[Window]) -> int:
    """So many inputs that the two ends do not know of each other."""
    return 4 * sum(w.reach + abs(w.lo) + abs(w.hi) + 1 for w in windows) * prod(w.stride for w in windows)


def _sizes(windows: Sequence[Window], n: int) -> list[int]:
    sizes = [n]
    for w in windows:
        sizes.append(w.size(sizes[-1]))
    return sizes


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


def boxes(ends: Sequence[Margin], sizes: Sequence[int]) -> Iterator[Spans]:
    """The border as two strips an axis that do not overlap: those of the first axis are as long as the others."""
    inner: list[range | None] = [None] * len(sizes)
    for i, (end, n) in enumerate(zip(ends, sizes, strict=True)):
        for rows in (range(end.lo), range(n - end.hi, n)):
            if len(rows):
                yield (*inner[:i], rows, *inner[i + 1 :])
        inner[i] = range(end.lo, n - end.hi)
        if not inner[i]:
            return


@dataclass(frozen=True, eq=False, slots=True)
class Shape:
    """All of a piece but its numbers."""

    rows: Spans
    reads: Spans
    linear: bool


def shapes(
    chains: Sequence[Sequence[tuple[Window, ...]]], sizes: Sequence[int], ends: Sequence[Margin]
) -> Iterator[Shape]:
    """The pieces of a sum of chains, given the windows of their steps."""
    dims = len(sizes)
    spans: list[list[tuple[range, range]]] = []  # of each axis and end: rows and what they read
    for i, (n, end) in enumerate(zip(sizes, ends, strict=True)):
        along = [[step[i] for step in steps] for steps in chains]
        *_, total = _sizes(along[0], n)
        sides = (range(end.lo), range(total - end.hi, total))
        spans.append([(rows, _hull(reads(ws, n, rows, True)[0] for ws in along)) for rows in sides if len(rows)])
    none: Spans = (None,) * dims

    def grow(rows: Spans, read: Spans, start: int, linear: bool) -> Iterator[Shape]:
        for i in range(start, dims):
            for out, span in spans[i]:
                r, q = (*rows[:i], out, *rows[i + 1 :]), (*read[:i], span, *read[i + 1 :])
                alike = linear and ends[i].data
                yield Shape(r, q, alike)
                yield from grow(r, q, i + 1, alike)

    yield from grow(none, none, 0, True)


def _hull(spans: Iterable[range]) -> range:
    found = list(spans)
    return range(min(s.start for s in found), max(s.stop for s in found))


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
