"""Where a chain of padded convolutions and their one convolution part: the integers of the border, no tensor in sight.

On a signal without end the two are one. On one that ends they agree wherever nothing was read outside that would not
have been zero there: all but so many outputs at each end of each axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import accumulate
from math import lcm, prod
from operator import mul

from convfold.algebra.window import Window

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
    long = far(windows)
    return reduce(Margin.__or__, (_margin(windows, biased, long + i) for i in range(step)))


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


def shortest(windows: Sequence[Window]) -> int:
    """The fewest inputs of which every step gives something."""
    n = 1
    while 0 in _sizes(windows, n):
        n += 1
    return n


def apart(windows: Sequence[Window], periods: Sequence[int]) -> bool:
    """Is each end of an axis wrong in its own way, the same at every length?

    What is wrong at one end is a sum of ways through positions beyond it, which no step gives. No way may go through
    positions beyond the other end too: with n inputs, the fewest there can be, the ends are nearest to each other. And
    from the high end on everything must be where it was: no stride, no bias (``periods``, of each step) out of step.
    """
    ups = list(accumulate((w.upsample for w in windows), mul))
    if any(w.stride > 1 for w in windows) or any(up % p for up, p in zip(ups, periods, strict=True)):
        return False
    sizes = _sizes(windows, shortest(windows))
    for i in range(1, len(windows)):
        low, high = -1, sizes[i]  # the nearest positions beyond what step i − 1 gives
        for w, size in zip(windows[i:-1], sizes[i + 1 :], strict=False):
            low, high = w.upsample * low + w.lo, w.upsample * high + w.lo - w.reach  # the farthest that read them
            if low >= size or high < 0:
                return False
    return True


def from_end(span: range, n: int) -> range:
    """Of an axis of n positions some near one end, those near the high one counted from there: −1 is the last."""
    return span if 2 * span.start < n else range(span.start - n, span.stop - n)


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
    needed = reads(windows, far(windows) + rows * prod(w.stride for w in windows), range(rows))
    n = needed[0].stop
    while any(size < span.stop for size, span in zip(_sizes(windows, n), needed, strict=True)):
        n += 1
    return Strip(rows, n, 1)


def high_strip(windows: Sequence[Window], rows: int, period: int = 1) -> Strip:
    """The same for the last ``rows`` outputs, whatever the remainder of the size; ``period`` is that of the biases."""
    step = prod(w.stride for w in windows) * period
    inputs = 0
    for n in range(start := far(windows) + rows * step, start + step):
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


def far(windows: Sequence[Window]) -> int:
    """So many inputs that the two ends do not know of each other."""
    return 4 * sum(w.reach + abs(w.lo) + abs(w.hi) + 1 for w in windows) * prod(w.stride for w in windows)


def _sizes(windows: Sequence[Window], n: int) -> list[int]:
    sizes = [n]
    for w in windows:
        sizes.append(w.size(sizes[-1]))
    return sizes


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
