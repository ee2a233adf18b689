"""A convolution behind a resize: its taps apart, as pointwise maps before it."""

from __future__ import annotations

from collections.abc import Iterator

from convfold.algebra.spatial import Shifts, Spatial, Spread, Tapped, always_inside
from convfold.plan import deferred
from convfold.plan.form import Context, Moved, Term, spaced, with_length


def tapped(term: Term, context: Context) -> Iterator[Term]:
    """B∘S as together∘P: the taps of B as pointwise maps before the resize S, and the ways to bring them together."""
    if term.at == 0 or term.operator is None:
        return
    g, last = term.operator.geometry, term.moves[term.at - 1]
    s = last.move
    if not isinstance(s, Spatial) or s.axis != term.axis or g.dims != len(s.sizes[0]) or g.periodic:
        return
    kind: type[Tapped]
    if s.matrices is not None:
        kind = Spread
    elif _by_its_own(s) and all(w.stride == w.upsample == 1 for w in g.windows):
        kind = Shifts
    else:
        return
    x = term.moves[term.at - 2].signal if term.at > 1 else context.signals[term.leaf]
    before, between = x.space(s.axis, g.dims), last.signal.space(s.axis, g.dims)
    after = g.size(between)
    inside = [always_inside(w, n, m) for w, n, m in zip(g.windows, between, after, strict=True)]
    if g.period is not None and (not s.constants or any(t is None for t in inside)):
        return
    together = kind(s, g.windows, before, after)
    taps = deferred.taps(term.operator, tuple(t or 0 for t in inside))
    y = with_length(spaced(last.signal, s.axis, after), s.axis, g.c_out)
    moves = (*term.moves[: term.at - 1], Moved(together, y), *term.moves[term.at :])
    yield Term(term.leaf, moves, taps, term.at - 1, s.axis, sign=term.sign)


def _by_its_own(s: Spatial) -> bool:
    """Is it a call of the model to sizes that are free, which may be made along one axis only?"""
    fixed = all(isinstance(n, int) for sizes in s.sizes for n in sizes)
    return not fixed and s.origin is not None and s.alone(0) is not None
