"""What is computed twice, by the same operator of the same values, is computed once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from convfold.algebra.apply import Apply
from convfold.algebra.joins import Sum
from convfold.algebra.layout import Layout, Select, Slice
from convfold.algebra.operation import Operation, Operator
from convfold.plan.constants import Constant
from convfold.plan.deferred import Given, Uniform
from convfold.region import Region

_VIEWS = (Layout, Select, Slice)

#: Kernels of more numbers are one only where they are one tensor.
_COMPARED = 1 << 10


def distinct(region: Region) -> Region:
    """The region with every step once; of a value that is read outside under two names, one is the other's.

    Views cost nothing: they are not shared for their own sake.
    """
    first: dict[Hashable, str] = {}
    same: dict[str, str] = {}  # what each value is equal to, itself where nothing before it is
    for node in region.nodes:
        what = None if node.operation is None else alike(node.operation)
        key = (what, tuple(same[i] for i in node.inputs), node.signal)
        same[node.name] = node.name if what is None else first.setdefault(key, node.name)
    twice = {n.name for n in region.steps if same[n.name] != n.name and not isinstance(n.operation, _VIEWS)}
    if not twice:
        return region
    read = set(region.outputs)
    nodes = []
    for node in reversed(region.nodes):
        if node.name in read or node.operation is None:
            what = Sum() if node.name in twice else node.operation
            inputs = (same[node.name],) if node.name in twice else node.inputs
            inputs = tuple(same[i] if i in twice else i for i in inputs)
            nodes.append(node if inputs == node.inputs else replace(node, operation=what, inputs=inputs, origin=None))
            read.update(inputs)
    return Region(tuple(reversed(nodes)), region.outputs)


def alike(step: Operation) -> Hashable:
    """What is equal for steps that compute the same of the same; None where nothing tells."""
    match step:
        case Apply(operator=operator, axis=axis, how=how):
            return Apply, _operator(operator), axis, how
        case Constant():
            return None
        case _:
            return step


def _operator(operator: Operator) -> Hashable:
    """Weights that are one tensor are one operator already; pools, repeats and shuffles are made for each call."""
    match operator:
        case Uniform() if operator.plain:
            return operator.geometry, operator.factor, operator.shift
        case Given(operator=op, call=str()) if not op.kernel.requires_grad and op.kernel.numel() <= _COMPARED:
            bias = None if op.bias is None else tuple(op.bias.flatten().tolist())
            return operator.geometry, tuple(op.kernel.flatten().tolist()), bias
        case _:
            return id(operator)
