"""What has been written into a model: names, new weights, and the sizes of new values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from convfold.frontends.onnx import kept
from convfold.frontends.onnx.known import Knowledge
from convfold.frontends.onnx.sizes import Free, size


class Written:
    """What has been written into a model: of every new value sizes in all trials, of every initializer a name."""

    def __init__(self, model: ir.Model, trials: Sequence[Knowledge]) -> None:
        self.model, self.opset = model, model.opset_imports.get("", 1)
        self.trials = trials
        self.bytes = 0  # of new weights
        self.names = {
            name
            for graph in kept.graphs(model)
            for value in (*graph.inputs, *graph.initializers.values(), *(y for n in graph for y in n.outputs))
            if (name := value.name)
        }

    def name(self, wanted: str) -> str:
        """One that no value has, nor had."""
        found, i = wanted, 1
        while found in self.names:
            found, i = f"{wanted}_{i}", i + 1
        self.names.add(found)
        return found

    def home(self, graph: ir.Graph) -> ir.Graph:
        """Where new weights of a graph live: before IR version 4 they are inputs too, which only the outermost has."""
        return graph if self.model.ir_version >= 4 else self.model.graph

    def sizes(self, x: ir.Value) -> tuple[int | Free, ...] | None:
        """Numbers where they are the same in all trials; None where only a run tells, if only how many there are."""
        shapes = [trial[x].shape for trial in self.trials]
        if len(shapes) == 1:
            return shapes[0]
        if any(s is None for s in shapes) or len({len(s) for s in shapes if s is not None}) > 1:
            return None
        return tuple(map(size, zip(*shapes, strict=True)))

    def initializer(self, graph: ir.Graph, name: str, tensor: Any) -> ir.Value:
        """A new one of the graph's, by this name or one like it."""
        value = ir.Value(name=self.name(name), type=ir.TensorType(tensor.dtype), shape=tensor.shape)
        tensor.name = value.name
        value.const_value = tensor
        self.home(graph).register_initializer(value)
        self.bytes += tensor.nbytes
        for trial in self.trials:
            trial.constant(value)
        return value
