"""Models of every shape: graphs in graphs, functions, other domains, what is no tensor, odd ends and names."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import convfold
from convfold.frontends.onnx.files import write
from tests.frontends.onnx.models import CONV, NET, NORM, WEIGHTS, array, assert_same, feeds_of, folded, kinds, model

X = "float[N,3,9,8] x"
Y = "float[N,5,P,Q] y"


def branches(then: str, other: str, **weights: Any) -> onnx.ModelProto:
    text = f"""g ({X}, bool c) => ({Y}) {{ y = If (c) <
        then_branch = t () => (float[N,5,P,Q] ty) {{ {then} }},
        else_branch = e () => (float[N,5,P,Q] ey) {{ {other} }}> }}"""
    return model(text, **weights)


BOTH = (
    "tc = Conv(x, w) ty = BatchNormalization(tc, s, b, m, v)",
    "ec = Conv(x, w2) en = BatchNormalization(ec, s, b, m, v) ey = Relu(en)",
)


def test_branches_are_folded_inside() -> None:
    m = branches(*BOTH, w2=(5, 3, 3, 2))
    for c in (True, False):
        found = folded(m, {**feeds_of(m), "c": np.array(c)})
        assert kinds(found) == {"If": 1, "Conv": 2, "Relu": 1}
    assert {t.name for t in found.graph.initializer} == set(), "weights that only the branches read went into them"


def test_weights_inside_a_branch() -> None:
    m = branches(*BOTH, w2=(5, 3, 3, 2))
    (inner,) = [a.g for a in m.graph.node[0].attribute if a.name == "then_branch"]
    for t in list(m.graph.initializer):
        inner.initializer.add().CopyFrom(t)
    m.graph.ClearField("initializer")
    other = next(a.g for a in m.graph.node[0].attribute if a.name == "else_branch")
    other.initializer.extend(inner.initializer)
    found = folded(m, {**feeds_of(m), "c": np.array(True)})
    assert kinds(found) == {"If": 1, "Conv": 2, "Relu": 1}
    then = next(a.g for a in found.graph.node[0].attribute if a.name == "then_branch")
    assert {t.name for t in then.initializer} == {x for n in then.node for x in n.input} - {"x"}


def test_nothing_moves_into_a_branch() -> None:
    """A convolution outside, its norm in a branch: run only where it is taken."""
    m = branches("ty = BatchNormalization(oc, s, b, m, v)", "ey = Relu(oc)")
    m.graph.node.insert(0, helper.make_node("Conv", ["x", "w"], ["oc"]))
    m.graph.initializer.append(numpy_helper.from_array(array((5, 3, 3, 2)), "w"))
    for c in (True, False):
        assert kinds(folded(m, {**feeds_of(m), "c": np.array(c)}))["Conv"] == 1


def test_a_branch_reads_what_became_of_what_it_read() -> None:
    """A norm outside that a branch folds behind: it is not computed a second time for that."""
    m = branches("ty = Relu(y0)", "em = Mul(y0, f) ey = Conv<pads = [1, 1, 1, 1]>(em, k)", f=(1,), k=(5, 5, 3, 3))
    outer = parser.parse_graph(f"h ({X}) => ({Y}) {{ i = Conv(x, w) y0 = BatchNormalization(i, s, b, m, v) }}").node
    for node in reversed(outer):
        m.graph.node.insert(0, node)
    for name, sizes in WEIGHTS.items():
        m.graph.initializer.append(numpy_helper.from_array(array(sizes, 3, name), name))
    result = convfold.fold(m, config=convfold.FoldConfig(verify=False))
    assert kinds(result.proto) == {"Conv": 2, "Relu": 1, "If": 1}
    assert result.report.after.macs <= result.report.before.macs
    for c in (True, False):
        assert_same(m, result.proto, {**feeds_of(m), "c": np.array(c)}, 1e-5)


def test_a_branch_uses_nothing_of_the_other() -> None:
    """Products of one value in both are no siblings."""
    m = model(
        """g (float[1,1] x, bool c) => (float[1,1] y) { r = Relu(x) y = If (c) <
        then_branch = t () => (float[1,1] ty) {
            n = BatchNormalization(r, s, b, m, v) p = Mul(n, k) ty = MatMul(p, k2) },
        else_branch = e () => (float[1,1] ey) { p2 = MatMul(r, k3) q = MatMul(p2, k2) ey = Sub(u, q) }> }""",
        **{n: array((1,), i, n) for i, n in enumerate("sbmvu")},
        k=(1, 1),
        k2=(1, 1),
        k3=(1, 1),
    )
    for c in (True, False):
        folded(m, {**feeds_of(m), "c": np.array(c)})


def test_a_branch_that_does_not_run_at_these_sizes() -> None:
    """It is not taken at them; the rest is folded all the same."""
    bad = "er = Reshape(x, t) ec = Conv(er, w2) ey = BatchNormalization(ec, s, b, m, v)"
    m = branches(BOTH[0], bad, w2=(5, 4, 3, 2), t=np.array([-1, 4, 9, 8]))
    found = folded(m, {**feeds_of(m), "c": np.array(True)})
    assert kinds(found)["BatchNormalization"] == 1


def test_behind_a_branch() -> None:
    m = branches("ty = Relu(i)", "ey = Sigmoid(i)")
    m.graph.input[1].name = m.graph.node[0].input[0] = "flag"
    m.graph.node.insert(0, helper.make_node("Conv", ["x", "w0"], ["i"]))
    m.graph.initializer.append(numpy_helper.from_array(array((5, 3, 1, 1), 4), "w0"))
    m.graph.node[1].output[0] = "z"
    m.graph.node.extend(parser.parse_graph(f"h ({X}) => ({Y}) {{ {CONV.replace('x', 'z')} {NORM} }}").node)
    for name, sizes in {"w": (5, 5, 3, 2), "s": (5,), "b": (5,), "m": (5,), "v": (5,)}.items():
        m.graph.initializer.append(numpy_helper.from_array(array(sizes, 3, name), name))
    feeds = {**feeds_of(m), "flag": np.array(True)}
    assert kinds(folded(m, feeds)) == {"If": 1, "Conv": 2, "Relu": 1, "Sigmoid": 1}


def test_a_loop() -> None:
    text = f"""g ({X}, int64 n) => ({Y}) {{
        start = Conv(x, w0)
        yes = Constant<value_int = 1>() cond = Cast<to = 9>(yes)
        y = Loop (n, cond, start) <body = l (int64 i, bool ci, float[N,5,9,8] a) => (bool co, float[N,5,9,8] o) {{
            co = Identity(ci)
            c = Conv<pads = [1, 1, 1, 1]>(a, k)
            o = BatchNormalization(c, s, b, m, v) }}> }}"""
    m = model(text, w0=(5, 3, 1, 1), k=(5, 5, 3, 3), s=(5,), b=(5,), m=(5,), v=(5,))
    feeds = {**feeds_of(m), "n": np.array(3)}
    found = folded(m, feeds, tolerance=1e-4)
    assert kinds(found)["Conv"] == 2  # without the sizes of a batch that is free, nothing is known inside
    fixed = folded(m, feeds | {"x": feeds["x"][:1]}, tolerance=1e-4, args=(np.zeros((1, 3, 9, 8)), np.zeros(())))
    assert kinds(fixed)["Conv"] == 2


def test_a_scan() -> None:
    text = """g (float[4,1,3,9,8] x) => (float[4,1,5,7,7] y) {
        y = Scan <num_scan_inputs = 1, body = l (float[1,3,9,8] a) => (float[1,5,7,7] o) {
            c = Conv(a, w)
            o = BatchNormalization(c, s, b, m, v) }> (x) }"""
    assert kinds(folded(model(text))) == {"Scan": 1, "Conv": 1}


# --- functions -------------------------------------------------------------------------------------------------------

FUNCTIONS = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
g (float[N,3,9,8] x, float[5,3,3,2] w) => (float[N,5,P,Q] y) {
    c = own.block<eps = 0.001>(x, w, s, b, m, v) y = Relu(c) }
<domain: "own", opset_import: ["" : OPSET, "own" : 1]>
block <eps> (x, w, s, b, m, v) => (y) {
    c = own.inner(x, w) y = BatchNormalization<epsilon: float = @eps>(c, s, b, m, v) }
<domain: "own", opset_import: ["" : OPSET]>
inner (x, w) => (y) { y = Conv(x, w) }"""


