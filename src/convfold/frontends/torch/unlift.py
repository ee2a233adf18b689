"""An exported program as plain calls on named weights, and back to a module: the form everything here works on.

`ExportedProgram.module()` adds guards and hooks that cannot be pickled, refuses `train()`, shares the user's weights,
and takes longer than all of convfold's own work.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Graph, Node
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo

from convfold.frontends.torch.module import Folded

_LIFTED = {InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR, InputKind.CUSTOM_OBJ}
_WRITTEN = {OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION, OutputKind.USER_INPUT_MUTATION}


@dataclass
class Calls:
    """A graph, and the weights it reads by path. Of those that are the user's own `module` copies what is left."""

    graph: Graph
    weights: dict[str, Any]
    users: set[int] = field(default_factory=set)  # the storages of the user's own
    temporary: set[str] = field(default_factory=set)  # buffers that are not saved

    def read(self) -> set[str]:
        """The weights that some call reads."""
        return {str(node.target) for node in self.graph.nodes if node.op == "get_attr" and node.users}

    def module(self) -> Folded:
        """A graph module on weights of its own, as far as they are read; one tensor under two names stays one."""
        copies: dict[int, Any] = {}
        held = {}
        for node in self.graph.nodes:
            if node.op == "get_attr":
                value = self.weights[str(node.target)]
                if id(value) not in copies:
                    copies[id(value)] = value if self._fresh(value) else _copied(value)
                held[str(node.target)] = copies[id(value)]
        module = Folded(held, self.graph, "Folded")
        for path in self.temporary & held.keys():
            owner, _, name = path.rpartition(".")
            module.get_submodule(owner)._non_persistent_buffers_set.add(name)
        return module.eval()

    def _fresh(self, value: Any) -> bool:
        """A tensor that was made here, with no memory but its own."""
        if not isinstance(value, Tensor) or value.layout is not torch.strided or _memory(value) in self.users:
            return False
        return value.untyped_storage().nbytes() == value.numel() * value.element_size()


def unlift(program: ExportedProgram) -> Calls:
    """The program's calls with its weights as attributes and the user's calling convention."""
    graph = Graph()
    env: dict[Node, Node] = {}
    weights: dict[str, Any] = {}
    inputs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    calls = Calls(graph, weights)
    given = [n for n in program.graph.nodes if n.op == "placeholder" and inputs[n.name].kind not in _LIFTED]
    for node in given:  # first, so that the inputs keep their names: a weight may be called the same
        env[node] = graph.node_copy(node, env.__getitem__)
    for node in program.graph.nodes:
        if node in env:
            continue
        if node.op == "placeholder":
            target = str(inputs[node.name].target)
            weights[target] = (program.state_dict if target in program.state_dict else program.constants)[target]
            if isinstance(weights[target], Tensor) and weights[target].layout is torch.strided:
                calls.users.add(_memory(weights[target]))
            if inputs[node.name].persistent is False:
                calls.temporary.add(target)
            env[node] = graph.get_attr(target)
            env[node].meta = copy.copy(node.meta)
        elif node.op == "get_attr":  # a subgraph of a control-flow operator
            weights[str(node.target)] = getattr(program.graph_module, str(node.target))
            env[node] = graph.node_copy(node, env.__getitem__)
        elif node.op == "output":
            _output(program, graph, node, env)
        else:
            env[node] = graph.node_copy(node, env.__getitem__)
    graph._codegen = _calling_convention(program)
    return calls


def _output(program: ExportedProgram, graph: Graph, node: Node, env: dict[Node, Node]) -> None:
    """What the user gets back; values meant for buffers or inputs are written there first."""
    returned, values = [], node.args[0]
    assert isinstance(values, list | tuple)
    by_name = {str(n.target): n for n in graph.nodes if n.op in ("get_attr", "placeholder")}
    for spec, value in zip(program.graph_signature.output_specs, values, strict=True):
        new = env[value] if isinstance(value, Node) else value
        if spec.kind in _WRITTEN:
            graph.call_function(torch.ops.aten.copy_.default, (by_name[str(spec.target)], new))
        else:
            returned.append(new)
    graph.output(tuple(returned))


def _calling_convention(program: ExportedProgram) -> _PyTreeCodeGen:
    spec = program.call_spec.in_spec
    assert spec is not None
    signature = program.module_call_graph[0].signature
    names = list(getattr(signature, "forward_arg_names", None) or ())
    if not names:
        positional, named = spec.children()
        names = [f"arg_{i}" for i in range(positional.num_children)] + list(named.context)
    return _PyTreeCodeGen(_PyTreeInfo(names, spec, program.call_spec.out_spec))


def _memory(t: Tensor) -> int:
    return int(t.untyped_storage()._cdata)


def _copied(value: Any) -> Any:
    if isinstance(value, nn.Parameter):
        return nn.Parameter(value.detach().clone(), value.requires_grad)
    return value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
