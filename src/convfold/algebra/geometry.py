"""Everything about a convolution but its numbers: enough to plan with, nothing to compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd, lcm, prod

from convfold.algebra import window as axis
from convfold.algebra.window import Window
from convfold.errors import NotFoldable

#: Known sizes of the space axes; None for all of them, or for one, where the size is free.
Sizes = Sequence[int | None] | None


@dataclass(frozen=True, slots=True)
class Geometry:
    """Channels, groups, one window a space axis, the period of the bias (None: no bias; 1s: per channel)."""

    c_out: int
    c_in: int
    groups: int = 1
    windows: tuple[Window, ...] = ()
    period: tuple[int, ...] | None = None

    @property
    def dims(self) -> int:
        return len(self.windows)

    @property
    def taps(self) -> tuple[int, ...]:
        return tuple(w.taps for w in self.windows)

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """(c_out, c_in // groups, *taps)"""
        return (self.c_out, self.c_in // self.groups, *self.taps)

    @property
    def weights(self) -> int:
        """How many numbers the kernel has."""
        return prod(self.kernel_shape)

    @property
    def numbers(self) -> int:
        """Those of kernel and bias."""
        return self.weights + (0 if self.period is None else self.c_out * prod(self.period))

    @property
    def pointwise(self) -> bool:
        """One tap that reads its own position: commutes with every map of the space axes."""
        return all(w.pointwise for w in self.windows)

    @property
    def diagonal(self) -> bool:
        """Pointwise and depthwise: one number a channel."""
        return self.groups == self.c_in == self.c_out and self.pointwise

    @property
    def periodic(self) -> bool:
        return self.period is not None and any(p > 1 for p in self.period)

    def size(self, space: Sequence[int]) -> tuple[int, ...]:
        return tuple(w.size(n) for w, n in zip(self.windows, space, strict=True))

    @property
    def upsamples(self) -> bool:
        return any(w.upsample > 1 for w in self.windows)

    def lifted(self, dims: int) -> Geometry:
        """A pointwise geometry seen with another number of space axes."""
        if self.dims == dims:
            return self
        if not self.pointwise or self.periodic:
            raise NotFoldable("dimensions-differ", f"{self.dims} and {dims} space axes")
        period = None if self.period is None else (1,) * dims
        return replace(self, windows=(Window(),) * dims, period=period)


def known(sizes: Sizes, dims: int) -> tuple[int | None, ...]:
    return (None,) * dims if sizes is None else tuple(sizes)


def series(outer: Geometry, inner: Geometry, sizes: Sizes = None, endless: bool = False) -> Geometry:
    """Geometry of B∘A, border included; :class:`NotFoldable` where it is not exact at the given sizes.

    ``endless``: as if A's signal had no end; what that gets wrong at the border is mended apart (`algebra.border`).
    """
    if outer.c_in != inner.c_out:
        raise NotFoldable("channels-differ", f"{inner.c_out} channels out, {outer.c_in} expected")
    dims = max(outer.dims, inner.dims)
    outer, inner = outer.lifted(dims), inner.lifted(dims)
    taps = [axis.series(b, a, n) for b, a, n in zip(outer.windows, inner.windows, known(sizes, dims), strict=True)]
    if not outer.pointwise and not endless:
        check_border(outer, inner, sizes)
    return Geometry(
        outer.c_out,
        inner.c_in,
        gcd(outer.groups, inner.groups),
        tuple(t.window for t in taps),
        series_period(outer, inner) if inner.period is not None else outer.period,
    )


def series_period(outer: Geometry, inner: Geometry) -> tuple[int, ...]:
    """Period of B(b_A) + b_B: A's period p_A becomes u_B·p_A / gcd(s_B, u_B·p_A)."""
    passed = tuple(
        w.upsample * p // gcd(w.stride, w.upsample * p)
        for w, p in zip(outer.windows, inner.period or (1,) * inner.dims, strict=True)
    )
    return passed if outer.period is None else tuple(map(lcm, outer.period, passed))


def check_border(outer: Geometry, inner: Geometry, sizes: Sizes = None) -> None:
    """Refuse where B reads outside A's extent anything but zeros.

    Between A and B the signal is cropped to A's extent and padded with zeros by B. One convolution would read
    there what A's formula gives: nothing wrong if B reads nothing there (1) or A's formula gives zero there
    (2); otherwise A's bias (3, ``ghost-is-constant``) or data (4, ``ghost-depends-on-data``) would leak in.
    """
    ghosts = [
        axis.ghost(b, a, n) for b, a, n in zip(outer.windows, inner.windows, known(sizes, outer.dims), strict=True)
    ]
    if all(g.empty for g in ghosts):
        return
    # A position outside on one axis and inside on the others meets data iff its own axis does.
    where = ", ".join(f"axis {i}: {g.lo} below, {g.hi} above" for i, g in enumerate(ghosts) if not g.empty)
    if any(g.data for g in ghosts):
        raise NotFoldable("ghost-depends-on-data", f"reads outside the intermediate ({where})")
    if inner.period is not None:
        raise NotFoldable("ghost-is-constant", f"reads outside the intermediate ({where})")


def parallel(a: Geometry, b: Geometry, sizes: Sizes = None, alike: bool = False) -> Geometry:
    """Geometry of A + B on one input: windows aligned by zero taps, groups the greatest both have; ``alike``: see
    `window.parallel`."""
    if (a.c_out, a.c_in) != (b.c_out, b.c_in):
        raise NotFoldable("channels-differ", f"{a.c_in}→{a.c_out} and {b.c_in}→{b.c_out}")
    dims = max(a.dims, b.dims)
    a, b = a.lifted(dims), b.lifted(dims)
    windows = tuple(
        axis.parallel(v, w, n, alike).window for v, w, n in zip(a.windows, b.windows, known(sizes, dims), strict=True)
    )
    return Geometry(a.c_out, a.c_in, gcd(a.groups, b.groups), windows, common_period(a, b))


def stack(a: Geometry, b: Geometry, sizes: Sizes = None, alike: bool = False) -> Geometry:
    """Geometry of concat(A(x), B(x)): rows below rows; groups are lost, for each half reads all channels."""
    if a.c_in != b.c_in:
        raise NotFoldable("channels-differ", f"{a.c_in} and {b.c_in} channels in")
    dims = max(a.dims, b.dims)
    a, b = a.lifted(dims), b.lifted(dims)
    windows = tuple(
        axis.parallel(v, w, n, alike).window for v, w, n in zip(a.windows, b.windows, known(sizes, dims), strict=True)
    )
    return Geometry(a.c_out + b.c_out, a.c_in, 1, windows, common_period(a, b))


def beside(a: Geometry, b: Geometry) -> Geometry:
    """Geometry of concat(A(x), B(y)) on concat(x, y): groups of one size beside each other."""
    shapes = {(g.c_out // g.groups, g.c_in // g.groups, g.windows) for g in (a, b)}
    if len(shapes) > 1:
        raise NotFoldable("partition-differs", "groups of different sizes, or windows")
    return Geometry(a.c_out + b.c_out, a.c_in + b.c_in, a.groups + b.groups, a.windows, common_period(a, b))


def common_period(a: Geometry, b: Geometry) -> tuple[int, ...] | None:
    if a.period is None or b.period is None:
        return b.period if a.period is None else a.period  # () is a bias too: that of no space axis
    return tuple(map(lcm, a.period, b.period))


def block(g: Geometry, rows: range, cols: range) -> Geometry | None:
    """Geometry of the operator's block (rows, cols) of its channel matrix; None where that block is all zero.

    Raises ``partition-differs`` where the block cuts through a group.
    """
    rows_a_group, cols_a_group = g.c_out // g.groups, g.c_in // g.groups
    if g.groups == 1:
        return replace(g, c_out=len(rows), c_in=len(cols))
    if any(n % k for r, k in ((rows, rows_a_group), (cols, cols_a_group)) for n in (r.start, r.stop)):
        raise NotFoldable("partition-differs", f"{g.groups} groups, channels {rows.start}:{rows.stop}")
    first, last = rows.start // rows_a_group, rows.stop // rows_a_group
    start, stop = cols.start // cols_a_group, cols.stop // cols_a_group
    if (first, last) == (start, stop):
        return replace(g, c_out=len(rows), c_in=len(cols), groups=last - first)
    if last <= start or stop <= first:
        return None
    raise NotFoldable("partition-differs", f"{g.groups} groups, rows and columns overlap in part")
