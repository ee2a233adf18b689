"""Calls that nothing reads any more, and weights that no call does."""

from __future__ import annotations

import onnx_ir as ir

from convfold.frontends.onnx import kept
from convfold.frontends.onnx.known import bodies

#: Where onnx_ir keeps which initializers are a value's scale and zero point.
_ANNOTATION = "quant_parameter_tensor_names"


def sweep(model: ir.Model) -> None:
    """Of all graphs; calls that only act stay, and what a quantisation annotation names."""
    named = {
        name
        for graph in (kept.graphs(model) if kept.of(model).annotated else ())
        for value in (*graph.inputs, *graph.initializers.values(), *(y for n in graph for y in n.outputs))
        for name in (value.meta.get(_ANNOTATION) or {}).values()
    }
    _sweep(model.graph, named)
    if model.ir_version < 4:
        _as_inputs(model)


def _sweep(graph: ir.Graph, named: set[str]) -> None:
    for node in reversed(graph):
        outputs = [y for y in node.outputs if y.name]
        if outputs and not any(y.uses() or y.is_graph_output() for y in outputs):
            graph.remove(node, safe=True)
            for inner in bodies(node):
                _let_go(inner)
            continue
        for inner in bodies(node):
            _sweep(inner, named)
    for name, value in list(graph.initializers.items()):
        if not (value.uses() or value.is_graph_output() or value.is_graph_input() or name in named):
            del graph.initializers[name]


def _let_go(graph: ir.Graph) -> None:
    """Of what the calls of a branch read outside, when the branch is gone."""
    for node in graph:
        node.resize_inputs(0)
        for inner in bodies(node):
            _let_go(inner)


def _as_inputs(model: ir.Model) -> None:
    """Before IR version 4 initializers are inputs too: those that are new, and not those that nothing reads."""
    graph = model.graph
    for x in list(graph.inputs):
        if x.is_initializer() and x.name is not None and not (x.uses() or x.is_graph_output()):
            graph.inputs.remove(x)
            del graph.initializers[x.name]
    there = set(graph.inputs)
    graph.inputs.extend(x for x in graph.initializers.values() if x not in there)
