"""A graph that was written to, as one that may be read again: what its new calls compute, and what is overwritten."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.fx import Graph, Node

from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.insert import Insert, value
from convfold.frontends.torch.unlift import Calls
from convfold.frontends.torch.unsure import Unsure
from convfold.frontends.torch.views import storage

aten = torch.ops.aten


def infer(calls: Calls) -> bool:
    """What every call that is new computes at the example; is it known of all?

    Nothing of one whose sizes are known at run time only, nor of the end of a signal that may be shorter than it is.
    """
    insert, known = Insert.of(calls.graph), True
    for node in calls.graph.nodes:
        if "val" in node.meta or node.op == "output":
            continue
        if node.op == "get_attr":
            if insert.mode is not None and isinstance(weight := calls.weights[str(node.target)], Tensor):
                node.meta["val"] = insert.mode.from_tensor(weight, static_shapes=True)
            continue
        try:
            if _is_end(node):
                raise Unsure("a part that may be all there is")
            node.meta["val"] = insert.computed(node.target, node.args, node.kwargs)
        except Unsure:
            known = False
    return known


def overwritten(graph: Graph) -> set[Node]:
    """Calls whose value a later one writes into, and those that share its memory: it is not what they compute.

    A graph that was exported has none; in one that was written to a border is added to its ends in place.
    """
    found, written = set[Node](), set[int]()
    for node in graph.nodes:
        place = node.args[0] if _writes(node) else None
        while _is_call(place):
            found.add(place)
            if (t := _tensor(place)) is not None:
                written.add(storage(t))
            place = place.args[0] if t is None else None  # a part of a value, of which it is not known how large
    memory = {n: storage(t) for n in graph.nodes if written and _is_call(n) and (t := _tensor(n)) is not None}
    return found | {node for node, of in memory.items() if of in written}


def _is_end(node: Node) -> bool:
    """A slice of an axis that is free: some positions, or all if there are fewer."""
    if node.target not in (aten.slice.Tensor, aten.slice_copy.Tensor):
        return False
    x, axis = node.args[:2]
    assert isinstance(x, Node) and isinstance(axis, int)
    return is_free(value(x).shape[axis])


def _writes(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema and schema.is_mutable)


def _is_call(x: Any) -> TypeGuard[Node]:
    return isinstance(x, Node) and x.op == "call_function"


def _tensor(node: Node) -> Tensor | None:
    t = node.meta.get("val")
    return t if isinstance(t, Tensor) and t.layout is torch.strided else None
