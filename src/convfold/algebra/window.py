"""One space axis of a convolution: its integers and their laws. No tensor in sight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import Any

from convfold.errors import InvalidInput, NotFoldable


@dataclass(frozen=True, slots=True)
class Window:
    """How one axis is read: ``y[n] = Σ_t K[t] · x↑u[s·n + d·t − lo]``.

    ``x↑u[u·m] = x[m]``, zero elsewhere and outside. T taps, stride s, upsample u (the stride of a transposed
    convolution), dilation d, pad (lo, hi); a negative pad crops.
    """

    taps: int = 1
    stride: int = 1
    upsample: int = 1
    dilation: int = 1
    lo: int = 0
    hi: int = 0

    def __post_init__(self) -> None:
        if self.taps == 1 and self.dilation != 1:  # one tap has no spacing: keep the form unique
            object.__setattr__(self, "dilation", 1)

    @property
    def reach(self) -> int:
        """d·(T−1): distance from the first tap to the last."""
        return self.dilation * (self.taps - 1)

    @property
    def slack(self) -> int:
        """lo + hi − d·(T−1): how far the output grid reaches past the input's."""
        return self.lo + self.hi - self.reach

    @property
    def symmetric(self) -> bool:
        """Is the padding what a framework's convolution takes: one number, not negative, for both ends?"""
        return self.lo == self.hi >= 0

    @property
    def pointwise(self) -> bool:
        """True when output n reads input n and nothing else, at every size."""
        return self == _ONE

    def size(self, n: int) -> int:
        """Output size M = ⌊((n−1)·u + lo + hi − d·(T−1)) / s⌋ + 1, at least 0."""
        return max(((n - 1) * self.upsample + self.slack) // self.stride + 1, 0)

    def outputs(self, p: int) -> Iterator[int]:
        """The outputs, there or not, that read input position p."""
        for t in range(self.taps):
            q, r = divmod(self.upsample * p + self.lo - self.dilation * t, self.stride)
            if r == 0:
                yield q

    def outside(self, n: int) -> Iterator[int]:
        """The positions beyond the n inputs that some output reads, nearest first."""
        count = self.size(n)
        last = ((count - 1) * self.stride + self.reach - self.lo) // self.upsample
        for p in (*range(-1, -(self.lo // self.upsample) - 1, -1), *range(n, last + 1)):
            if any(0 <= q < count for q in self.outputs(p)):
                yield p

    def inputs(self, q: int) -> Iterator[int]:
        """The input positions, there or not, that output q reads."""
        for t in range(self.taps):
            p, r = divmod(self.stride * q + self.dilation * t - self.lo, self.upsample)
            if r == 0:
                yield p

    def meets(self, q: int, n: int | None) -> bool:
        """Would output q, there or not, read any of the n inputs (None: endlessly many)?"""
        return any(p >= 0 and (n is None or p < n) for p in self.inputs(q))

    def with_size(self, n: int, m: int) -> Window:
        """The same taps with ``hi`` moved as little as possible so that n inputs give m outputs."""
        low = (m - 1) * self.stride - (n - 1) * self.upsample
        slack = min(max(self.slack, low), low + self.stride - 1)
        return Window(self.taps, self.stride, self.upsample, self.dilation, self.lo, slack + self.reach - self.lo)


_ONE = Window()


def per_axis(value: Any, dims: int) -> tuple[Any, ...]:
    """One value or one per axis, as one per axis; InvalidInput for any other number of them."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (value,) * dims
    if len(value) not in (1, dims):
        raise InvalidInput(f"{tuple(value)} does not fit {dims} space axes: give one number, or one per axis")
    return tuple(value) if len(value) == dims else tuple(value) * dims


def pads(padding: Any, taps: Sequence[int], stride: Any, dilation: Any) -> list[tuple[int, int]]:
    """(lo, hi) per axis for PyTorch's padding argument: a number, one per axis, 'valid' or 'same'.

    'same' puts the odd position of an even reach at the end, and takes no stride, as in PyTorch.
    """
    dims = len(taps)
    if padding == "valid":
        return [(0, 0)] * dims
    if padding == "same":
        if any(s != 1 for s in per_axis(stride, dims)):
            raise InvalidInput(f"padding='same' with stride {stride}: its size would not be the same")
        reaches = [d * (t - 1) for t, d in zip(taps, per_axis(dilation, dims), strict=True)]
        return [(r // 2, r - r // 2) for r in reaches]
    if isinstance(padding, str):
        raise InvalidInput(f"padding={padding!r} is not known; give numbers, 'valid' or 'same'")
    return [(p, p) for p in per_axis(padding, dims)]


def convolved(taps: Sequence[int], stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> tuple[Window, ...]:
    """Windows of a convolution by PyTorch's parameters, each a number or one per axis: u = 1, lo = hi = padding."""
    ends = pads(padding, taps, stride, dilation)
    numbers = zip(taps, per_axis(stride, len(taps)), per_axis(dilation, len(taps)), ends, strict=True)
    return tuple(Window(t, s, 1, d, lo, hi) for t, s, d, (lo, hi) in numbers)


def transposed(taps: int, stride: int, dilation: int, padding: int, output_padding: int) -> Window:
    """Window of a transposed convolution (PyTorch's parameters) whose kernel has been flipped."""
    reach = dilation * (taps - 1)
    return Window(taps, 1, stride, dilation, reach - padding, reach - padding + output_padding)


def alive(w: Window, n: int) -> range:
    """The taps, from the first to the last, that read data of length n anywhere; the others only ever read zeros."""
    if w.upsample > 1 or w.lo <= 0 >= w.hi:
        return range(w.taps)
    outputs = w.size(n)

    def reads(t: int) -> bool:
        """Some position s·m + d·t − lo, 0 ≤ m < outputs, in 0 … n−1."""
        first = max(-((w.dilation * t - w.lo) // w.stride), 0)
        return first < outputs and w.stride * first + w.dilation * t - w.lo < n

    found = [t for t in range(w.taps) if reads(t)]
    return range(found[0], found[-1] + 1) if found else range(w.taps)


def cut(w: Window, taps: range) -> Window:
    """With these taps only: it reads the same positions for each, and gives as many outputs."""
    lo = w.lo - w.dilation * taps.start
    return Window(len(taps), w.stride, w.upsample, w.dilation, lo, w.slack + w.dilation * (len(taps) - 1) - lo)


@dataclass(frozen=True, slots=True)
class SeriesTaps:
    """Where the taps of B∘A stand: tap (i of A, j of B) at ``a·i + b·j``; only ``keep`` ever read data."""

    a: int
    b: int
    keep: slice | None  # None: no tap ever meets data, the kernel is zero
    window: Window


@lru_cache(1 << 16)
def series(outer: Window, inner: Window, n: int | None = None) -> SeriesTaps:
    """B∘A on one axis: taps at s_A·d_B·t_B + u_B·d_A·t_A, s = s_A·s_B, u = u_A·u_B, lo = s_A·lo_B + u_B·lo_A.

    Says nothing of the border: :func:`ghost` does. Raises ``stride-upsample`` unless gcd(u_B, s_A) = 1, and
    ``size-depends-on-remainder`` when no single ``hi`` serves every input size and ``n`` is not given.
    """
    if gcd(outer.upsample, inner.stride) != 1:
        raise NotFoldable("stride-upsample", f"stride {inner.stride} then upsample {outer.upsample}")
    a, b = outer.upsample * inner.dilation, inner.stride * outer.dilation
    spacing = gcd(a * (inner.taps > 1), b * (outer.taps > 1)) or 1
    reach = a * (inner.taps - 1) + b * (outer.taps - 1)
    window = Window(
        taps=reach // spacing + 1,
        stride=inner.stride * outer.stride,
        upsample=inner.upsample * outer.upsample,
        dilation=spacing,
        lo=inner.stride * outer.lo + outer.upsample * inner.lo,
        hi=inner.stride * outer.hi + outer.upsample * inner.hi,
    )
    if n is not None:
        window = window.with_size(n, outer.size(inner.size(n)))
    elif outer.upsample > 1 and inner.stride > 1:
        raise NotFoldable("size-depends-on-remainder", f"stride {inner.stride} then upsample {outer.upsample}")
    keep, window = _divide(window)
    return SeriesTaps(max(a // spacing, 1), max(b // spacing, 1), keep, window)  # one tap has any spacing


def _divide(w: Window) -> tuple[slice | None, Window]:
    """Divide stride and upsample by g = gcd(u, s): only taps at positions ≡ lo (mod g) ever meet data."""
    g = gcd(w.upsample, w.stride)
    if g == 1:
        return slice(None), w
    slack = w.slack // g
    first = next((t for t in range(min(w.taps, g)) if (w.dilation * t - w.lo) % g == 0), None)
    if first is None:
        return None, Window(1, w.stride // g, w.upsample // g, 1, 0, slack)
    step = g // gcd(g, w.dilation)
    taps = (w.taps - 1 - first) // step + 1
    dilation = w.dilation * step // g
    lo = (w.lo - w.dilation * first) // g
    reach = dilation * (taps - 1)
    return slice(first, None, step), Window(taps, w.stride // g, w.upsample // g, dilation, lo, slack + reach - lo)


@dataclass(frozen=True, slots=True)
class Ghost:
    """What B reads outside A's extent: how many positions a side, and whether A would have had data there."""

    lo: int
    hi: int
    data: bool

    @property
    def empty(self) -> bool:
        return self.lo == 0 and self.hi == 0


@lru_cache(1 << 16)
def ghost(outer: Window, inner: Window, n: int | None = None) -> Ghost:
    """The positions of A's output that B reads outside its extent, at input size ``n`` or (None) at any size.

    With ``n`` the answer is exact; without, it is safe: a ghost is reported if some size has one.
    """
    if n is not None:
        m = inner.size(n)
        places = list(outer.outside(m))
        below = sum(p < 0 for p in places)
        return Ghost(below, len(places) - below, any(inner.meets(p, n) for p in places))
    lowest = -(outer.lo // outer.upsample)
    places = [p for p in range(-1, lowest - 1, -1) if any(q >= 0 for q in outer.outputs(p))]
    # The far end depends on remainders: count what the padding can expose.
    high = max(outer.hi // outer.upsample, 0)
    data = any(inner.meets(p, None) for p in places) or (high > 0 and inner.hi < inner.reach)
    return Ghost(len(places), high, data)


@dataclass(frozen=True, slots=True)
class ParallelTaps:
    """Where the taps of two aligned operands stand on the common grid: start and step of each."""

    first: slice
    second: slice
    window: Window


@lru_cache(1 << 16)
def parallel(a: Window, b: Window, n: int | None = None, alike: bool = False) -> ParallelTaps:
    """The common window of A + B: positions aligned by zero taps; ``sizes-differ`` where none serves both.

    ``alike``: they are as long as each other wherever they are asked for; by their pads alone, at some sizes only.
    """
    if a.stride != b.stride or a.upsample != b.upsample:
        raise NotFoldable("sizes-differ", f"stride/upsample {a.stride}/{a.upsample} and {b.stride}/{b.upsample}")
    apart = abs(a.slack - b.slack) >= a.stride if n is None and alike else n is None or a.size(n) != b.size(n)
    if a.slack != b.slack and apart:
        raise NotFoldable("sizes-differ", f"pads leave {a.slack} and {b.slack} extra positions")
    spacing = gcd(gcd(a.dilation * (a.taps > 1), b.dilation * (b.taps > 1)), a.lo - b.lo) or 1
    lo = max(a.lo, b.lo)
    end = max(a.reach - a.lo, b.reach - b.lo)
    slacks = sorted({a.slack, b.slack})  # of as many positions: that which frameworks' convolutions have, or the least
    found = [Window((end + lo) // spacing + 1, a.stride, a.upsample, spacing, lo, slack + end) for slack in slacks]
    window = next((w for w in found if w.symmetric), found[0])
    return ParallelTaps(_placed(a, lo, spacing), _placed(b, lo, spacing), window)


def _placed(w: Window, lo: int, spacing: int) -> slice:
    start, step = (lo - w.lo) // spacing, max(w.dilation // spacing, 1)
    return slice(start, start + step * (w.taps - 1) + 1, step)
