"""Calls that ask a signal for its sizes or its type alone: their answer is known, and holds nothing back."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import convfold


def model(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], size: object) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "asking",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, 4, 6, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def folded(given: onnx.ModelProto) -> list[str]:
    """The calls that are left, of a model that computes the same."""
    result = convfold.fold(given)
    assert result.report.error.passed
    x = np.random.default_rng(1).standard_normal((1, 4, 6, 5)).astype(np.float32)
    a, b = (onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})[0] for m in (given, result.proto))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    return [node.op_type for node in result.proto.graph.node]


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def test_sizes() -> None:
    """A view whose shape is computed from a value that is not computed any more."""
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["wide"]),
        helper.make_node("Shape", ["wide"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["shape"], axis=0),
        helper.make_node("Conv", ["wide", "b"], ["narrow"]),
        helper.make_node("Relu", ["narrow"], ["r"]),
        helper.make_node("Reshape", ["r", "shape"], ["y"]),
    ]
    numbers = {"first": np.array([0]), "rest": np.array([-1])}
    left = folded(model(nodes, weights(a=(16, 4, 1, 1), b=(2, 16, 1, 1)) | numbers, 1))
    assert left.count("Conv") == 1 and "Shape" not in left
    left = folded(model(nodes, weights(a=(16, 4, 1, 1), b=(2, 16, 1, 1)) | numbers, "n"))
    assert "Shape" in left  # asked at run time


def test_type() -> None:
    """As torch writes a missing bias, where it may optimise nothing."""
    nodes = [
        helper.make_node("CastLike", ["zero", "x"], ["typed"]),
        helper.make_node("Expand", ["typed", "channels"], ["bias"]),
        helper.make_node("Conv", ["x", "a", "bias"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "s", "s", "s", "v"], ["y"]),
    ]
    numbers = {"zero": np.array(0.0), "channels": np.array([3]), "v": np.float32([1, 2, 3])}
    assert folded(model(nodes, weights(a=(3, 4, 1, 1), s=(3,)) | numbers, "n")) == ["Conv"]
