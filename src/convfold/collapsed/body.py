"""A planned block as a function of its weights: what it computes once those are composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule
from torch.fx.graph import CodeGen, _PyTreeCodeGen
from torch.utils import _pytree as pytree

from convfold.frontends.torch.constants import writes
from convfold.frontends.torch.guard import InputCheck
from convfold.frontends.torch.module import Folded
from convfold.frontends.torch.read import Source
from convfold.frontends.torch.unlift import Calls

aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Body:
    """``module`` takes weights, in the order of ``weights``, then the leaves of the inputs; it gives the leaves of what
    is returned, to be put together as ``returned`` says."""

    module: GraphModule
    weights: tuple[str, ...]
    check: InputCheck
    returned: pytree.TreeSpec

    def __call__(self, weights: Sequence[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(kwargs) > 1:
            kwargs = {name: kwargs[name] for name in self.check.parameters if name in kwargs}
        return pytree.tree_unflatten(self.module(*weights, *pytree.tree_leaves((args, kwargs))), self.returned)

    def follow(self, before: torch.device, after: torch.device) -> None:
        """Make what it makes (an index) where the weights are now."""
        for node in self.module.graph.nodes:
            if node.kwargs.get("device") == before:
                node.kwargs = {**node.kwargs, "device": after}
        self.module.recompile()


def body(calls: Calls, source: Source, is_weight: Callable[[str], bool]) -> Body:
    """The calls with each weight as an input; what is none (a subgraph, a constant) stays in the module."""
    graph, env = FxGraph(), {}
    read = [node for node in calls.graph.nodes if node.op == "get_attr" and node.users]
    names = tuple(dict.fromkeys(str(node.target) for node in read if is_weight(str(node.target))))
    inputs = {name: graph.placeholder(f"weight_{i}") for i, name in enumerate(names)}
    held = {}
    for node in read:
        if str(node.target) in inputs and any(writes(user) for user in node.users):
            # What a step writes into (statistics), backward wants as it was when it was read.
            env[node] = graph.call_function(aten.clone.default, (inputs[str(node.target)],))
    for node in calls.graph.nodes:
        if node.op == "get_attr" and str(node.target) in inputs:
            env.setdefault(node, inputs[str(node.target)])
            continue
        if node.op == "get_attr":
            held[str(node.target)] = calls.weights[str(node.target)]
        env[node] = graph.node_copy(node, env.__getitem__)
        if writes(node):
            env[node].update_arg(0, inputs[str(node.args[0].target)])
    convention = calls.graph._codegen
    assert isinstance(convention, _PyTreeCodeGen)
    graph._codegen = CodeGen()
    for node in graph.nodes:
        node.meta = {}
    info = convention.pytree_info
    assert info.out_spec is not None
    return Body(Folded(held, graph, "Body"), names, source.check(info.orig_args), info.out_spec)
