"""What the standard's own rules of sizes leave out, or say otherwise than its words and runtimes have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    from convfold.frontends.onnx.known import Known

#: Calls that count windows.
POOLS = ("AveragePool", "MaxPool", "LpPool")
#: What gives something like its first input, though no rule of the standard says so.
_LIKE = {"GroupNormalization"}


def misfit(node: ir.Node, inputs: Sequence[Known | None]) -> str | None:
    """What the standard's own inference does not look at: whether the weights of a convolution or product fit."""
    shapes = [None if x is None else x.shape for x in inputs]
    if node.domain != "" or not shapes or shapes[0] is None or len(shapes[0]) < 2:
        return None
    channels, rest = shapes[0][1], shapes[1:]
    if node.op_type == "Gemm" and rest and rest[0] is not None and len(rest[0]) == 2:
        turned = [name in node.attributes and bool(node.attributes[name].as_int()) for name in ("transA", "transB")]
        summed = shapes[0][0 if turned[0] else 1], rest[0][1 if turned[1] else 0]
        return f"a sum over {summed[0]} of one and {summed[1]} of the other" if summed[0] != summed[1] else None
    if node.op_type not in ("Conv", "ConvTranspose") or not rest or rest[0] is None or len(rest[0]) < 2:
        return None
    group = node.attributes.get("group")
    groups = 1 if group is None or group.is_ref() else group.as_int()
    takes, gives = (rest[0][1] * groups, rest[0][0]) if node.op_type == "Conv" else (rest[0][0], rest[0][1] * groups)
    if takes != channels:
        return f"the signal has {channels} channels, the weight takes {takes}"
    if groups < 1 or channels % groups or gives % groups:
        return f"{channels} channels to {gives} in {groups} groups"
    if len(rest) > 1 and rest[1] is not None and rest[1] != (gives,):
        return f"there are {gives} channels, and a bias of sizes {rest[1]}"
    return None


def corrected(node: ir.Node, inputs: Sequence[Known | None]) -> dict[str, Any]:
    """What the rules of the standard leave out, or say otherwise than its words: of a transposed convolution's size."""
    x, *rest = inputs if inputs else (None,)
    name = node.outputs[0].name or ""
    if x is None or x.dtype is None or x.shape is None:
        return {}
    if node.op_type in _LIKE:
        return {name: onnx.helper.make_tensor_type_proto(int(x.dtype), x.shape)}
    weight = rest[0] if rest else None
    if node.op_type == "Einsum" and (shape := _contracted(node, inputs)) is not None:
        return {name: onnx.helper.make_tensor_type_proto(int(x.dtype), shape)}
    if node.op_type == "ConvTranspose" and weight is not None and weight.shape is not None:
        given = {name: a.value for name, a in node.attributes.items()}
        space, dims = given.get("output_shape"), len(x.shape) - 2
        if space is None and str(given.get("auto_pad")).startswith("SAME"):
            space = [n * s for n, s in zip(x.shape[2:], given.get("strides") or (1,) * dims, strict=True)]
        if space is not None:
            shape = [x.shape[0], weight.shape[1] * given.get("group", 1), *space[-dims:]]
            return {name: onnx.helper.make_tensor_type_proto(int(x.dtype), shape)}
    return {}


def settle(model: ir.Model) -> None:
    """Round up no count of windows of one position: none of them overhangs, so every runtime rounds down.

    The standard's rule does not before opset 22, which a runtime refuses as soon as it knows the sizes before the pool.
    """
    for node in model.graph.all_nodes():
        if node.op_type in POOLS and node.domain == "" and "ceil_mode" in node.attributes:
            given = {name: a.value for name, a in node.attributes.items()}
            taps = given["kernel_shape"]
            if all(k == 1 for k in taps) and not any((given.get("pads") or [0])[-len(taps) :]):
                del node.attributes["ceil_mode"]


def overhangs(node: ir.Node, inputs: Sequence[Known | None]) -> bool:
    """Is a window longer than the signal, and taken? ONNX Runtime then infers another size than it computes."""
    given = {name: a.value for name, a in node.attributes.items()}
    x = inputs[0] if inputs else None
    if not given.get("ceil_mode") or x is None or x.shape is None:
        return False
    taps, space = given["kernel_shape"], x.shape[2:]
    pads = given.get("pads") or (0,) * (2 * len(space))
    dilations = given.get("dilations") or (1,) * len(space)
    ends = zip(pads[: len(space)], pads[len(space) :], strict=True)
    return any(d * (k - 1) + 1 > n + lo + hi for k, d, n, (lo, hi) in zip(taps, dilations, space, ends, strict=True))


def _contracted(node: ir.Node, inputs: Sequence[Known | None]) -> list[int] | None:
    """Sizes of an Einsum's result where each axis is named: of two that share a name one may be one long."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms, arrow, out = equation.partition("->")
    shapes = [None if x is None else x.shape for x in inputs]
    if not arrow or "." in equation or len(terms.split(",")) != len(shapes):
        return None
    sizes: dict[str, int] = {}
    for term, shape in zip(terms.split(","), shapes, strict=True):
        if shape is None or len(shape) != len(term):
            return None
        for label, n in zip(term, shape, strict=True):
            sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
    return [sizes[label] for label in out]
