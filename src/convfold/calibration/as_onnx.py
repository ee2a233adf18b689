"""A sample as an ONNX model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from convfold.calibration.as_torch import module
from convfold.calibration.samples import Sample

OPSET = 18

Nodes = tuple[str, list[str], dict[str, Any], dict[str, Any]]


def model(sample: Sample, whole: bool = False) -> onnx.ModelProto:
    """The call; of its result one number, unless it is asked for ``whole``: handing it over is not what is timed."""
    layer = module(sample)
    names = [f"x{i}" for i in range(len(sample.shapes))]
    shape = tuple(layer.to("meta")(*(torch.empty(s, device="meta") for s in sample.shapes)).shape)
    weights = {name: w.numpy() for name, w in module(sample).state_dict().items()}
    kind, inputs, attributes, more = _written(sample, weights, shape)
    nodes = [helper.make_node(kind, [names[0], *names[1:], *inputs], ["all"], **attributes)]
    weights = {name: w for name, w in (weights | more).items() if name in inputs}
    if not whole and sample.call != "permute":  # a runtime would cut first and permute what is left
        weights |= {"first": np.zeros(len(shape), np.int64), "second": np.ones(len(shape), np.int64)}
        nodes.append(helper.make_node("Slice", ["all", "first", "second"], ["one"]))
        shape = (1,) * len(shape)
    graph = helper.make_graph(
        nodes,
        "sample",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, sample.shapes, strict=True)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def _ints(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def _written(sample: Sample, weights: dict[str, Any], shape: tuple[int, ...]) -> Nodes:
    """The operator, what it takes beside the signals, its attributes, and further numbers."""
    given = sample.given
    match sample.call:
        case "convolution":
            taps, stride = [given["taps"]] * 2, [given["stride"]] * 2
            attributes = {"kernel_shape": taps, "strides": stride, "group": given["groups"], "pads": [taps[0] // 2] * 4}
            return "Conv", ["layer.weight", "layer.bias"], attributes, {}
        case "transposed":
            attributes = {"kernel_shape": [given["taps"]] * 2, "strides": [given["stride"]] * 2}
            return "ConvTranspose", ["layer.weight", "layer.bias"], attributes, {}
        case "product" if len(sample.shapes[0]) == 2:
            return "Gemm", ["layer.weight", "layer.bias"], {"transB": 1}, {}
        case "product":
            return "MatMul", ["turned"], {}, {"turned": np.ascontiguousarray(weights["layer.weight"].T)}
        case "scale":
            names = [f"layer.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
            return "BatchNormalization", names, {}, {}
        case "sum":
            return "Add", [], {}, {}
        case "concat":
            return "Concat", [], {"axis": 1}, {}
        case "pad":
            n = given["amount"]
            return "Pad", ["pads"], {}, {"pads": _ints(0, 0, n, n, 0, 0, n, n)}
        case "view":
            return "Reshape", ["shape"], {}, {"shape": _ints(*shape)}
        case "permute":
            return "Transpose", [], {"perm": [0, 2, 3, 1]}, {}
        case "slice":
            cut = {"start": _ints(1), "stop": _ints(1 << 40), "axis": _ints(2), "step": _ints(given["step"])}
            return "Slice", list(cut), {}, cut
        case "gather":
            return "Gather", ["index"], {"axis": 3}, {}
        case "pool":
            return "AveragePool", [], {"kernel_shape": [given["taps"]] * 2, "strides": [given["taps"]] * 2}, {}
        case "resize":
            how = {"mode": {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}[given["mode"]]}
            how["coordinate_transformation_mode"] = "asymmetric" if how["mode"] == "nearest" else "pytorch_half_pixel"
            more = {"nearest_mode": "floor"} if how["mode"] == "nearest" else {"cubic_coeff_a": -0.75}
            rate = np.array([1, 1, given["rate"], given["rate"]], np.float32)
            return "Resize", ["", "rates"], {**how, **more}, {"rates": rate}
    raise AssertionError(sample.call)
