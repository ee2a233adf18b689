"""A copy of an exported graph in which ``torch.no_grad()`` and ``torch.enable_grad()`` leave no subgraphs."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

_GRAD = torch.ops.higher_order.wrap_with_set_grad_enabled


def flat(module: GraphModule) -> Graph:
    """The calls, copied; those inside of gradient modes among the others: an exported program records no gradients."""
    graph = Graph()
    outputs = _copied(module, graph, {})
    output = graph.output(outputs)
    output.meta = dict(module.graph.output_node().meta)
    for node in list(graph.nodes):
        if node.op == "get_attr" and not node.users:  # what was inlined
            graph.erase_node(node)
    return graph


def _copied(module: GraphModule, graph: Graph, env: dict[Node, Any]) -> Any:
    """What the module returns, its calls written into the graph; its arguments are in ``env`` or become inputs."""

    def known(n: Node) -> Any:
        return env[n]

    for node in module.graph.nodes:
        if node in env:
            continue
        if node.op == "output":
            return map_arg(node.args[0], known)
        if node.target is _GRAD:
            inner = _subgraph(module, node)
            inputs = [n for n in inner.graph.nodes if n.op == "placeholder"]
            given = map_arg(tuple(node.args[2:]), known)
            env[node] = _copied(inner, graph, dict(zip(inputs, given, strict=True)))
        elif node.target is operator.getitem and isinstance(several := known(node.args[0]), Sequence):
            env[node] = several[node.args[1]]
        else:
            env[node] = graph.node_copy(node, known)
            if node.op == "placeholder":
                env[node].name = node.name  # the signature knows it by that, even if it is Python's own ("input")
    raise AssertionError("a graph without output")


def _subgraph(module: GraphModule, node: Node) -> GraphModule:
    attribute = node.args[1]
    assert isinstance(attribute, Node)
    found = getattr(module, str(attribute.target))
    assert isinstance(found, GraphModule)
    return found