def with_functions(opset: int = 17) -> onnx.ModelProto:
    m = parser.parse_model(FUNCTIONS.replace("OPSET", str(opset)))
    del m.graph.input[1]
    for name, sizes in {"w": (5, 3, 3, 2), "s": (5,), "b": (5,), "m": (5,), "v": (5,)}.items():
        m.graph.initializer.append(numpy_helper.from_array(array(sizes, 3, name), name))
    return m


def test_functions_are_written_out_where_something_folds() -> None:
    found = folded(with_functions())
    assert kinds(found) == {"Conv": 1, "Relu": 1} and not found.functions


def test_functions_of_another_opset_are_left() -> None:
    m = with_functions(16)
    assert kinds(folded(m, runs=False)) == kinds(m)


def test_functions_in_a_model_where_nothing_folds(tmp_path: Any) -> None:
    m = with_functions()
    m.functions[0].node[1].CopyFrom(helper.make_node("Relu", ["c"], ["y"]))
    data = m.SerializeToString()
    (tmp_path / "a.onnx").write_bytes(data)
    convfold.fold(tmp_path / "a.onnx").save(tmp_path / "b.onnx")
    assert (tmp_path / "b.onnx").read_bytes() == data


def test_a_function_that_hands_its_input_on() -> None:
    m = with_functions()
    m.functions[1].node[0].CopyFrom(helper.make_node("Conv", ["x", "w"], ["z"]))
    m.functions[1].output[0] = "x"
    assert [y.name for y in folded(m, runs=False).graph.output] == ["y"]


