"""Random nets like those that come as ONNX files: norms behind convolutions, branches, gates, upsampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.frontends.onnx.nodes import Array, model, noise

FREE = (TensorProto.FLOAT, ("N", 3, "H", "W"))


class Written:
    """Calls one after another, with weights drawn anew."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}

    def call(self, kind: str, *xs: str, **attributes: Any) -> str:
        y = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, xs, [y], name=f"{y}_call", **attributes))
        return y

    def weight(self, *shape: int, positive: bool = False) -> str:
        fan = max(int(np.prod(shape[1:])), 1)
        w = self.generator.standard_normal(shape) / (fan**0.5 if len(shape) > 1 else 1)
        return self.constant((np.abs(w) + 0.3 if positive else w).astype(np.float32))

    def constant(self, x: Array) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = x
        return name

    def conv(self, x: str, c: int, out: int, k: int = 3, group: int = 1, bias: bool = True, **how: Any) -> str:
        how = {"pads": [k // 2] * 4, **how}
        biases = [self.weight(out, positive=k == 1)] if bias else []  # few channels of a gate are never positive then
        given = [x, self.weight(out, c // group, k, k), *biases]
        return self.call("Conv", *given, group=group, kernel_shape=[k, k], **how)

    def norm(self, x: str, c: int) -> str:
        statistics = [self.weight(c), self.weight(c), self.weight(c), self.weight(c, positive=True)]
        return self.call("BatchNormalization", x, *statistics, epsilon=1e-3)

    def doubled(self, x: str) -> str:
        factors = self.constant(np.array([1, 1, 2, 2], np.float32))
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.call("Resize", x, "", factors, mode="nearest", **how)


def detector(seed: int = 0) -> onnx.ModelProto:
    """A stem, a gated depthwise block, three branches added, and upsampling: two outputs, all sizes free."""
    w = Written(seed)
    x = w.call("HardSwish", w.norm(w.conv("x", 3, 8, strides=[2, 2], bias=False), 8))
    y = w.call("Relu", w.norm(w.conv(x, 8, 8, group=8, bias=False), 8))
    gate = w.call("Relu", w.conv(w.call("GlobalAveragePool", y), 8, 4, 1))
    y = w.call("Mul", y, w.call("HardSigmoid", w.conv(gate, 4, 8, 1), alpha=0.2, beta=0.4))
    y = w.norm(w.conv(y, 8, 8, 1, bias=False), 8)
    x = w.call("Add", x, y)
    branches = w.norm(w.conv(x, 8, 8, bias=False), 8), w.norm(w.conv(x, 8, 8, 1, bias=False), 8), w.norm(x, 8)
    x = w.call("Relu", w.call("Add", w.call("Add", *branches[:2]), branches[2]))
    up = w.doubled(x)
    a = w.doubled(w.call("Sigmoid", w.norm(w.conv(up, 8, 4), 4)))
    b = w.call("ConvTranspose", x, w.weight(8, 4, 2, 2), w.weight(4), strides=[2, 2], kernel_shape=[2, 2])
    parts = w.call("Concat", w.conv(up, 8, 1, 1), w.conv(up, 8, 3, 1), axis=1)
    b = w.call("Sub", w.call("Tanh", w.norm(b, 4)), w.call("Relu", parts))
    return model(w.nodes, {"x": FREE}, [a, b], w.weights)


def plain(seed: int = 0) -> onnx.ModelProto:
    """Two convolutions with norms, of one size."""
    w = Written(seed)
    y = w.call("Relu", w.norm(w.conv("x", 3, 4, bias=False), 4))
    y = w.norm(w.conv(y, 4, 5, strides=[2, 1]), 5)
    return model(w.nodes, {"x": noise(1, 3, 9, 8)}, [y], w.weights)


def of_type(net: onnx.ModelProto, dtype: Any) -> onnx.ModelProto:
    """The same with weights, inputs and outputs of another floating-point type."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    net = onnx.ModelProto.FromString(net.SerializeToString())
    for w in net.graph.initializer:
        held = onnx.numpy_helper.to_array(w)
        if held.dtype == np.float32:
            w.CopyFrom(onnx.numpy_helper.from_array(held.astype(dtype), w.name))
    for value in (*net.graph.input, *net.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = kind
    return net
