"""A stretch of a graph as a module of its own: what its plans are timed by."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node

from convfold.frontends.torch.sizes import ExampleSizes


def alone(
    graph: Graph, weights: dict[str, Any], outputs: Iterable[Node], given: Container[Node], sizes: ExampleSizes
) -> tuple[GraphModule, list[Tensor]] | None:
    """What computes ``outputs`` from values that are ``given``, and normal numbers for those, at the example's sizes.

    Sizes are the example's, too. None where a value is given whose numbers mean something, indices say.
    """
    outputs, needed = list(outputs), set[Node]()

    def need(todo: list[Node]) -> None:
        while todo:
            node = todo.pop()
            if node not in needed:
                needed.add(node)
                if node not in given and not isinstance(node.meta.get("val"), int | torch.SymInt):
                    todo += node.all_input_nodes

    need(list(outputs))
    for node in graph.nodes:
        if node not in given and _writes(node) and _whole(node, needed) in needed:
            need([node])
    cut, env = Graph(), dict[Node, Any]()
    inputs: list[Tensor] = []
    for node in graph.nodes:
        if node not in needed:
            continue
        val = node.meta.get("val")
        if isinstance(val, int | torch.SymInt):
            env[node] = sizes.number(val)
        elif node in given or node.op == "placeholder":
            if not isinstance(val, Tensor) or not val.is_floating_point():
                return None
            env[node] = cut.placeholder(node.name)
            shape, stride = ([sizes.number(n) for n in of] for of in (val.shape, val.stride()))
            inputs.append(torch.empty_strided(shape, stride, dtype=val.dtype, device=val.device).normal_())
        else:
            env[node] = cut.node_copy(node, env.__getitem__)
    cut.output(tuple(env[node] for node in outputs))
    held = {str(n.target): weights[str(n.target)] for n in cut.nodes if n.op == "get_attr"}
    return GraphModule(held, cut).eval(), inputs


def _writes(node: Node) -> bool:
    """Into its first argument: borders are mended so, and nothing reads the call."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def _whole(node: Node, needed: Container[Node]) -> Node:
    """The value that is written into, of which the argument may be a part."""
    while node not in needed and node.args and isinstance(node.args[0], Node):
        node = node.args[0]
    return node