# --- other domains, and what is no tensor ----------------------------------------------------------------------------


def test_other_domains() -> None:
    """One that ONNX Runtime knows, behind which sizes are declared; one that nobody knows."""
    body = f"{CONV} n = BatchNormalization(c, s, b, m, v) g = com.microsoft.FastGelu(n) y = Conv(g, k) "
    m = model(f"g ({X}) => ({Y}) {{ {body} }}", more=', "com.microsoft" : 1', k=(5, 5, 1, 1))
    assert kinds(folded(m)) == {"Conv": 2, "FastGelu": 1}


def test_an_operator_nobody_knows() -> None:
    body = f"{CONV} n = BatchNormalization(c, s, b, m, v) g = own.Odd<of = 3>(n) d = Conv(g, k) y = Mul(d, f)"
    m = model(f"g ({X}) => ({Y}) {{ {body} }}", more=', "own" : 1', k=(5, 5, 1, 1), f=(5, 1, 1))
    unknown = folded(m, runs=False)
    assert kinds(unknown) == {"Conv": 2, "Odd": 1, "Mul": 1}
    m.graph.value_info.append(helper.make_tensor_value_info("g", TensorProto.FLOAT, ["N", 5, 7, 7]))
    assert kinds(folded(m, runs=False)) == {"Conv": 2, "Odd": 1}


def test_sequences_and_optionals() -> None:
    body = f"""{CONV} n = BatchNormalization(c, s, b, m, v) q = SequenceConstruct(n, x) i = Constant<value_int = 0>()
    e = SequenceAt(q, i) o = Optional(e) h = OptionalHasElement(o) u = OptionalGetElement(o) y = Relu(u)"""
    m = model(f"g ({X}) => ({Y}, bool h, seq(float[N,C,P,Q]) q) {{ {body} }}")
    assert kinds(folded(m))["BatchNormalization"] == 0


def test_a_map() -> None:
    """As classifiers exported from scikit-learn return: onnx_ir has no such type."""
    body = f"""{CONV} n = BatchNormalization(c, s, b, m, v) f = GlobalAveragePool(n) l = Flatten(f)
    z = ai.onnx.ml.ZipMap<classlabels_int64s = [1, 2, 3, 4, 5]>(l)"""
    m = model(f"g ({X}) => (seq(map(int64, float)) z) {{ {body} }}", more=', "ai.onnx.ml" : 3')
    found = folded(m, runs=False)
    assert kinds(found)["BatchNormalization"] == 0
    assert found.graph.output == m.graph.output


# --- odd ends --------------------------------------------------------------------------------------------------------


