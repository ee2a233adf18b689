"""A graph that was written to, as one that may be read again: what its new calls compute, and what is overwritten."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.fx import Graph, Node

from convfold.frontends.torch.constants import writes
from convfold.frontends.torch.insert import Insert
from convfold.frontends.torch.unlift import Calls
from convfold.frontends.torch.unsure import Unsure
from convfold.frontends.torch.views import storage


def infer(calls: Calls) -> bool:
    """What every call that is new computes at the example; is it known of all?

    Nothing of one whose sizes are known at run time only, nor of what takes the lesser of two: the end of a signal, or
    all of it.
    """
    insert, known = Insert.of(calls.graph), True
    for node in calls.graph.nodes:
        if "val" in node.meta or node.op == "output":
            continue
        if node.op == "get_attr":
            know(node, calls, insert)
            continue
        try:
            if node.target is torch.sym_min:
                raise Unsure("another one at other sizes")
            node.meta["val"] = insert.computed(node.target, node.args, node.kwargs)
        except Unsure:
            known = False
    return known


def know(weight: Node, calls: Calls, insert: Insert) -> None:
    """What a new weight is."""
    content = calls.weights[str(weight.target)]
    if "val" not in weight.meta and insert.mode is not None and isinstance(content, Tensor):
        weight.meta["val"] = insert.mode.from_tensor(content, static_shapes=True)


def overwritten(graph: Graph) -> set[Node]:
    """Calls whose value a later one writes into, and those that share its memory: it is not what they compute.

    A graph that was exported has none; in one that was written to a border is added to its ends in place.
    """
    found, written = set[Node](), set[int]()
    for node in graph.nodes:
        place = node.args[0] if writes(node) else None
        while _is_call(place):
            found.add(place)
            if (t := _tensor(place)) is not None:
                written.add(storage(t))
            place = place.args[0] if t is None else None  # a part of a value, of which it is not known how large
    memory = {n: storage(t) for n in graph.nodes if written and _is_call(n) and (t := _tensor(n)) is not None}
    return found | {node for node, of in memory.items() if of in written}


def _is_call(x: Any) -> TypeGuard[Node]:
    return isinstance(x, Node) and x.op == "call_function"


def _tensor(node: Node) -> Tensor | None:
    t = node.meta.get("val")
    return t if isinstance(t, Tensor) and t.layout is torch.strided else None
