"""An operator composed with a term's own, at its place: as it is, or as if no signal ended, its steps remembered."""

from __future__ import annotations

from dataclasses import replace

from convfold.errors import GHOSTS, NotFoldable
from convfold.plan import deferred
from convfold.plan.deferred import Deferred
from convfold.plan.form import Context, Term


def onto(b: Deferred, t: Term, context: Context) -> Term:
    """b composed with the term's operator, at its place."""
    assert t.operator is not None
    known = t.known(context, max(b.geometry.dims, t.operator.geometry.dims))
    try:
        if not t.paths:
            return replace(t, operator=deferred.series(b, t.operator, known))
    except NotFoldable as e:
        if e.code not in GHOSTS or context.ways is None:
            raise
    endless = deferred.series(b, t.operator, known, endless=True)
    rest = b.linear if len(t.ways) > 1 else b
    paths = tuple((*path, b if i == 0 else rest) for i, path in enumerate(t.ways))
    return replace(t, operator=endless, paths=paths)