def test_outputs_that_are_inputs_initializers_and_each_other() -> None:
    m = model(f"g ({X}) => ({Y}, float[5] s) {{ {CONV} {NORM} }}")
    found = folded(m)
    assert kinds(found)["BatchNormalization"] == 0
    again = model(f"g ({X}) => ({Y}) {{ {CONV} {NORM} }}")
    again.graph.output.append(again.graph.output[0])
    assert kinds(folded(again, runs=False)) == {"Conv": 1}
    handed = model(f"g ({X}) => ({Y}, {X}) {{ {CONV} {NORM} }}")
    assert kinds(folded(handed, runs=False)) == {"Conv": 1}


def test_an_output_that_others_read() -> None:
    m = model(f"g ({X}) => (float[N,5,P,Q] c, {Y}) {{ {CONV} {NORM} }}")
    folded(m)


def test_unused_nodes_and_weights() -> None:
    unused = "u = Sigmoid(x) d = Conv(x, w) n = BatchNormalization(d, s, b, m, v)"
    m = model(f"g ({X}) => ({Y}) {{ {unused} {CONV} {NORM} }}", unused=(7,))
    assert kinds(folded(m)) == {"Conv": 1}


def test_a_node_that_only_acts() -> None:
    m = model(NET, more=', "own" : 1')
    m.graph.node.append(helper.make_node("Print", ["x"], [], domain="own"))
    m.graph.node.append(helper.make_node("Print", ["c"], [""], domain="own"))
    assert kinds(folded(m, runs=False))["Print"] == 2


def test_out_of_order() -> None:
    m = model(NET)
    nodes = list(m.graph.node)[::-1]
    m.graph.ClearField("node")
    m.graph.node.extend(nodes)
    found = convfold.fold(m).proto
    assert kinds(found) == {"Conv": 1}
    assert_same(m, found, feeds_of(m), 1e-5)


def test_no_names_and_strange_ones() -> None:
    m = model(NET)
    for node in m.graph.node:
        node.ClearField("name")
    folded(m)
    m.graph.node[0].name, m.graph.node[1].name = "/модель/слой.0/conv:weird name()", "//"
    for n in (*m.graph.node, *m.graph.initializer, *m.graph.output):
        for field in ("input", "output"):
            if hasattr(n, field):
                renamed = [x if x == "x" else f"/π/{x}.0[1]" for x in getattr(n, field)]
                del getattr(n, field)[:]
                getattr(n, field).extend(renamed)
            elif field == "input":
                n.name = f"/π/{n.name}.0[1]"
    assert kinds(folded(m)) == {"Conv": 1}


def test_names_like_ours() -> None:
    """A value called as one that is made new."""
    m = model(f"g ({X}) => ({Y}, float[N,3,9,8] y_folded) {{ y_folded = Relu(x) {CONV} {NORM} }}")
    m.graph.initializer.append(numpy_helper.from_array(array((3,)), "w.folded_weight"))
    assert kinds(folded(m)) == {"Conv": 1, "Relu": 1}


def test_inputs_left_out_in_the_middle() -> None:
    body = f't = Resize<mode = "nearest">(x, , sizes) {CONV.replace("x", "t")} {NORM}'
    m = model(f"g ({X}) => ({Y}) {{ {body} }}", sizes=np.array([1, 1, 2, 1.0], np.float32))
    assert kinds(folded(m))["BatchNormalization"] == 0


@pytest.mark.parametrize("opset", range(7, 27))
def test_every_opset(opset: int) -> None:
    ir = {
        7: 3,
        8: 3,
        9: 4,
        10: 5,
        11: 6,
        12: 7,
        13: 7,
        14: 7,
        19: 9,
        20: 9,
        21: 10,
        22: 10,
        23: 11,
        24: 12,
        25: 13,
        26: 13,
    }
    m = model(NET, opset=opset, ir=ir.get(opset, 8))
    if m.ir_version == 3:
        for t in m.graph.initializer:
            m.graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    found = folded(m)
    assert kinds(found) == {"Conv": 1}


# --- what is told beside -------------------------------------------------------------------------------------------


