"""A slice of the channels before an operator is which of them it reads: columns of zeros stand for the others.

B∘x[a] + C∘x[c] is then one operator on x, or on the least slice of it that has both.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import NamedTuple

from convfold.algebra.layout import Slice
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.form import Context, Moved, Term, with_length
from convfold.region import Signal


class _Read(NamedTuple):
    """The channels that a term's operator reads, of the value behind its first ``cut`` moves; it is at ``end``."""

    channels: range
    before: Signal
    cut: int
    end: int


def gathered(s: Term, t: Term, axis: int, context: Context) -> tuple[Term, Term] | None:
    """Both terms with operators that read the channels, on ``axis``, that either of them did; None where none can."""
    a, b = (_read(x, axis, context) for x in (s, t))
    if a is None or b is None or s.moves[: a.cut] != t.moves[: b.cut]:
        return None
    hull = _hull(a.channels, b.channels)
    try:
        return _reading(s, a, hull, axis), _reading(t, b, hull, axis)
    except NotFoldable:
        return None


def _read(t: Term, axis: int, context: Context) -> _Read | None:
    bare = t.operator is None or t.operator.identity
    end = len(t.moves) if bare else t.at
    if not bare and t.axis != axis:
        return None
    move = t.moves[end - 1].move if end else None
    cut = end - 1 if isinstance(move, Slice) and move.axis == axis else end
    before = t.moves[cut - 1].signal if cut else context.signals[t.leaf]
    if axis in before.free:
        return None
    n = before.shape[axis]
    channels = move.positions(n) if isinstance(move, Slice) and cut < end else range(n)
    return _Read(channels, before, cut, end)


def _hull(a: range, b: range) -> range:
    """The least range that has both."""
    start, last = min(a[0], b[0]), max(a[-1], b[-1])
    step = gcd(*(r.step for r in (a, b) if len(r) > 1), a[0] - b[0]) or 1
    return range(start, last + 1, step)


def _reading(t: Term, read: _Read, hull: range, axis: int) -> Term:
    """The term with an operator that reads the channels of the hull."""
    rows = range(hull.index(read.channels[0]), hull.index(read.channels[-1]) + 1)
    rows = rows[:: read.channels.step // hull.step] if len(rows) > 1 else rows
    columns = deferred.chosen(len(hull), rows)
    own = deferred.identity(len(rows)) if t.operator is None else t.operator
    moves = t.moves[: read.cut]
    if len(hull) < read.before.shape[axis]:
        cut = Slice(axis, hull.start, hull.stop, hull.step)
        moves = (*moves, Moved(cut, with_length(read.before, axis, len(hull))))
    paths = tuple((columns, *path) for path in t.paths)
    operator = deferred.series(own, columns, None)
    return replace(t, moves=(*moves, *t.moves[read.end :]), operator=operator, at=len(moves), axis=axis, paths=paths)
