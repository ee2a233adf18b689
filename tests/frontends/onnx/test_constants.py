"""What is a constant: in whatever form it is stored, and seen through whatever is computed from constants alone."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convfold.frontends.onnx.graph import Graph
from convfold.frontends.onnx.source import read
from tests.frontends.onnx.models import CONV, NET, NORM, WEIGHTS, array, feeds_of, folded, kinds, model, refusals

IO = "g (float[N,3,9,8] x) => (float[N,5,P,Q] y)"


def net(body: str, io: str = IO, **kwargs: Any) -> onnx.ModelProto:
    return model(f"{io} {{ {body} }}", **kwargs)


def as_inputs(m: onnx.ModelProto) -> onnx.ModelProto:
    for t in m.graph.initializer:
        m.graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    return m


def test_initializers_that_are_inputs_are_constants_before_ir_version_4() -> None:
    assert kinds(folded(as_inputs(model(NET, ir=3, opset=9)))) == {"Conv": 1}


def test_later_a_caller_may_give_another_value() -> None:
    m = as_inputs(model(NET, ir=8))
    found = folded(m)
    assert kinds(found) == kinds(m)
    given = {**feeds_of(m), "s": array((5,), 7)}
    folded(m, given)
    assert any("w is an input of the model too, and callers may" in detail for detail in details(m))


def details(m: onnx.ModelProto) -> set[str]:
    """Why calls are not affine, which no report says: as they are lifted."""
    return {e.detail for e in Graph(read(m)).lift().opaque.values()}


def test_what_is_computed_from_an_overridable_weight_is_no_constant() -> None:
    m = net(f"w2 = Identity(w) c = Conv(x, w2) {NORM}")
    m.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [5, 3, 3, 2]))
    given = {**feeds_of(m), "w": array((5, 3, 3, 2), 9)}
    assert kinds(folded(m, given))["Conv"] == 1


def test_shared() -> None:
    body = "a = Conv(x, w) c = BatchNormalization(a, s, b, m, v) r = Relu(c) d = Conv(x, w) y = Add(r, d)"
    found = folded(net(body))
    assert "BatchNormalization" not in kinds(found)


def sparse(content: np.ndarray[Any, Any], name: str, linear: bool) -> onnx.SparseTensorProto:
    where = np.flatnonzero(content) if linear else np.argwhere(content)
    values = numpy_helper.from_array(content[content != 0], name)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(where.astype(np.int64), ""), list(content.shape))


@pytest.mark.parametrize("linear", [True, False])
def test_sparse_initializers(linear: bool) -> None:
    w = array((5, 3, 3, 2)) * (array((5, 3, 3, 2), 4) > 0)
    m = model(NET, w=w)
    dense = folded(m)
    del m.graph.initializer[[t.name for t in m.graph.initializer].index("w")]
    m.graph.sparse_initializer.append(sparse(w, "w", linear))
    found = folded(m)
    assert kinds(found) == {"Conv": 1} and not found.graph.sparse_initializer
    for a, b in zip(dense.graph.initializer, found.graph.initializer, strict=True):
        assert np.array_equal(numpy_helper.to_array(a), numpy_helper.to_array(b))


def test_a_sparse_initializer_that_stays() -> None:
    w = array((5, 5, 1, 1)) * (array((5, 5, 1, 1), 4) > 0)
    m = net(f"{CONV} n = BatchNormalization(c, s, b, m, v) r = Relu(n) y = Conv(r, k)")
    m.graph.sparse_initializer.append(sparse(w, "k", True))
    found = folded(m)
    assert kinds(found) == {"Conv": 2, "Relu": 1}
    assert found.graph.sparse_initializer == m.graph.sparse_initializer


FORMS = {
    "value": lambda a: {"value": numpy_helper.from_array(a)},
    "value_floats": lambda a: {"value_floats": a.tolist()},
    "sparse_value": lambda a: {"sparse_value": sparse(a, "", False)},
}


@pytest.mark.parametrize("form", FORMS)
def test_constants(form: str) -> None:
    m = net(f"{CONV} y = Mul(c, k2)")
    content = array((5,), 3) if form == "value_floats" else array((5, 1, 1), 3)
    m.graph.node.insert(0, helper.make_node("Constant", [], ["k"], **FORMS[form](content)))
    m.graph.node.insert(1, helper.make_node("Reshape", ["k", "sizes"], ["k2"]))
    m.graph.initializer.append(numpy_helper.from_array(np.array([5, 1, 1]), "sizes"))
    assert kinds(folded(m)) == {"Conv": 1}


@pytest.mark.parametrize(
    ("attribute", "kind"), [({"value_float": 0.5}, "Mul"), ({"value_int": 2}, "Cast"), ({"value_ints": [2]}, "Cast")]
)
def test_scalar_constants(attribute: dict[str, Any], kind: str) -> None:
    m = net(f"{CONV} y = Mul(c, {'k2' if kind == 'Cast' else 'k'})")
    if kind == "Cast":
        m.graph.node.insert(0, helper.make_node("Cast", ["k"], ["k2"], to=TensorProto.FLOAT))
    m.graph.node.insert(0, helper.make_node("Constant", [], ["k"], **attribute))
    assert kinds(folded(m)) == {"Conv": 1}


@pytest.mark.parametrize("attribute", [{"value_string": "a"}, {"value_strings": ["a", "bc"]}])
def test_text(attribute: dict[str, Any]) -> None:
    m = net(f"{CONV} {NORM} n = Size(k)", "g (float[N,3,9,8] x) => (float[N,5,P,Q] y, int64 n, string[Z] k)")
    m.graph.node.insert(0, helper.make_node("Constant", [], ["k"], **attribute))
    if "value_string" in attribute:
        m.graph.output[2].type.tensor_type.shape.Clear()
    found = folded(m)
    assert kinds(found)["BatchNormalization"] == 0 and kinds(found)["Constant"] == 1


THROUGH = {
    "Identity": ("Identity(k)", (5, 3, 3, 2)),
    "Cast": ("Cast<to = 1>(k)", array((5, 3, 3, 2)).astype(np.float64)),
    "CastLike": ("CastLike(k, x)", array((5, 3, 3, 2)).astype(np.float64)),
    "Transpose": ("Transpose<perm = [1, 0, 2, 3]>(k)", (3, 5, 3, 2)),
    "Expand": ("Expand(k, sizes)", (5, 1, 3, 1)),
    "Unsqueeze": ("Unsqueeze(k, axis)", (5, 3, 3)),
}


@pytest.mark.parametrize("kind", THROUGH)
def test_weights_behind(kind: str) -> None:
    text, content = THROUGH[kind]
    more = {"Expand": {"sizes": np.array([5, 3, 3, 2])}, "Unsqueeze": {"axis": np.array([3])}}.get(kind, {})
    found = folded(net(f"w = {text} {CONV} {NORM}", k=content, **more), tolerance=1e-5)
    if kind != "CastLike":  # reads the signal's type
        assert kinds(found) == {"Conv": 1}


@pytest.mark.parametrize("kind", ["Identity", "Cast"])
def test_a_number_stays_without_axes(kind: str) -> None:
    """By one number, however it is computed, the axis is gone."""
    asked = "Identity(one)" if kind == "Identity" else "Cast<to = 7>(one)"
    m = model(
        f"g (float[N,3,9] x) => (float[N,P] y) {{ i = {asked} a = Gather<axis = 1>(x, i) y = Add(a, f) }}",
        one=np.array(1, np.int64 if kind == "Identity" else np.int32),
        f=(9,),
    )
    folded(m)


def test_sizes_computed_from_sizes() -> None:
    """As exporters write a view: Shape, Gather, Concat, Reshape."""
    body = f"""{CONV} sh = Shape(x) n = Gather(sh, zero) nn = Unsqueeze(n, axes) t = Concat<axis = 0>(nn, rest)
    r = Reshape(c, t) y = Mul(r, k)"""
    m = net(body, zero=np.array(0), axes=np.array([0]), rest=np.array([5, 7, 7]), k=(5, 1, 1))
    found = folded(m)
    assert "Mul" not in kinds(found)


def test_scales_and_shifts_from_weights() -> None:
    m = net(f"{CONV} r = Add(v, e) q = Sqrt(r) f = Div(s, q) f3 = Reshape(f, t) y = Mul(c, f3)",
            e=np.float32(1e-3), t=np.array([5, 1, 1]))  # fmt: skip
    assert kinds(folded(m)) == {"Conv": 1}


# --- types -----------------------------------------------------------------------------------------------------------


def typed(name: str, dtype: Any, tolerance: float, runs: bool = True, opset: int = 17) -> onnx.ModelProto:
    m = model(NET.replace("float", name), opset=opset, **{
        n: np.asarray(array(sizes, i, n), dtype)
        for i, (n, sizes) in enumerate({"w": (5, 3, 3, 2), "s": (5,), "b": (5,), "m": (5,), "v": (5,)}.items())
    })  # fmt: skip
    found = folded(m, tolerance=tolerance, runs=runs)
    assert kinds(found) == {"Conv": 1}
    assert {t.data_type for t in found.graph.initializer} == {m.graph.initializer[0].data_type}
    return found


def test_half() -> None:
    typed("float16", np.float16, 5e-3)


def test_double() -> None:
    typed("double", np.float64, 1e-12, runs=False)  # ONNX Runtime has no such convolution


def test_a_product_in_double_stays_one() -> None:
    """From the left, on the second of three axes: runtimes have no convolution for it."""
    m = model(
        "g (double[2,5,4] x) => (double[2,3,4] y) "
        "{ h = MatMul(a, x) n = BatchNormalization(h, s, b, m, v) y = MatMul(a2, n) }",
        a=array((5, 5)).astype(np.float64),
        a2=array((3, 5), 1).astype(np.float64),
        **{n: array((5,), i, n).astype(np.float64) for i, n in enumerate("sbmv")},
    )  # fmt: skip
    assert "Conv" not in kinds(folded(m))


def test_no_convolution_in_double_where_there_was_none() -> None:
    """Zeros, a shuffle and a norm of few channels are none."""
    m = model(
        "g (double[1,6,5,2] x) => (double[1,4,P,Q] y) { h = MatMul(x, a) c = Slice<axes = [1, 2], starts = [0, 0], "
        "ends = [1, 2]>(h) p = Pad<pads = [0, 0, 0, 0, 0, 0, 0, 2]>(c) d = SpaceToDepth<blocksize = 2>(p) "
        "y = BatchNormalization(d, s, b, m, v) }",
        opset=9,
        a=array((2, 6)).astype(np.float64),
        **{n: array((4,), i, n).astype(np.float64) for i, n in enumerate("sbmv")},
    )
    assert "Conv" not in kinds(folded(m))


def test_bfloat16() -> None:
    found = typed("bfloat16", ml_dtypes.bfloat16, 5e-2, runs=False, opset=22)
    onnx.checker.check_model(found)


def test_mixed() -> None:
    """A convolution in half between two casts."""
    body = f"h = Cast<to = 10>(x) {CONV.replace('x', 'h')} n = BatchNormalization(c, s, b, m, v) y = Cast<to = 1>(n)"
    half = {n: array(sizes, i, n).astype(np.float16) for i, (n, sizes) in enumerate(WEIGHTS.items())}
    assert kinds(folded(net(body, **half), tolerance=5e-3)) == {"Cast": 2, "Conv": 1}


# --- quantised -------------------------------------------------------------------------------------------------------


def quantised(after: str, scale: Any = 0.1, axis: str = "", **more: Any) -> onnx.ModelProto:
    w8 = np.random.default_rng(0).integers(-128, 127, (5, 3, 3, 2)).astype(np.int8)
    scale = np.asarray(scale, np.float32)
    zero = np.zeros(scale.shape, np.int8)
    return net(f"w = DequantizeLinear{axis}(w8, ws, wz) {CONV} {after}", w8=w8, ws=scale, wz=zero, **more)


def test_a_quantised_weight_stays_so() -> None:
    m = quantised(NORM)
    assert kinds(folded(m)) == kinds(m)
    assert refusals(m)["quantised"] == "w8 is stored as int8"


def test_by_channel() -> None:
    m = quantised(NORM, scale=np.full(5, 0.1, np.float32), axis="<axis = 0>")
    assert kinds(folded(m)) == kinds(m)


def test_widened_by_a_cast() -> None:
    m = net(f"k = Cast<to = 1>(w8) w = Mul(k, ws) {CONV} {NORM}", w8=np.ones((5, 3, 3, 2), np.int8), ws=np.float32(0.1))
    assert "DequantizeLinear" not in kinds(m)
    assert kinds(folded(m))["BatchNormalization"] == 1
    assert "quantised" in refusals(m)


def test_a_mask_of_truth_values_is_not_quantised() -> None:
    m = net(f"k = Cast<to = 1>(mask) w2 = Mul(w, k) c = Conv(x, w2) {NORM}", mask=array((5, 3, 3, 2), 8) > 0)
    assert kinds(folded(m)) == {"Conv": 1}


def test_float_parts_between_quantised_ones() -> None:
    """Activations through QuantizeLinear and back; beside them a convolution and a norm in float."""
    body = "q = QuantizeLinear(x, xs, xz) d = DequantizeLinear(q, xs, xz) w8d = DequantizeLinear(w8, ws, wz) "
    body += f"e = Conv<pads = [1, 1, 1, 1]>(d, w8d) {CONV.replace('x', 'e')} {NORM}"
    rng = np.random.default_rng(0)
    m = net(body, xs=np.float32(0.05), xz=np.uint8(128), w8=rng.integers(-128, 127, (3, 3, 3, 3)).astype(np.int8),
            ws=np.float32(0.01), wz=np.int8(0))  # fmt: skip
    found = folded(m)
    assert kinds(found) == {"QuantizeLinear": 1, "DequantizeLinear": 2, "Conv": 2}
    (kept,) = [t for t in found.graph.initializer if t.name == "w8"]
    assert kept == next(t for t in m.graph.initializer if t.name == "w8")


def test_qlinear() -> None:
    body = f"""q = QuantizeLinear(x, xs, xz) p = QLinearConv(q, xs, xz, w8, ws, wz, xs, xz)
    d = DequantizeLinear(p, xs, xz) {CONV.replace("x", "d")} {NORM}"""
    rng = np.random.default_rng(0)
    m = net(body, xs=np.float32(0.05), xz=np.uint8(128), w8=rng.integers(-128, 127, (3, 3, 1, 1)).astype(np.int8),
            ws=np.float32(0.01), wz=np.int8(0))  # fmt: skip
    assert kinds(folded(m)) == {"QuantizeLinear": 1, "QLinearConv": 1, "DequantizeLinear": 1, "Conv": 1}


def test_bfloat16_where_the_standard_has_none() -> None:
    m = model(NET.replace("float", "bfloat16"), opset=17, **{
        n: array(sizes, 0, n).astype(ml_dtypes.bfloat16) for n, sizes in WEIGHTS.items()
    })  # fmt: skip
    assert kinds(folded(m, runs=False)) == kinds(m)