def test_nothing_that_is_told_beside_is_lost(tmp_path: Any) -> None:
    """Metadata, texts, annotations, overloads: of what stays."""
    m = model(f"g ({X}) => ({Y}) {{ {CONV} n = BatchNormalization(c, s, b, m, v) r = Relu(n) y = Sigmoid(r) }}", ir=10)
    m.producer_name, m.producer_version, m.domain, m.model_version = "maker", "1.2", "org.example", 7
    m.doc_string = "what it is"
    m.graph.doc_string = "a graph"
    helper.set_model_props(m, {"labels": "a,b", "author": "ü"})
    relu, sigmoid = m.graph.node[2:]
    relu.doc_string, relu.name = "a node", "act"
    relu.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['act']")
    sigmoid.overload = ""
    m.graph.output[0].doc_string = "the result"
    m.graph.output[0].type.denotation = "IMAGE"
    m.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    m.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, ["N", 5, 7, 7]))
    m.graph.quantization_annotation.add(tensor_name="r").quant_parameter_tensor_names.add(
        key="SCALE_TENSOR", value="rs"
    )
    m.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "rs"))
    scale = helper.make_tensor_value_info("rs", TensorProto.FLOAT, [], "a scale")
    scale.type.denotation = "SCALE"
    gone = helper.make_tensor_value_info("s", TensorProto.FLOAT, [5])
    m.graph.value_info.extend([scale, gone])
    m.graph.metadata_props.add(key="g", value="1")
    found = folded(m)
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(found, field) == getattr(m, field)
    assert {p.key: p.value for p in found.metadata_props} == {p.key: p.value for p in m.metadata_props}
    assert found.graph.doc_string == "a graph" and found.graph.metadata_props == m.graph.metadata_props
    assert relu.doc_string == next(n for n in found.graph.node if n.op_type == "Relu").doc_string
    assert relu.metadata_props == next(n for n in found.graph.node if n.op_type == "Relu").metadata_props
    assert found.graph.output == m.graph.output and found.graph.input == m.graph.input
    assert found.graph.quantization_annotation == m.graph.quantization_annotation
    assert "rs" in {t.name for t in found.graph.initializer}
    assert [v.name for v in found.graph.value_info if v.name == "r"] == ["r"]
    assert [v for v in found.graph.value_info if v.name in ("rs", "s")] == [scale]


def test_what_did_not_change_is_the_same_bytes(tmp_path: Any) -> None:
    """Even what no reader knows: a field of the future."""
    data = model(f"g ({X}) => ({Y}) {{ y = Relu(x) }}").SerializeToString() + b"\xba\x3e\x03abc"
    (tmp_path / "a.onnx").write_bytes(data)
    result = convfold.fold(tmp_path / "a.onnx")
    result.save(tmp_path / "b.onnx")
    assert (tmp_path / "b.onnx").read_bytes() == data
    (tmp_path / "a.onnx").write_bytes(b"another file by now")
    result.save(tmp_path / "c.onnx")
    assert kinds(onnx.load(tmp_path / "c.onnx")) == {"Relu": 1}


