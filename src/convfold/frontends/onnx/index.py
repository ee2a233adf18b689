"""What the values of a model are called, which calls compute them and which read them; inner graphs included."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from convfold.frontends.onnx.constants import Constants
from convfold.frontends.onnx.known import bodies
from convfold.layers import ONNX
from convfold.program import OUTPUT


class Index:
    """Values by their names; a value of an outer graph has an alias in each graph that reads it."""

    def __init__(self, model: ir.Model, constants: Constants) -> None:
        self.constants = constants
        self.values: dict[str, ir.Value] = {}
        self.names: dict[tuple[ir.Value, ir.Graph | None], str] = {}
        self.aliases: dict[ir.Value, list[str]] = {}
        self.nodes: dict[str, ir.Node] = {}  # by the name of their call
        self.call_of: dict[ir.Node, str] = {}
        self.parts: dict[str, tuple[str, int]] = {}
        self.readers: dict[str, list[str]] = {}
        self.owners: dict[ir.Graph, ir.Node] = {}  # of inner graphs
        self.calls: list[str] = []
        self.asking: set[ir.Node] = set()  # calls on signals whose result is known
        self._index(model.graph, "")

    def _index(self, graph: ir.Graph, path: str) -> None:
        for value in (*graph.inputs, *graph.initializers.values()):
            self._call(value, graph, f"{path}{value.name}")
        for node in graph:
            for i, inner in enumerate(bodies(node)):
                self.owners[inner] = node
                self._index(inner, f"{path}{node.name or node.outputs[0].name}[{i}].")
            self._index_node(node, graph, path)
        for value in graph.outputs:
            self.readers.setdefault(self.name(value, graph), []).append(OUTPUT)

    def _index_node(self, node: ir.Node, graph: ir.Graph, path: str) -> None:
        outputs = [y for y in node.outputs if y.name]
        names = [f"{path}{y.name}" for y in outputs] or [f"{path}{node.name}!{len(self.nodes)}"]  # it only acts
        several = len(node.outputs) > 1 and bool(outputs)
        call = f"{path}{node.name or names[0]}()" if several else names[0]
        while several and call in self.values:
            call += "'"
        self.nodes[call], self.call_of[node] = node, call
        known = bool(outputs) and all(y in self.constants and not y.is_graph_output() for y in outputs)
        for x in dict.fromkeys(x for x in node.inputs if x is not None):
            if known and x not in self.constants:  # it asks for sizes or the type, which are known: nothing is computed
                self.asking.add(node)
            else:
                self.readers.setdefault(self.name(x, graph), []).append(call)
        for value, owner in self._outer(node, graph):
            self.readers.setdefault(self.name(value, owner), []).append(call)
        is_read = bool(outputs) and node.domain == "" and node.op_type in ONNX and node.outputs[0] not in self.constants
        if several:
            self.values[call] = outputs[0]
            self.readers[call] = names
        if is_read:
            self.calls.append(call)
        for y, name in zip(outputs, names, strict=False):
            self._call(y, graph, name)
            self.nodes.setdefault(name, node)
            if several:
                self.parts[name] = (call, list(node.outputs).index(y))
                if is_read:
                    self.calls.append(name)

    def _call(self, value: ir.Value, graph: ir.Graph, name: str) -> None:
        self.values[name] = value
        self.names[value, graph] = name

    def name(self, value: ir.Value, graph: ir.Graph) -> str:
        """What a value is called in a graph; one of an outer graph by an alias: nothing is moved into the inner one."""
        if (value, graph) not in self.names:
            owner = self.owners[graph]
            outer = self.name(value, graph_of(owner))
            branch = bodies(owner).index(graph)  # another alias in each: none may use what another computes
            alias = f"{outer}@{self.call_of.get(owner, owner.outputs[0].name)}[{branch}]"
            self._call(value, graph, alias)
            self.aliases.setdefault(value, []).append(alias)
        return self.names[value, graph]

    def _outer(self, node: ir.Node, graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.Graph]]:
        """Values of this graph and of those around it that the graphs inside a call read."""
        for inner in bodies(node):
            read = {x for n in inner.all_nodes() for x in n.inputs if x is not None} | set(inner.outputs)
            for value in read:
                if (value, graph) in self.names:
                    yield value, graph

    def pass_on(self, call: str, value: str) -> None:
        """Who reads the call reads a value that was there before."""
        first = self._first(call)
        users = self.readers.get(first, [])
        kept, others = [u for u in users if u == OUTPUT], [u for u in users if u != OUTPUT]
        before = [u for u in self.readers.get(value, []) if kept or u != call]  # what is returned is a call still
        self.readers[value], self.readers[first] = [*before, *others], kept

    def _first(self, call: str) -> str:
        """What a call's first output is called: as the call is, or as a part of it."""
        return next((name for name, (whole, i) in self.parts.items() if whole == call and i == 0), call)


def graph_of(node: ir.Node) -> ir.Graph:
    assert isinstance(node.graph, ir.Graph)
    return node.graph
