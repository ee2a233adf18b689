"""Does a model run at these sizes, and is there something of every map for every window?"""

from __future__ import annotations

import onnx_ir as ir

from convfold.frontends.onnx.known import Inconsistent, Knowledge
from convfold.frontends.onnx.source import Shapes

_WINDOWS = {"Conv", "AveragePool", "MaxPool", "LpPool"}


def legal(model: ir.Model, shapes: Shapes) -> bool:
    """Runtimes differ in what they make of a window that is larger than its map."""
    try:
        known = Knowledge(model, shapes)
    except Inconsistent:
        return False
    return all(_fits(node, known) for node in model.graph)


def _fits(node: ir.Node, known: Knowledge) -> bool:
    of = [known[y] for y in node.outputs]
    if any(y.shape is not None and 0 in y.shape and not y.constant for y in of):
        return False
    x = None if not node.inputs or node.inputs[0] is None else known[node.inputs[0]].shape
    if node.op_type not in _WINDOWS or node.domain != "" or x is None:
        return True
    axes = len(x) - 2
    auto = node.attributes.get("auto_pad")
    kernel = _ints(node, "kernel_shape", [])
    if not kernel and node.op_type == "Conv" and node.inputs[1] is not None:
        kernel = list((known[node.inputs[1]].shape or ())[2:])
    if len(kernel) != axes or (auto is not None and auto.as_string().startswith("SAME")):
        return True
    pads, dilation = _ints(node, "pads", [0] * (2 * axes)), _ints(node, "dilations", [1] * axes)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    return all(span <= n + lo + hi for span, n, lo, hi in zip(spans, x[2:], pads, pads[axes:], strict=False))


def _ints(node: ir.Node, name: str, otherwise: list[int]) -> list[int]:
    found = node.attributes.get(name)
    return otherwise if found is None else list(found.as_ints())
