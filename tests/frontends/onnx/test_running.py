"""Operators computed in float64 are those that ONNX Runtime computes in float32, at any of their parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnx_ir as ir
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper

from convfold.frontends.onnx.running.evaluator import OPERATORS, evaluator
from convfold.frontends.onnx.running.runtime import CannotRun, Session
from convfold.frontends.onnx.running.widening import wide, widened
from tests.frontends.onnx.nodes import model, noise, one

few = settings(max_examples=40, deadline=None)
ints = st.integers


def check(net: Any, xs: list[Any], refusable: bool = True, most: float = 2e-6) -> None:
    feeds = {f"x{i}": x for i, x in enumerate(xs) if x is not None}
    try:
        own = Session(net)(feeds)
    except CannotRun:
        if not refusable:
            raise
        assume(False)
    found = evaluator(widened(ir.serde.deserialize_model(net)), wide).run(None, {k: wide(x) for k, x in feeds.items()})
    for y, exact in zip(own, found, strict=True):
        assert y.shape == exact.shape
        assert exact.dtype == (np.float64 if y.dtype == np.float32 else y.dtype)
        assert np.linalg.norm(y - exact) <= most * max(np.linalg.norm(exact), 1e-3)


def axes_of(draw: Any, lowest: int, highest: int, axes: int) -> list[int]:
    return [draw(ints(lowest, highest)) for _ in range(axes)]


@st.composite
def windows(draw: Any, axes: int) -> dict[str, Any]:
    found: dict[str, Any] = {"kernel_shape": axes_of(draw, 1, 4, axes), "strides": axes_of(draw, 1, 3, axes)}
    match draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"])):
        case "pads":
            found["pads"] = [draw(ints(0, k - 1)) for _ in range(2) for k in found["kernel_shape"]]
        case "none":
            pass
        case auto:
            found["auto_pad"] = auto
    return found


@few
@given(st.data())
def test_conv(data: st.DataObject) -> None:
    axes = data.draw(ints(1, 3))
    how = data.draw(windows(axes))
    groups, each, out = data.draw(ints(1, 3)), data.draw(ints(1, 3)), data.draw(ints(1, 3))
    if "auto_pad" not in how:
        how["dilations"] = axes_of(data.draw, 1, 3, axes)
    x = noise(2, groups * each, *(data.draw(ints(5, 12)) for _ in range(axes)))
    w, b = noise(groups * out, each, *how["kernel_shape"], seed=1), noise(groups * out, seed=2)
    xs = [x, w, b if data.draw(st.booleans()) else None]
    check(one("Conv", xs, group=groups, **how), xs)


@few
@given(st.data())
def test_conv_transpose(data: st.DataObject) -> None:
    axes = data.draw(ints(1, 2))
    how = data.draw(windows(axes))
    groups, each, out = data.draw(ints(1, 3)), data.draw(ints(1, 3)), data.draw(ints(1, 3))
    x = noise(2, groups * each, *(data.draw(ints(3, 7)) for _ in range(axes)))
    if "auto_pad" not in how:
        how["dilations"] = axes_of(data.draw, 1, 2, axes)
        if data.draw(st.booleans()):
            how["output_padding"] = [data.draw(ints(0, s - 1)) for s in how["strides"]]
    if how.get("auto_pad") != "VALID" and data.draw(st.booleans()):
        sizes = zip(x.shape[2:], how["strides"], how["kernel_shape"], strict=True)
        how["output_shape"] = [(n - 1) * s + max(k - data.draw(ints(0, 2)), 1) for n, s, k in sizes]
        how.pop("pads", None)
    w, b = noise(groups * each, out, *how["kernel_shape"], seed=1), noise(groups * out, seed=2)
    xs = [x, w, b if data.draw(st.booleans()) else None]
    check(one("ConvTranspose", xs, group=groups, **how), xs)


@few
@given(st.data())
@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
def test_pools(kind: str, data: st.DataObject) -> None:
    axes = data.draw(ints(1, 3))
    how = data.draw(windows(axes))
    x = noise(2, 3, *(data.draw(ints(5, 12)) for _ in range(axes)))
    if "auto_pad" not in how:
        how["ceil_mode"] = data.draw(ints(0, 1))
        how["dilations"] = axes_of(data.draw, 1, 2, axes)
        spans = [(k - 1) * d for k, d in zip(how["kernel_shape"], how["dilations"], strict=True)]
        assume(all(span < n for span, n in zip(spans, x.shape[2:], strict=True)))
    if kind == "AveragePool":
        how["count_include_pad"] = data.draw(ints(0, 1))
    check(one(kind, [x], opset=19, **how), [x])


@few
@given(st.data())
def test_resize(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(["nearest", "linear", "cubic"]))
    how: dict[str, Any] = {"mode": mode}
    coordinates = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    how["coordinate_transformation_mode"] = data.draw(st.sampled_from(coordinates))
    if mode == "nearest":
        rounding = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
        how["nearest_mode"] = data.draw(st.sampled_from(rounding))
    if mode == "cubic":
        how["cubic_coeff_a"] = data.draw(st.sampled_from([-0.75, -0.5]))
        how["exclude_outside"] = data.draw(ints(0, 1))
    x = noise(1, 2, data.draw(ints(2, 9)), data.draw(ints(2, 9)))
    if data.draw(st.booleans()):
        sizes = np.array([1, 2, data.draw(ints(2, 20)), data.draw(ints(2, 20))], np.int64)
        check(one("Resize", [x, None, None, sizes], opset=13, **how), [x, None, None, sizes], most=1e-5)
    else:
        factors = st.sampled_from([0.5, 0.6, 0.7, 1.0, 1.3, 2.0, 3.0])
        scales = np.array([1, 1, data.draw(factors), data.draw(factors)], np.float32)
        check(one("Resize", [x, None, scales], opset=13, **how), [x, None, scales], most=1e-5)


@few
@given(st.data())
def test_resize_of_old(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(["nearest", "linear"]))
    x = noise(1, 2, data.draw(ints(2, 9)), data.draw(ints(2, 9)))
    scales = np.array([1, 1, data.draw(st.sampled_from([1.0, 1.5, 2.0, 3.0])), 2.0], np.float32)
    kind, opset = data.draw(st.sampled_from([("Resize", 10), ("Upsample", 9)]))
    check(one(kind, [x, scales], opset=opset, mode=mode), [x, scales], most=1e-5)
    node = helper.make_node("Upsample", ["x0"], ["y0"], mode=mode, scales=scales.tolist())
    check(model([node], {"x0": x}, ["y0"], opset=7), [x], most=1e-5)


@few
@given(st.data())
def test_pad(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(["constant", "reflect", "edge"]))
    x = noise(2, 3, 5, 7)
    least = -2 if mode == "constant" else 0
    ends = np.array([0, 0, *axes_of(data.draw, least, 3, 2), 0, 0, *axes_of(data.draw, least, 3, 2)], np.int64)
    value = np.array(0.7, np.float32) if mode == "constant" and data.draw(st.booleans()) else None
    check(one("Pad", [x, ends, value], mode=mode), [x, ends, value])
    if mode != "constant" or value is not None:
        node = helper.make_node("Pad", ["x0"], ["y0"], mode=mode, pads=ends.tolist(), value=0.7)
        check(model([node], {"x0": x}, ["y0"], opset=10), [x])


@few
@given(ints(1, 3), ints(1, 4), ints(0, 1), ints(0, 1), st.booleans())
def test_products(m: int, n: int, left: int, right: int, added: bool) -> None:
    a, b = noise(*((5, m) if left else (m, 5))), noise(*((n, 5) if right else (5, n)), seed=1)
    xs = [a, b, noise(n, seed=2) if added else None]
    check(one("Gemm", xs, transA=left, transB=right, alpha=0.7, beta=1.3), xs)
    xs = [noise(2, 1, m, 5), noise(3, 5, n, seed=1)]
    check(one("MatMul", xs), xs, refusable=False)


@few
@given(st.data())
def test_norms(data: st.DataObject) -> None:
    axes, epsilon = data.draw(ints(1, 3)), data.draw(st.sampled_from([1e-5, 1e-3, 0.1]))
    x = noise(2, 6, *(data.draw(ints(2, 5)) for _ in range(axes)))
    scale, shift, mean, spread = (noise(6, seed=i) for i in range(4))
    xs = [x, scale, shift, mean, spread**2]
    for opset in (8, 9, 14, 15):
        check(one("BatchNormalization", xs, opset=opset, epsilon=epsilon), xs, refusable=False)
    check(one("InstanceNormalization", xs[:3], epsilon=epsilon), xs[:3], most=1e-5)
    groups = data.draw(st.sampled_from([1, 2, 3, 6]))
    check(one("GroupNormalization", xs[:3], opset=21, epsilon=epsilon, num_groups=groups), xs[:3], most=1e-5)
    axis = data.draw(ints(1, axes + 1))
    xs = [x, noise(*x.shape[axis:], seed=1), noise(*x.shape[axis:], seed=2)][: data.draw(ints(2, 3))]
    check(one("LayerNormalization", xs, axis=axis, epsilon=epsilon), xs, most=1e-5)
    if axes == 2:
        check(one("LRN", [x], size=data.draw(ints(1, 4)), alpha=0.3, beta=0.6, bias=1.5), [x], most=1e-5)


@few
@given(ints(-3, 2), st.sampled_from([9, 11, 13]))
def test_softmax(axis: int, opset: int) -> None:
    x = noise(2, 3, 5)
    assume(axis >= 0 or opset > 9)
    for kind in ("Softmax", "LogSoftmax"):
        check(one(kind, [x], opset=opset, axis=axis), [x])
        check(one(kind, [x], opset=opset), [x])


ACTIVATIONS = [
    ("Sigmoid", {}), ("HardSigmoid", {}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.0}), ("HardSwish", {}),
    ("Erf", {}), ("Gelu", {}), ("Gelu", {"approximate": "tanh"}), ("Mish", {}), ("LeakyRelu", {"alpha": 0.0}),
    ("LeakyRelu", {}), ("GlobalAveragePool", {}), ("GlobalMaxPool", {}), ("LpNormalization", {"axis": 1, "p": 2}),
    ("LpNormalization", {"axis": 2, "p": 1}), ("Relu", {}), ("Elu", {"alpha": 0.3}), ("Selu", {}), ("Softplus", {}),
    ("Tanh", {}), ("Neg", {}), ("Abs", {}), ("ReduceMean", {}), ("Flatten", {"axis": 2}),
    ("DepthToSpace", {"blocksize": 2}), ("SpaceToDepth", {"blocksize": 2}), ("Transpose", {"perm": [0, 2, 1, 3]}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "how"), ACTIVATIONS)
def test_activations(kind: str, how: dict[str, Any]) -> None:
    x = noise(2, 4, 6, 8)
    opset = 22 if kind == "Mish" else 20
    check(one(kind, [x], opset=opset, **how), [x], refusable=False, most=1e-5)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("beyond", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_grid_sample(mode: str, beyond: str, corners: int) -> None:
    xs = [noise(2, 3, 5, 7), noise(2, 4, 6, 2, seed=1) * 0.8]
    net = one("GridSample", xs, opset=20, mode=mode, padding_mode=beyond, align_corners=corners)
    check(net, xs, refusable=False, most=1e-4)


def test_every_operator_is_tried() -> None:
    """Each by one of the tests above."""
    tried = {kind for kind, _ in ACTIVATIONS} | {
        *("Conv", "ConvTranspose", "AveragePool", "MaxPool", "Resize", "Upsample", "Pad", "Gemm", "MatMul"),
        *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization", "LRN"),
        *("Softmax", "LogSoftmax", "GridSample"),
    }  # fmt: skip
    assert {op.__name__ for op in OPERATORS} <= tried