def test_folded_again_it_is_the_same_file(tmp_path: Any) -> None:
    convfold.fold(model(NET)).save(tmp_path / "a.onnx")
    convfold.fold(tmp_path / "a.onnx").save(tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    convfold.fold(model(NET)).save(tmp_path / "c.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


def test_write_takes_a_model_of_onnx_ir(tmp_path: Any) -> None:
    import onnx_ir as ir

    m = model(NET)
    write(ir.serde.deserialize_model(m), tmp_path / "a.onnx", changed=False)
    assert_same(m, tmp_path / "a.onnx", feeds_of(m), 0)


@pytest.mark.parametrize(
    "body", ["p = Pad(x, none) y = Relu(p)", "t = Transpose<perm = [0, 1, 2, 3]>(x) y = Sigmoid(t)"]
)
def test_what_does_nothing_leaves_nothing_behind(body: str) -> None:
    """Where nothing else is folded, too; and folded again it is the same."""
    m = model(f"g ({X}) => (float[N,P,Q,R] y) {{ {body} }}", none=np.zeros(8, np.int64))
    found = folded(m)
    assert len(found.graph.node) == 1 and not found.graph.initializer
    assert folded(found).SerializeToString(deterministic=True) == found.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("given", "body", "weights"),
    [
        ("2,3,9,8", "n = LayerNormalization(x, l, q) y = MatMul(n, a)", {"l": (8,), "q": (8,), "a": (8, 2)}),
        (
            "N,3,2,6",
            "t = ConvTranspose<strides = [2, 2]>(x, k, h) y0 = Conv<dilations = [2, 2], pads = [2, 3, 2, 3],"
            "strides = [1, 2]>(t, a) y = Div(y0, u)",
            {"k": (3, 1, 1, 1), "h": (1,), "a": (3, 1, 3, 4), "u": (3, 1, 1)},
        ),
        (
            "1,3,1,2",
            "t = ConvTranspose<strides = [2, 1]>(x, k, h) u = Sub(t, t) y = Conv<strides = [1, 2]>(u, a)",
            {"k": (3, 1, 2, 3), "h": (1,), "a": (1, 1, 2, 1)},
        ),
    ],
    ids=["norm", "shift", "strides"],
)
def test_folded_once_is_folded_to_the_end(given: str, body: str, weights: dict[str, Any]) -> None:
    """A bare norm has no scale of its own to fold; a shift and strides are priced as they will be read."""
    config = convfold.FoldConfig(objective="macs")
    found = folded(model(f"g (float[{given}] x) => (float[P,Q,R,S] y) {{ {body} }}", **weights), config=config)
    again = convfold.fold(found, config=config)
    assert not again.report.changed, again.report.applied


def test_the_report_measures_what_is_written() -> None:
    """Also where the last look at it only drops a call that does nothing."""
    m = model(
        "g (float[3,36] x) => (float[1,3,36] y) { r = Reshape(x, to) t = Tanh(r) n = BatchNormalization(t, s, b, m, v) "
        "u = Transpose<perm = [1, 0, 2]>(n) y = Sub(u, u) }",
        to=np.array([3, 1, 36]),
        **{n: array((1,), i, n) for i, n in enumerate("sbmv")},
    )
    result = convfold.fold(m)
    assert result.report.after.ops == sum(n for kind, n in kinds(result.proto).items() if kind != "Constant")


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 17])
def test_positions_of_a_free_axis(opset: int) -> None:
    """A bias that differs from phase to phase of an upsampling is laid out over a size that only a run tells; before
    opset 10 nothing counts positions, and the two are left."""
    m = model(
        "g (float[N,4,W] x) => (float[N,P,Q] y) "
        "{ c = Conv<group = 4, pads = [0, 1]>(x, k, h) y = ConvTranspose<strides = [2]>(c, a, u) }",
        opset=opset,
        k=(4, 1, 1),
        h=(4,),
        a=(4, 3, 1),
        u=(3,),
    )
    for size in (2, 5):
        folded(m, feeds_of(m, size), config=convfold.FoldConfig(objective="macs"))


@pytest.mark.parametrize("crop", [0, 1])
def test_more_output_padding_than_runtimes_take(crop: int) -> None:
    """Of a dilated transposed convolution that grows at one end: as much less padding there, or zeros behind it."""
    text = f"""g (float[N,3,9,8] x) => (float[N,5,P,Q] y) {{
        t = ConvTranspose <dilations = [2, 2], pads = [{crop}, {crop}, {crop}, {crop}]> (x, w)
        p = Pad (t, ends)
        y = Conv (p, w2, b) }}"""
    m = model(text, w=(3, 4, 3, 3), w2=(5, 4, 1, 1), b=(5,), ends=np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    assert kinds(folded(m, feeds_of(m)))["ConvTranspose"] == 1


def test_what_is_inside_a_call_that_stays_is_not_computed_twice() -> None:
    """An Einsum is a matrix and a turn; where the matrix alone is read, the call does not stay beside it."""
    m = model(
        "g (float[2,3] x) => (float[4,2] y, float[2,4] z) "
        '{ y = Einsum <equation = "oc,bc->ob"> (w, x) z = Transpose (y) }',
        w=(4, 3),
    )
    result = convfold.fold(m)
    assert result.report.after.macs == result.report.before.macs == 24
    assert_same(m, result.proto, feeds_of(m), 1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "g (float[1,1,1] x) => (float[1,1,1] y) { p = GlobalAveragePool (x) q = GlobalAveragePool (p) y = Tanh (q) }",
        "g (float[1,1,4,3] x) => (float[1,1,3,2] y) { c = Pad (x, ends) y = Conv <group = 1> (c, w) }",
    ],
)
def test_what_was_folded_into_one_call_is_folded_to_the_end(text: str) -> None:
    m = model(text, **({"ends": np.array([0, 0, -1, -1, 0, 0, 0, 0]), "w": (1, 1, 1, 1)} if "ends" in text else {}))
    once = convfold.fold(m).proto
    again = convfold.fold(once)
    assert not again.report.changed
    assert again.proto.SerializeToString(deterministic=True) == once.SerializeToString(deterministic=True)


