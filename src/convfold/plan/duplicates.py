"""What is computed twice, by the same operator of the same values, is computed once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from convfold.algebra.apply import Apply
from convfold.algebra.joins import Sum
from convfold.algebra.operation import Operation, Operator
from convfold.plan.constants import Constant
from convfold.plan.deferred import Given, Uniform
from convfold.region import Node, Region

#: Kernels of more numbers are one only where they are one tensor.
_COMPARED = 1 << 10


def distinct(region: Region) -> Region:
    """The region with every step once; of a value that is read outside under two names, one is the other's."""
    first: dict[Hashable, str] = {}
    same: dict[str, str] = {}
    nodes = []
    for node in region.nodes:
        inputs = tuple(same.get(i, i) for i in node.inputs)
        what = None if node.operation is None else alike(node.operation)
        found = None if what is None else first.setdefault((what, inputs, node.signal), node.name)
        if found is None or found == node.name:
            nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))
            continue
        same[node.name] = found
        if node.name in region.outputs:
            nodes.append(Node(node.name, Sum(), (found,), node.signal))
    return Region(tuple(nodes), region.outputs) if same else region


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
