"""The laws: how each kind of step acts on a form. One file a law; `carry` finds the one that applies."""

from __future__ import annotations

from collections.abc import Sequence

from convfold.algebra.apply import Apply
from convfold.algebra.joins import Concat, Sum
from convfold.algebra.layout import Layout, Select, Slice
from convfold.algebra.spatial import Spatial
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.border import Correct
from convfold.plan.constants import Constant, Repeated
from convfold.plan.deferred import Deferred
from convfold.plan.form import Context, Form, forms_of
from convfold.plan.rules import combine, commute, concat, distribute, rows, shuffles
from convfold.region import Node


def carry(node: Node, inputs: Sequence[Form], context: Context) -> list[Form]:
    """The forms of a node's step on forms of its inputs, over the same leaves: at least one.

    Raises:
        NotFoldable: with the reason, where the result is not exactly such a form.
    """
    match node.operation:
        case Apply(operator=Deferred() as operator, axis=axis) as step:
            read = deferred.alive(operator, context.signals[node.inputs[0]].known(axis, operator.geometry.dims))
            known = step if read is operator else Apply(read, axis)
            return forms_of(
                lambda: [distribute.apply(known, inputs[0], context)],
                lambda: commute.across(known, inputs[0], node.signal),
            )
        case Sum() as step:
            return [combine.add(step, inputs, node.signal, context)]
        case Concat() as end_to_end:
            lengths = [context.signals[i].shape[end_to_end.axis] for i in node.inputs]
            return forms_of(
                lambda: [concat.join(end_to_end, inputs, lengths)],
                lambda: shuffles.joined(end_to_end, inputs, context),
            )
        case Slice() as step:
            return rows.cut(step, inputs[0], context.signals[node.inputs[0]], node.signal, context)
        case Select() as step:
            return rows.select(step, inputs[0], context.signals[node.inputs[0]], node.signal, context)
        case Spatial() as step:
            return commute.act(step, inputs[0], context.signals[node.inputs[0]], node.signal, context)
        case Constant(known=known) | Repeated(known=known):
            return [Form.constant(known)]
        case Correct(way=way, border=border, axis=axis) if way.constant:
            return [combine.corrected(border, axis, inputs[0], node.signal, context)]
        case Layout() as step:
            return shuffles.follow(step, inputs[0], node.signal, context)
    raise NotFoldable("not-affine", "a step that a plan has made: it is what is left to do")


def law_of(node: Node) -> str:
    """The file here that says how a step acts on forms, and refuses."""
    laws = {Apply: distribute, Sum: combine, Concat: concat, Slice: rows, Select: rows}
    found = next((law for kind, law in laws.items() if isinstance(node.operation, kind)), commute)
    return found.__name__.rpartition(".")[2]