@pytest.mark.parametrize("batch", ["1", "N"])
def test_positions_into_channels_by_reshapes(batch: str) -> None:
    """Reshape, Transpose and Reshape are SpaceToDepth: either is part of the convolution behind it."""
    n = 1 if batch == "1" else -1
    head = f"g (float[{batch},3,8,6] x) => (float[{batch},5,P,Q] y)"
    by_reshapes = f"""{head} {{
        a = Reshape (x, s1) b = Transpose <perm = [0, 3, 5, 1, 2, 4]> (a) c = Reshape (b, s2) y = Conv (c, w) }}"""
    sizes = {"s1": np.array([n, 3, 4, 2, 3, 2]), "s2": np.array([n, 12, 4, 3])}
    found = [
        folded(model(by_reshapes, w=(5, 12, 1, 1), **sizes)),
        folded(model(f"{head} {{ c = SpaceToDepth <blocksize = 2> (x) y = Conv (c, w) }}", w=(5, 12, 1, 1))),
    ]
    assert [kinds(m) for m in found] == [{"Conv": 1}, {"Conv": 1}]
    assert found[0].graph.initializer[0].raw_data == found[1].graph.initializer[0].raw_data


def test_taps_that_read_zeros_are_left_out() -> None:
    text = """g (float[2,3,9,9] x) => (float[2,5,9,9] y) {
        y = Conv <dilations = [9, 8], pads = [9, 8, 9, 8]> (x, w) }"""
    result = convfold.fold(m := model(text, w=(5, 3, 3, 3)))
    assert result.report.after.macs * 3 == result.report.before.macs
    assert_same(m, result.proto, feeds_of(m), 1e-5)


def test_a_size_that_is_the_same_at_sizes_that_are_near() -> None:
    """Halved five times, maps of 48 and of 59 are two high, and at 96 three: no tap of a 5×5 reads only zeros."""
    halved = "".join(f"h{i + 1} = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(h{i}, d) " for i in range(5))
    m = model(
        f"g (float[N,2,H,W] x) => (float[N,3,P,Q] y) {{ h0 = Identity(x) {halved} r = Tanh(h5) "
        "c = Conv<pads = [2, 2, 2, 2]>(r, k) y = BatchNormalization(c, s, b, m, v) }",
        d=(2, 2, 3, 3),
        k=(3, 2, 5, 5),
        s=(3,),
        b=(3,),
        m=(3,),
        v=np.array([0.5, 1, 2], np.float32),
    )
    result = convfold.fold(m, [(1, 2, 48, 64)])
    assert result.report.after.batch_norms == 0
    for h, w in ((48, 64), (96, 64), (200, 300), (33, 70), (1, 1)):
        assert_same(m, result.proto, {"x": array((2, 2, h, w), 3)}, 1e-5)


@pytest.mark.parametrize("objective", ["macs", "time"])
def test_maps_smaller_than_the_border(objective: str) -> None:
    """Strips of free sizes are shorter where the map is: what runs at any size still does."""
    m = model(
        "g (float[N,4,H,W] x) => (float[N,4,P,Q] y) "
        "{ c = Conv<pads = [1, 1, 1, 1]>(x, k, h) y = Conv<pads = [1, 1, 1, 1]>(c, a, u) }",
        k=(32, 4, 3, 3),
        h=(32,),
        a=(4, 32, 3, 3),
        u=(4,),
    )
    result = convfold.fold(m, [(1, 4, 32, 32)], config=convfold.FoldConfig(objective))
    assert (result.report.after.macs < result.report.before.macs) == (objective == "macs")
    for h, w in ((1, 1), (1, 6), (2, 2), (3, 1), (4, 4), (9, 5)):
        assert_same(m, result.proto, {"x": array((2, 4, h, w), 3)}, 1e-5)


