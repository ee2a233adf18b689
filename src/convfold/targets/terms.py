"""What the time of a call is made of: counts, each of which a target has a price for."""

from __future__ import annotations

from collections.abc import Iterator

from convfold.algebra.operation import Work

#: What is counted of a call. More of any takes more time: prices are never negative.
TERMS = ("calls", "macs", "lanes", "outputs", "patches", "weights", "near", "far")

#: Channels that vector units sum up, and write, side by side.
DEEP, WIDE = 4, 16

#: Bytes that are taken for near: about a core's own cache.
CACHE = 1 << 20


def kind_of(work: Work) -> str:
    """Kinds of convolution that runtimes have code of their own for; others are what they are called."""
    s = work.sums
    if work.kind != "convolution" or s is None:
        return work.kind
    if s.groups > 1:
        return "depthwise" if s.c_in == s.c_out == 1 else "grouped"
    return "pointwise" if s.taps == 1 else "dense"


def terms(work: Work, itemsize: int) -> Iterator[tuple[str, int]]:
    """
    ``calls``; ``macs``: multiply-adds; ``lanes``: the same with channels rounded up to what is computed side by side;
    ``outputs``: sums, rounded up likewise; ``patches``: numbers that are read where taps are laid out in rows, or that
    a transposed convolution scatters;
    ``weights``: bytes of them; ``near`` and ``far``: bytes moved, as far as they fit into a cache, and the others.
    """
    moved = (work.moved + work.carried) * itemsize
    yield "calls", work.calls
    yield "near", min(moved, CACHE)
    yield "far", max(moved - CACHE, 0)
    if work.macs:
        yield "macs", work.macs
    if (s := work.sums) is not None:
        wide = s.groups * -(-s.c_out // WIDE) * WIDE * s.positions
        yield "lanes", wide * -(-s.c_in // DEEP) * DEEP * s.taps
        yield "outputs", wide
        yield "patches", s.groups * (s.c_out if work.kind == "transposed" else s.c_in) * s.taps * s.positions
        yield "weights", s.groups * s.c_in * s.c_out * s.taps * itemsize
