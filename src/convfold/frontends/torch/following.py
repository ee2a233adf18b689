"""What type and device tensors have that are made on the way: those of the weights, wherever these are moved to.

An exported program says ``float32`` and ``cpu`` where the model said "like my input": a recurrent layer's first state,
a mask. The folded module may be moved and cast like any other, so that such calls ask a weight instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

from convfold.frontends.torch.unlift import Calls

aten = torch.ops.aten

_MADE = {
    aten.zeros.default: aten.new_zeros.default,
    aten.ones.default: aten.new_ones.default,
    aten.full.default: aten.new_full.default,
}
#: What every type of which a model may be made holds exactly.
_NARROW = (torch.float16, torch.bfloat16)


def follow(calls: Calls) -> None:
    """In place; only what has the type of some weight, and numbers that are the same in all types."""
    like: dict[tuple[torch.dtype, torch.device], str] = {}
    for node in calls.graph.nodes:
        if node.op == "get_attr" and isinstance(w := calls.weights[str(node.target)], Tensor):
            like.setdefault((w.dtype, w.device), str(node.target))
    for node in list(calls.graph.nodes):
        out = node.meta.get("val")
        if not isinstance(out, Tensor) or not out.is_floating_point():
            continue
        weight = like.get((out.dtype, out.device))
        if weight is None:
            continue
        if node.target in _MADE and node.kwargs.get("layout") is None and all(map(_is_exact, node.args[1:])):
            _replace(calls.graph, node, _MADE[node.target], weight, before=True)
        elif node.target is aten._to_copy.default and node.kwargs.keys() == {"dtype"} and _is_narrow(node.args[0]):
            _replace(calls.graph, node, aten.type_as.default, weight, before=False)


def _replace(graph: Graph, node: Node, target: Any, weight: str, *, before: bool) -> None:
    with graph.inserting_before(node):
        like = graph.get_attr(weight)
    node.target, node.kwargs = target, {}
    node.args = (like, *node.args) if before else (*node.args, like)


def _is_exact(number: Any) -> bool:
    return all(torch.tensor(number, dtype=dtype).double().item() == number for dtype in _NARROW)


def _is_narrow(x: Any) -> bool:
    """Truth values and numbers of eight bits."""
    t: Tensor = x.meta["val"]
    return t.itemsize == 1
