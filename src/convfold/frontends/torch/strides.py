"""What reads a value with strides it needs gets it with such: the caller, attention, operators of others.

A layout is none of a value's numbers, so that a copy for its sake is passed on, and a product may be computed with its
channels first or last. But the caller may call ``view`` on a copy that is returned, fused attention wants the last axis
without gaps (or falls back to a product, a softmax, and a product), and of others' operators nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree

from convfold.frontends.torch.insert import Insert
from convfold.frontends.torch.sizes import symbol
from convfold.frontends.torch.unlift import Calls
from convfold.frontends.torch.unsure import Unsure
from convfold.frontends.torch.views import view
from convfold.frontends.torch.written import know

aten = torch.ops.aten

#: Operators that take any strides, and are about as fast on all.
_PLAIN = {"aten", "prims", "prim"}
#: What a model calls to have its numbers laid out otherwise, and nothing else.
_COPIES = {aten.clone.default, aten.contiguous.default, aten._to_copy.default}
#: What they compute is laid out in one way, however that is which they read.
_ALWAYS_DENSE = {aten.linear.default, aten.layer_norm.default, aten.softmax.int}


class Strides:
    """How the values of a graph are laid out as it is exported, and which readers ask for that."""

    def __init__(self, graph: Graph) -> None:
        self.read = {node.name: [_layout(x) for x in node.all_input_nodes] for node in graph.nodes}
        self.asked = {
            (reader.name, i)
            for reader, holds in _readers(graph)
            for i, x in enumerate(reader.all_input_nodes)
            if _is_laid(x, holds) and (reader.op != "output" or _is_copied(x))
        }

    def keep(self, calls: Calls) -> None:
        """The same readers have it so in what was written, by copies where it has come to be otherwise."""
        asked = [
            (reader, holds, x)
            for reader, holds in _readers(calls.graph)
            for i, x in enumerate(reader.all_input_nodes)
            if (reader.name, i) in self.asked
        ]
        insert = Insert.of(calls.graph)
        unknown = self._follow(calls, insert, [x for _, _, x in asked])
        for reader, holds, x in asked:
            if x in unknown or not _is_laid(x, holds):
                with insert.at(reader):
                    try:
                        copy = insert(aten.contiguous.default, x)
                    except Unsure:
                        copy = calls.graph.call_function(aten.contiguous.default, (x,))
                reader.replace_input_with(x, copy)

    def _follow(self, calls: Calls, insert: Insert, values: list[Node]) -> set[Node]:
        """What is known of these values says how they are laid out, but for those that are returned.

        A call in the place of another was known as what that computed. One that reads values laid out as they were, or
        that gives the same whatever it reads, is known.
        """
        unknown, needed = set[Node](), _before(values)
        for node in calls.graph.nodes:
            if node not in needed:
                continue
            try:
                if node.op == "get_attr":
                    know(node, calls, insert)
                elif node.op == "call_function" and not self._is_known(node):
                    node.meta["val"] = insert.computed(node.target, node.args, node.kwargs)
            except Unsure:
                unknown.add(node)
        return unknown

    def _is_known(self, node: Node) -> bool:
        if node.target in _ALWAYS_DENSE and _is_laid(node, Tensor.is_contiguous):
            return True
        return self.read.get(node.name) == list(map(_layout, node.all_input_nodes))


def _before(values: list[Node]) -> set[Node]:
    """What decides how they are laid out."""
    found, todo = set[Node](), list(values)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += [x for x in node.all_input_nodes if node.target not in _ALWAYS_DENSE or "val" not in x.meta]
    return found


def _layout(node: Node) -> list[object]:
    """Comparable, and nothing is found out of free sizes by it."""
    found = [t for t in pytree.tree_leaves(node.meta.get("val")) if isinstance(t, Tensor)]
    return [tuple(map(symbol, t.stride())) if t.layout is torch.strided else None for t in found]


def _readers(graph: Graph) -> Iterator[tuple[Node, Callable[[Tensor], bool]]]:
    """And what each is fast on, or right."""
    for node in graph.nodes:
        if node.target is aten.scaled_dot_product_attention.default:
            yield node, _is_dense
        elif node.op == "output" or (isinstance(node.target, OpOverload) and node.target.namespace not in _PLAIN):
            yield node, Tensor.is_contiguous


def _is_copied(x: Node) -> bool:
    """Is it, or what it is a view of, a copy that was asked for?"""
    try:
        while (of := view(x)) is not None and x.target not in _COPIES:
            x = of.base
    except Unsure:  # a view that is not known
        return True
    return x.target in _COPIES


def _is_dense(t: Tensor) -> bool:
    return t.stride(-1) == 1


def _is_laid(x: Node, holds: Callable[[Tensor], bool]) -> bool:
    t = x.meta.get("val")
    try:
        return isinstance(t, Tensor) and t.layout is torch.strided and t.dim() > 0 and holds(t)
    except GuardOnDataDependentSymNode:  # its sizes are known at run time only
        return False
