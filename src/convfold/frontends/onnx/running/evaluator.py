"""A model run operator by operator, by the standard's own evaluator and torch; values go after their last use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from convfold.frontends.onnx.kept import serialized
from convfold.frontends.onnx.known import constant_tensor
from convfold.frontends.onnx.running import convolutions, norms, pools, resizing

Array = np.ndarray[Any, Any]

#: What is not left to the standard's evaluator.
OPERATORS = [
    x
    for module in (convolutions, norms, pools, resizing)
    for x in vars(module).values()
    if isinstance(x, type) and issubclass(x, OpRun)
]


def evaluator(model: ir.Model, read: Callable[[Array], Array]) -> Evaluator:
    """The model is taken apart for it. ``read``: of every weight, when it is needed."""
    weights = {name: value.const_value for name, value in model.graph.initializers.items()}
    model.graph.initializers.clear()
    for node in [n for n in model.graph if n.op_type == "Constant" and n.domain == ""]:
        if (tensor := constant_tensor(node.outputs[0])) is not None:
            weights[node.outputs[0].name or ""] = tensor
            model.graph.remove(node)
    found = Evaluator(serialized(model), new_ops=OPERATORS)
    found.weights = {name: partial(_content, tensor, read) for name, tensor in weights.items()}
    return found


def _content(tensor: Any, read: Callable[[Array], Array]) -> Array:
    return read(tensor.numpy())


class Evaluator(ReferenceEvaluator):
    """``weights``: what is not in the model but read when it is needed."""

    weights: Mapping[str, Callable[[], Array]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weights = {}
        reads = [[*node.input, *_read_inside(node.onnx_node)] for node in self.rt_nodes_]
        last = {name: i for i, names in enumerate(reads) for name in names}
        self.inside = [names[len(node.input) :] for node, names in zip(self.rt_nodes_, reads, strict=True)]
        self.over: list[list[str]] = [[] for _ in reads]
        for name, i in last.items():
            if name and name not in self.output_names and name not in self.rt_inits_:
                self.over[i].append(name)

    def run(
        self,
        output_names: Any,
        feed_inputs: dict[str, Any],
        attributes: dict[str, Any] | None = None,
        *_: Any,
        **__: Any,
    ) -> list[Any]:
        values: dict[str, Any] = {"": None, **self.rt_inits_, **feed_inputs}
        for i, node in enumerate(self.rt_nodes_):
            inputs = [self._value(values, name) for name in node.input]
            more: dict[str, Any] = {}
            if node.has_linked_attribute and attributes:
                more["linked_attributes"] = attributes
            if node.need_context():
                for name in self.inside[i]:
                    if name in self.weights and name not in values:
                        values[name] = self.weights[name]()
                more["context"] = values
            with np.errstate(all="ignore"):
                found = node.run(*inputs, **more)
            values.update(zip(node.output, found, strict=False))
            values[""] = None
            del inputs, found
            for name in self.over[i]:
                values.pop(name, None)
        return [self._value(values, name) for name in output_names or self.output_names]

    def _value(self, values: Mapping[str, Any], name: str) -> Any:
        if name in values:
            return values[name]
        if name in self.weights:
            return self.weights[name]()
        raise RuntimeError(f"nothing computes {name!r}")


def _read_inside(node: onnx.NodeProto) -> list[str]:
    """What the graphs inside a call read, of their own and of those around it."""
    graphs: Iterable[Any] = (g for a in node.attribute for g in ([a.g] if a.HasField("g") else [*a.graphs]))
    found: list[str] = []
    for graph in graphs:
        found += [y.name for y in graph.output]
        for inner in graph.node:
            found += [*inner.input, *_read_inside(inner)]
    return list(dict.fromkeys(found))
