"""IR version 3, where initializers are inputs too, and only the outermost graph has some."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import convfold


def test_an_answer_in_a_branch_is_an_input_of_the_model() -> None:
    """A size asked for inside a branch, of a value that is not computed any more."""
    weights = {
        "a": np.ones((8, 4, 1, 1), np.float32),
        "b": np.ones((2, 8, 1, 1), np.float32),
    }
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, w.shape) for n, w in weights.items()]
    then = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "a"], ["wide"]),
            helper.make_node("Conv", ["wide", "b"], ["narrow"]),
            helper.make_node("Shape", ["wide"], ["sizes"]),
            helper.make_node("ConstantOfShape", ["sizes"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["zero"], axes=[1], keepdims=1),
            helper.make_node("Relu", ["narrow"], ["r"]),
            helper.make_node("Add", ["r", "zero"], ["t"]),
        ],
        "then",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, [1, 2, 3, 5])],
    )
    other = helper.make_graph(
        [helper.make_node("Conv", ["x", "a"], ["e1"]), helper.make_node("Conv", ["e1", "b"], ["e"])],
        "else",
        [],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, [1, 2, 3, 5])],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)],
        "g",
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 3, 5]),
            *info,
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 3, 5])],
        [numpy_helper.from_array(w, n) for n, w in weights.items()],
    )
    given = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=3)
    folded = convfold.fold(given)
    assert folded.report.applied and folded.report.error.passed
    onnx.checker.check_model(folded.proto)
    inner = [a.g for a in folded.proto.graph.node[0].attribute]
    assert not any(g.initializer for g in inner)
    assert {t.name for t in folded.proto.graph.initializer} <= {x.name for x in folded.proto.graph.input}
