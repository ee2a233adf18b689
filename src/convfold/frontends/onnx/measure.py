"""What an ONNX model costs at the example's sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

import onnx_ir as ir

from convfold.frontends.onnx import kept
from convfold.frontends.onnx.known import Knowledge, is_varying
from convfold.totals import Totals

_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def measure(model: ir.Model, known: Knowledge) -> Totals:
    """Multiply-adds of convolutions and matrix products; calls that compute, Constants being none."""
    nodes = [n for graph in kept.graphs(model) for n in graph]
    kinds = Counter(n.op_type for n in nodes)
    weights = [v for graph in kept.graphs(model) for v in graph.initializers.values()]
    weights += [n.outputs[0] for n in nodes if n.op_type == "Constant"]
    numbers = [k for v in weights if (k := known[v]).dtype is not None and k.dtype.is_floating_point()]
    constant: set[ir.Value] = set()  # which a call may be only since what it reads was folded
    for n in nodes:
        if n.inputs and all(x is None or x in constant or known[x].constant for x in n.inputs) and not is_varying(n):
            constant.update(n.outputs)
    return Totals(
        macs=sum(macs(n, known) for n in nodes if not constant.intersection(n.outputs)),
        params=sum(prod(k.shape) for k in numbers if k.shape is not None),
        ops=sum(n for kind, n in kinds.items() if kind != "Constant"),
        layers=sum(kinds[kind] for kind in _LAYERS),
        batch_norms=kinds["BatchNormalization"],
        kinds={kind: n for kind, n in kinds.items() if kind != "Constant"},
    )


def macs(node: ir.Node, known: Knowledge) -> int:
    """Of one call; 0 where its sizes are not known, or where it is of constants: runtimes compute it as they load."""
    shapes = [None if x is None else known[x].shape for x in node.inputs[:2]]
    out = known[node.outputs[0]].shape if node.outputs else None
    constant = bool(node.outputs) and known[node.outputs[0]].constant
    if node.domain not in ("", "ai.onnx") or out is None or len(shapes) < 2 or constant:
        return 0
    x, w = shapes
    if x is None or w is None:
        return 0
    if node.op_type == "Conv":
        return prod(out) * prod(w[1:])
    if node.op_type == "ConvTranspose":
        return prod(x) * prod(w[1:])
    if node.op_type == "MatMul":
        return prod(out) * x[-1]
    if node.op_type == "Einsum":
        return _contracted(node.attributes["equation"].as_string(), (x, w)) if len(node.inputs) == 2 else 0
    if node.op_type == "Gemm":
        turned = node.attributes.get("transA")
        return prod(out) * x[0 if turned is not None and turned.as_int() else -1]
    return 0


def _contracted(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """Of a product of two: every index once; of axes without a name the larger."""
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.partition("->")[0].replace(" ", "").split(","), shapes, strict=True):
        before, dots, after = term.partition("...")
        rest = len(shape) - len(before) - len(after) if dots else 0
        unnamed = [f".{rest - i}" for i in range(rest)]
        for index, n in zip([*before, *unnamed, *after], shape, strict=True):
            sizes[index] = max(sizes.get(index, 1), n)
    return prod(sizes.values())
