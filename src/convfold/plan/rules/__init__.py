"""The laws: how each kind of operation acts on a form. One file a law; `carry` finds the one that applies."""

from __future__ import annotations

from collections.abc import Sequence

from convfold.algebra.operation import Apply, Concat, Layout, Operation, Slice, Sum
from convfold.plan.form import Form, Signals
from convfold.plan.rules import commute, concat, distribute, gather, rows


def carry(operation: Operation, inputs: Sequence[Form], signals: Signals, lengths: Sequence[int]) -> Form:
    """The form of ``operation(*inputs)`` over the same leaves.

    ``lengths`` are the inputs' lengths along a concat's axis, else unused. Raises :class:`NotFoldable` with the
    reason where the result is not exactly such a form.
    """
    match operation:
        case Apply():
            return distribute.apply(operation, inputs[0], signals)
        case Sum():
            return gather.add(inputs, signals)
        case Concat():
            return concat.join(operation, inputs, lengths)
        case Slice():
            return rows.cut(operation, inputs[0])
        case Layout():
            return commute.lay_out(operation, inputs[0])
