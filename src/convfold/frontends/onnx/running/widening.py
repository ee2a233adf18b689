"""A model of narrower floating-point types as one of float64: weights, constants, types asked for, inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

NARROW = frozenset((ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16))

#: Attributes that name the type of a result.
TYPES = ("to", "dtype", "output_dtype", "precision")


def widened(model: ir.Model) -> ir.Model:
    """In place, all but initializers of the outermost graph; see `wide` for those."""
    for graph in model.graphs():
        values = [*graph.inputs, *graph.outputs, *(y for node in graph for y in node.outputs)]
        if graph is not model.graph:
            for value in graph.initializers.values():
                value.const_value = _tensor(value.const_value)
                values.append(value)
        for value in values:
            if value.dtype in NARROW and isinstance(value.type, ir.TensorType):
                value.type = ir.TensorType(ir.DataType.DOUBLE)
    for node in _nodes(model):
        _widen(node)
    return model


def wide(x: Any) -> Any:
    """An array in float64, if it is of a narrower floating-point type."""
    return x.astype(np.float64) if x.dtype in (np.float16, np.float32) or x.dtype.name == "bfloat16" else x


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _widen(node: ir.Node) -> None:
    if node.op_type == "Constant":
        for name in ("value_float", "value_floats"):
            if (a := node.attributes.get(name)) is not None and not a.is_ref():
                node.attributes.pop(name)
                node.attributes["value"] = ir.AttrTensor("value", ir.tensor(np.array(a.value, np.float64)))
    for name, a in list(node.attributes.items()):
        if a.is_ref():
            continue
        if name in TYPES and a.type == ir.AttributeType.INT and a.value in {int(t) for t in NARROW}:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.DOUBLE))
        elif a.type == ir.AttributeType.TENSOR:
            node.attributes[name] = ir.AttrTensor(name, _tensor(a.value))
    if node.op_type in ("RandomNormal", "RandomUniform", "EyeLike") and "dtype" not in node.attributes:
        node.attributes["dtype"] = ir.AttrInt64("dtype", int(ir.DataType.DOUBLE))
    if node.op_type == "ConstantOfShape" and "value" not in node.attributes:
        node.attributes["value"] = ir.AttrTensor("value", ir.tensor(np.zeros(1)))


def _tensor(t: Any) -> Any:
    return ir.tensor(wide(t.numpy()), name=t.name) if t.dtype in NARROW else t