@pytest.mark.parametrize(
    ("opset", "resize"),
    [
        (9, 'Upsample<mode = "linear">(x, f)'),
        (10, 'Resize<mode = "linear">(x, f)'),
        (11, 'Resize<mode = "cubic", coordinate_transformation_mode = "align_corners">(x, n, f)'),
        (13, 'Resize<mode = "linear", coordinate_transformation_mode = "asymmetric">(x, n, f)'),
        (17, 'Resize<mode = "cubic", exclude_outside = 1>(x, n, n, s)'),
        (18, 'Resize<mode = "linear", axes = [2, 3], antialias = 1>(x, n, n, t)'),
        (18, 'Resize<mode = "linear", axes = [3]>(x, n, o)'),
        (19, 'Resize<mode = "nearest", axes = [-1, 2]>(x, n, g)'),
    ],
)
def test_taps_below_a_resize_at_free_sizes(opset: int, resize: str) -> None:
    """By the model's own Resize, one axis after the other, whether it has factors or sizes and names axes or not."""
    asked = "z = Shape(x) c = Slice(z, i, j) h = Slice(z, j, l) t = Mul(h, e) s = Concat<axis = 0>(c, t) "
    m = model(
        f"g (float[N,24,H,W] x) => (float[P,4,Q,R] y) {{ {asked if opset > 13 else ''}r = {resize} "
        "y = Conv<pads = [1, 0, 0, 1]>(r, k, b) }",
        opset=opset,
        ir=8,
        k=(4, 24, 3, 2),
        b=(4,),
        n=np.zeros(0, np.float32),
        f=np.array([1, 1, 2, 3], np.float32),
        g=np.array([2.5, 1.5], np.float32),
        o=np.array([6], np.float32),
        e=np.array([3, 2]),
        **{name: np.array([at]) for name, at in (("i", 0), ("j", 2), ("l", 4))},
    )
    result = convfold.fold(m, [(1, 24, 8, 6)], config=convfold.FoldConfig(objective="macs"))
    assert result.report.after.macs == 24 * 4 * 6 * 8 * 6 < result.report.before.macs
    for h, w in ((8, 6), (3, 2), (13, 5)):
        assert_same(m, result.proto, {"x": array((2, 24, h, w), 3)}, 1e-5)


@pytest.mark.parametrize("opset", [7, 9, 10, 11])
def test_borders_of_free_sizes_in_old_files(opset: int) -> None:
    """Before opset 11 no parts of a free length are cut and laid out: the two are left, and it is said why."""
    m = model(
        "g (float[N,4,H,W] x) => (float[N,4,P,Q] y) "
        "{ c = Conv<pads = [1, 1, 1, 1]>(x, k, h) y = Conv<pads = [1, 1, 1, 1]>(c, a, u) }",
        opset=opset,
        k=(32, 4, 3, 3),
        h=(32,),
        a=(4, 32, 3, 3),
        u=(4,),
    )
    report = convfold.fold(m, [(1, 4, 32, 32)], config=convfold.FoldConfig("macs")).report
    assert report.changed == (opset >= 11)
    assert {r.code for r in report.refused} == (set() if report.changed else {"ghost-depends-on-data"})


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_a_resize_of_channels_whose_positions_depend_on_who_rounds(nearest: str) -> None:
    """By 0.7 the fourth place is halfway between two: it is no matrix of channels."""
    m = model(
        'g (float[2,2,9] x) => (float[2,2,Q] y) { u = MatMul(x, a) v = Resize<mode = "nearest", nearest_mode = '
        f'"{nearest}", coordinate_transformation_mode = "pytorch_half_pixel">(u, n, s) y = MatMul(v, b) }}',
        opset=11,
        ir=8,
        a=(9, 9),
        b=(6, 1),
        n=np.zeros(0, np.float32),
        s=np.array([1, 1, 0.7], np.float32),
    )
    folded(m, feeds_of(m), config=convfold.FoldConfig("macs"))
