"""An exported program without writes into memory: a pass over its graph, where torch would trace the model again.

``run_decompositions({})`` gives such a program too, and takes several times as long as the export itself. It is left
what this pass cannot be sure of: branches and loops, autocast, views it does not know that are written into.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch._ops import HigherOrderOperator
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from convfold.frontends.torch.inline import flat
from convfold.frontends.torch.insert import Insert
from convfold.frontends.torch.memory import Memories
from convfold.frontends.torch.respell import respell, without_dropout
from convfold.frontends.torch.running.state import UNSAID, writes
from convfold.frontends.torch.unsure import Unsure

#: What may be written into from outside, and what torch calls that.
_MUTATIONS = {InputKind.BUFFER: OutputKind.BUFFER_MUTATION, InputKind.USER_INPUT: OutputKind.USER_INPUT_MUTATION}


def functional(program: ExportedProgram) -> ExportedProgram:
    """The same program where every call computes new values; what it wrote into is an output, as the signature says."""
    try:
        return _functional(program)
    except (Unsure, GuardOnDataDependentSymNode):  # the latter: a size that only a run tells
        again: ExportedProgram = program.run_decompositions({})
        return again


def _functional(program: ExportedProgram) -> ExportedProgram:
    graph = flat(program.graph_module)
    calls = [node for node in graph.nodes if node.op == "call_function"]
    _refuse_unknown(calls)
    insert = Insert.of(graph)
    for node in calls:
        respell(node, insert)
    written: list[tuple[Node, Node]] = []
    if any(writes(node.target) for node in calls):
        if any(spec.kind is not OutputKind.USER_OUTPUT for spec in program.graph_signature.output_specs):
            raise Unsure("some writes are outputs already")
        memories = Memories(insert)
        for node in list(graph.nodes):
            memories.take(node)
        written = memories.finish()
    without_dropout(graph)
    signature = _returning(program.graph_signature, graph, written)
    graph.eliminate_dead_code()
    return _with(program, graph, signature)


def _refuse_unknown(calls: list[Node]) -> None:
    for node in calls:
        if isinstance(node.target, HigherOrderOperator):
            raise Unsure(f"{node.target} has a graph of its own")
        if node.target in UNSAID and node.args[5] and node.args[3] is not None:
            raise Unsure(f"{node.target} updates its statistics")


def _returning(old: ExportGraphSignature, graph: Graph, written: list[tuple[Node, Node]]) -> ExportGraphSignature:
    """The signature for a graph whose output begins with what was written into inputs and buffers."""
    inputs = {spec.arg.name: spec for spec in old.input_specs}
    specs: list[OutputSpec] = []
    for target, value in written:
        spec = inputs[target.name]
        if spec.kind not in _MUTATIONS:
            raise Unsure(f"{target.name} is written into: a {spec.kind.name.lower()}")
        place = target.name if spec.kind is InputKind.USER_INPUT else spec.target
        specs.append(OutputSpec(_MUTATIONS[spec.kind], TensorArgument(value.name), place))
    output = graph.output_node()
    returned = list(_outputs(output))
    for said, value in zip(old.output_specs, returned, strict=True):
        specs.append(replace(said, arg=replace(said.arg, name=value.name)) if isinstance(value, Node) else said)
    output.args = ((*(value for _, value in written), *returned),)
    return ExportGraphSignature(input_specs=list(old.input_specs), output_specs=specs)


def _outputs(output: Node) -> Iterator[Any]:
    values = output.args[0]
    assert isinstance(values, list | tuple)
    return iter(values)


def _with(program: ExportedProgram, graph: Graph, signature: ExportGraphSignature) -> ExportedProgram:
    new = copy.copy(program)  # its constructor would check and compile every call again
    new._graph_module = GraphModule(program.graph_module, graph)
    new._graph_module.meta.update(program.graph_module.meta)
    new._graph_signature = signature
    return new
