"""Small ONNX models: of one call, or of calls one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]


def noise(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def model(
    nodes: Sequence[onnx.NodeProto],
    given: dict[str, Array | tuple[int, Sequence[int | str]]],
    returned: Sequence[str | tuple[str, int]],
    weights: dict[str, Array] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """``given``: an example of each input, or its type and shape; ``returned``: names, and types where not float."""
    inputs = []
    for name, x in given.items():
        kind, shape = x if isinstance(x, tuple) else (helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
    outputs = [
        helper.make_tensor_value_info(*((y, TensorProto.FLOAT) if isinstance(y, str) else y), None) for y in returned
    ]
    held = [numpy_helper.from_array(w, name) for name, w in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "net", inputs, outputs, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def one(kind: str, xs: Sequence[Array | None], opset: int = 17, outputs: int = 1, **attributes: Any) -> onnx.ModelProto:
    """A model of one call, all of whose inputs are given."""
    names = [f"x{i}" if x is not None else "" for i, x in enumerate(xs)]
    ys = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(kind, names, ys, **attributes)
    given: Any = {name: x for name, x in zip(names, xs, strict=True) if x is not None}
    return model([node], given, ys, opset=opset)
