"""Random rounding, written into a model: every floating-point result is off by a few units in its last place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from convfold.frontends.onnx.known import Inconsistent, Knowledge

EPS = {
    ir.DataType.FLOAT: float(np.finfo(np.float32).eps),
    ir.DataType.DOUBLE: float(np.finfo(np.float64).eps),
    ir.DataType.FLOAT16: float(np.finfo(np.float16).eps),
    ir.DataType.BFLOAT16: 2.0**-7,
}

#: What hands on a value as it is.
COPIES = frozenset(
    ("Constant", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Concat")
)


class NoRounding(Exception):
    """It cannot be written into this model."""


def rounding(model: ir.Model, shapes: Mapping[str, Sequence[int]], units: int, seed: int) -> ir.Model:
    """In place. Whole numbers stay exact: sizes are computed in floating point, too.

    Raises:
        NoRounding: the opset is too old, or the model is not understood at these sizes.
    """
    if model.opset_imports.get("", 1) < 11:
        raise NoRounding(f"opset {model.opset_imports.get('', 1)}")
    try:
        known = Knowledge(model, shapes)
    except Inconsistent as e:
        raise NoRounding(str(e)) from e
    for graph in list(model.graphs()):
        for node in list(graph):
            if node.op_type in COPIES and node.domain == "":
                continue
            for y in node.outputs:
                dtype = known[y].dtype
                if y.name and dtype in EPS:
                    seed += 1
                    _round(graph, node, y, dtype, units * EPS[dtype], seed)
    return model


def _round(graph: ir.Graph, node: ir.Node, y: ir.Value, dtype: Any, most: float, seed: int) -> None:
    users = list(y.uses())
    drawn = dtype if dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
    nodes: list[ir.Node] = []

    def call(kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        nodes.append(ir.node(kind, inputs, attributes, name=f"{y.name}_{kind}_rounding"))
        nodes[-1].outputs[0].name = f"{y.name}_{len(nodes)}_rounded"
        return nodes[-1].outputs[0]

    # 1 + r would have few values between 1 − ε and 1 + ε: y·r is added
    r = call("RandomUniformLike", y, dtype=int(drawn), low=-most, high=most, seed=float(seed))
    if drawn != dtype:
        r = call("Cast", r, to=int(dtype))
    moved = call("Add", y, call("Mul", y, r))
    rounded = call("Where", call("Greater", y, call("Floor", y)), moved, y)
    rounded.type = ir.TensorType(dtype)
    graph.insert_after(node, nodes)
    for user, i in users:
        user.replace_input_with(i, rounded)
    for i, out in enumerate(graph.outputs):
        if out is y:
            rounded.shape = y.shape
            graph.outputs[i] = rounded
