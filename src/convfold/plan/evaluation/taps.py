"""A convolution behind a resize: its taps apart, as pointwise maps before it."""

from __future__ import annotations

from convfold.algebra.spatial import Spatial, Spread, always_inside
from convfold.plan import deferred
from convfold.plan.form import Context, Moved, Term, spaced, with_length


def tapped(term: Term, context: Context) -> Term | None:
    """B∘S as spread∘P: the taps of B as pointwise maps before the resize S; None where S is no matrix an axis."""
    if term.at == 0 or term.operator is None:
        return None
    g, last = term.operator.geometry, term.moves[term.at - 1]
    s = last.move
    if (
        not isinstance(s, Spatial)
        or s.matrices is None
        or s.axis != term.axis
        or g.dims != len(s.sizes[0])
        or g.periodic
    ):
        return None
    x = term.moves[term.at - 2].signal if term.at > 1 else context.signals[term.leaf]
    before, between = x.space(s.axis, g.dims), last.signal.space(s.axis, g.dims)
    after = g.size(between)
    inside = [always_inside(w, n, m) for w, n, m in zip(g.windows, between, after, strict=True)]
    if g.period is not None and (not s.constants or any(t is None for t in inside)):
        return None
    spread = Spread(s, g.windows, before, after)
    taps = deferred.taps(term.operator, tuple(t or 0 for t in inside))
    y = with_length(spaced(last.signal, s.axis, after), s.axis, g.c_out)
    moves = (*term.moves[: term.at - 1], Moved(spread, y), *term.moves[term.at :])
    return Term(term.leaf, moves, taps, term.at - 1, s.axis, sign=term.sign)
