"""A model with an operator that a runtime has not is refused in a line."""

from __future__ import annotations

import pytest
import torch
from onnx import TensorProto, helper

from convfold.errors import InvalidInput
from convfold.runtimes import runtime


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_operator_it_has_not(name: str) -> None:
    pytest.importorskip(name)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Juggle", ["x"], ["y"], domain="circus")], "g", [x], [y])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("circus", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    with pytest.raises(InvalidInput, match=f"runtime '{name}' does not") as found:
        runtime(name).ready(model, (torch.ones(2),), {}, 1)
    assert "\n" not in str(found.value) and "Juggle" in str(found.value)
