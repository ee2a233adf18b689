"""One operator of ONNX as a whole model, drawn by Hypothesis from the examples that the layer files declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch
from hypothesis import assume
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from convfold.frontends.onnx.graph import Graph
from convfold.frontends.onnx.source import read
from convfold.layers.examples import ONNX_EXAMPLES, OnnxExample
from convfold.plan import Planner, Prices
from tests.layers.calls import Drawing

Arrays = Mapping[str, np.ndarray[Any, Any]]

#: What ONNX Runtime raises on a model that it does not run.
_REFUSES = (
    ort.capi.onnxruntime_pybind11_state.NotImplemented,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
)


@st.composite
def examples(draw: st.DrawFn, name: str) -> OnnxExample:
    return ONNX_EXAMPLES[name](Drawing(draw), name)


def shown(name: str, example: OnnxExample) -> str:
    """The call, with shapes in the place of tensors."""

    def short(a: Any) -> Any:
        if not isinstance(a, Tensor):
            return a
        few = a.tolist() if isinstance(a, nn.Parameter) and a.numel() < 9 else list(a.shape)
        return f"{'weight' if isinstance(a, nn.Parameter) else 'x'}{few}"

    inputs = ", ".join(str(short(a)) for a in example.args)
    return f"{name}-{example.opset}({inputs}; {dict(example.kwargs)}) → {example.outputs}"


class Built:
    """A model of one call, perhaps between layers: ``pre`` and ``post`` are weights of products or of convolutions."""

    def __init__(
        self,
        name: str,
        example: OnnxExample,
        before: Sequence[tuple[str, Tensor] | None] = (),
        behind: Sequence[tuple[str, Tensor] | None] = (),
        free: str = "",
        ranks: Sequence[int] = (),
    ) -> None:
        self.given: dict[str, np.ndarray[Any, Any]] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        names: dict[int, str] = {}
        inputs = [self._input(a, names, list(before)) for a in example.args]
        while inputs and not inputs[-1]:
            inputs.pop()
        outputs = [f"y{i}" for i in range(example.outputs)]
        self.nodes.append(onnx.helper.make_node(name, inputs, outputs, name="call", **dict(example.kwargs)))
        self.outputs = list(outputs)
        for i, layer in enumerate(behind):
            if layer is not None:
                self.outputs[i] = self._layer(outputs[i], layer, f"z{i}")
        types = [self._info(n, a.shape, free) for n, a in self.given.items()]
        results = [onnx.helper.make_empty_tensor_value_info(n) for n in self.outputs]
        graph = onnx.helper.make_graph(self.nodes, "model", types, results, self.weights)
        opsets = [onnx.helper.make_opsetid("", example.opset)]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=min(10, onnx.IR_VERSION))
        self.proto = onnx.shape_inference.infer_shapes(model, data_prop=True)
        del self.proto.graph.value_info[:]  # of some there is no type in them
        for y, rank in zip(self.proto.graph.output, ranks, strict=False):
            if not y.type.tensor_type.HasField("shape"):
                kind = y.type.tensor_type.elem_type or onnx.TensorProto.FLOAT
                y.CopyFrom(onnx.helper.make_tensor_value_info(y.name, kind, [None] * rank))

    def _info(self, name: str, shape: Sequence[int], free: str) -> onnx.ValueInfoProto:
        """``free``: the batch, or space too: all but the channels."""
        sizes: list[Any] = list(shape)
        for i in range(len(shape)):
            if (free and i == 0) or (free == "space" and i > 1):
                sizes[i] = f"size{i}"
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)

    def _input(self, a: Any, names: dict[int, str], before: list[Any]) -> str:
        if a is None:
            return ""
        if isinstance(a, Tensor) and id(a) in names:
            return names[id(a)]
        if isinstance(a, Tensor) and not isinstance(a, nn.Parameter):
            name = names[id(a)] = f"x{len(self.given)}"
            self.given[name] = a.float().numpy()
            i = len(self.given) - 1
            if i < len(before) and before[i] is not None:
                names[id(a)] = name = self._layer(name, before[i], f"a{i}")
            return name
        array = a.detach().numpy() if isinstance(a, Tensor) else np.array(a, np.int64)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        return self._weight(array, f"w{len(self.weights)}")

    def _weight(self, array: np.ndarray[Any, Any], name: str) -> str:
        self.weights.append(onnx.numpy_helper.from_array(np.array(array), name))
        return name

    def _layer(self, x: str, layer: tuple[str, Tensor], y: str) -> str:
        kind, weight = layer
        w = self._weight(weight.float().numpy(), f"{y}.weight")
        self.nodes.append(onnx.helper.make_node(kind, [x, w], [y], name=f"{y}_{kind}"))
        return y


def run(model: onnx.ModelProto, given: Arrays) -> list[np.ndarray[Any, Any]]:
    """In ONNX Runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(given)))


def computed(model: onnx.ModelProto, given: Arrays) -> list[np.ndarray[Any, Any]]:
    """In ONNX Runtime or, where that has no such operator, by the standard's reference; else the example is none."""
    try:
        return run(model, given)
    except _REFUSES:
        pass
    try:
        return list(ReferenceEvaluator(model).run(None, dict(given)))
    except Exception:  # of whatever kind: there is nothing to compare with
        assume(False)
        raise


def folded(model: onnx.ModelProto, given: Arrays, kind: str = "time") -> tuple[onnx.ModelProto, Sequence[Any]]:
    """Planned and written; and the sizes of the inputs it was planned for, but where that is too much to compute."""
    graph = Graph(read(model, tuple(given.values())))
    stretches = graph.lift()
    planner = Planner(Prices(kind, ends=True))
    changes = []
    for region in stretches.regions:
        plan = planner(region)
        if plan.changed and (done := plan.composed(planner.prices)).changed:
            changes.append((region, done.region))
    few = [t for t in graph.source.tried if sum(map(prod, t.values())) <= 1 << 18]
    graph.write(stretches, changes)
    return ir.serde.serialize_model(graph.model()), few


def pointwise(draw: Drawing, y: np.ndarray[Any, Any], same: bool) -> tuple[str, Tensor] | None:
    """A product on the last axis or a convolution of one tap; nothing, where there is no axis for channels."""
    if y.ndim < 2 or not y.size or y.dtype != np.float32:
        return None
    if y.ndim in (3, 4, 5) and draw.pick((True, False)):
        c = y.shape[1]
        out = c if same else draw.integer(1, 4)
        return "Conv", draw.signal(out, c, *(1,) * (y.ndim - 2)) / c**0.5
    c = y.shape[-1]
    return "MatMul", draw.signal(c, c if same else draw.integer(1, 4)) / c**0.5


def close(got: Any, expected: Any, where: str, rtol: float = 1e-4) -> None:
    got, expected = torch.as_tensor(np.asarray(got)).double(), torch.as_tensor(np.asarray(expected)).double()
    assert got.shape == expected.shape, f"{where}: {tuple(got.shape)}, expected {tuple(expected.shape)}"
    scale = max(float(expected.abs().max()), 1.0) if expected.numel() else 1.0
    difference = float((got - expected).abs().max()) if expected.numel() else 0.0
    assert difference <= rtol * scale, f"{where}: differs by {difference:.3g} of {scale:.3g}\n{got}\n{expected}"
