"""What ONNX's operators become where several are together, and what of them is a convolution."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import convfold
from convfold.algebra.apply import Apply
from convfold.algebra.layout import Slice
from convfold.frontends.onnx.graph import Graph
from convfold.frontends.onnx.known import Knowledge
from convfold.frontends.onnx.source import opened, read
from convfold.layers.examples import OnnxExample, constant
from tests.folding import noise
from tests.layers.models import Built, close, computed, folded

Node = onnx.helper.make_node


def weight(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return noise(*shape, seed=seed).float().numpy()


def model(
    nodes: list[onnx.NodeProto], x: tuple[Any, ...], opset: int = 13, **weights: np.ndarray[Any, Any]
) -> onnx.ModelProto:
    """From ``x`` to what the last call gives."""
    graph = onnx.helper.make_graph(
        nodes,
        "model",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x)],
        [onnx.helper.make_empty_tensor_value_info(nodes[-1].output[0])],
        [onnx.numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(made)
    del inferred.graph.value_info[:]
    return inferred


def check(made: onnx.ModelProto, *shape: int) -> Counter[str]:
    """Folded it computes the same, at other sizes too; how often which operator is left."""
    x = {"x": weight(*shape)}
    new, tried = folded(made, x, "macs")
    onnx.checker.check_model(new)
    for shapes in [{"x": shape}, *tried[1:]]:
        given = {"x": weight(*shapes["x"])}
        for got, expected in zip(computed(new, given), computed(made, given), strict=True):
            close(got, expected, f"on {shapes}")
    return Counter(node.op_type for node in new.graph.node)


def operation(name: str, example: OnnxExample) -> Any:
    """What a call is, in its region."""
    (region,) = Graph(read(Built(name, example).proto)).lift().regions
    (step,) = region.steps
    return step.operation


def test_what_is_handed_on_does_not_keep_neighbours_apart() -> None:
    nodes = [
        Node("Conv", ["x", "a"], ["p"]),
        Node("Identity", ["p"], ["q"]),
        Node("Dropout", ["q"], ["r"]),
        Node("Conv", ["r", "b"], ["y"]),
    ]
    made = model(nodes, ("N", 6, "H", "W"), a=weight(6, 6, 1, 1), b=weight(2, 6, 3, 3, seed=1))
    nodes[3].input[0] = "p"
    plain = model([nodes[0], nodes[3]], ("N", 6, "H", "W"), a=weight(6, 6, 1, 1), b=weight(2, 6, 3, 3, seed=1))
    left, without = check(made, 1, 6, 7, 5), check(plain, 1, 6, 7, 5)
    assert left == without == {"Conv": 1}


def test_a_focus_is_one_convolution() -> None:
    """Every second position from each of four corners, laid end to end, then a convolution; space is free."""
    pieces, nodes = [], []
    for i in range(2):
        for j in range(2):
            nodes.append(Node("Slice", ["x", f"s{i}{j}", "ends", "axes", "steps"], [f"p{i}{j}"]))
            pieces.append(f"p{i}{j}")
    nodes += [Node("Concat", pieces, ["c"], axis=1), Node("Conv", ["c", "w"], ["y"], pads=[1, 1, 1, 1])]
    starts = {f"s{i}{j}": np.array([i, j]) for i in range(2) for j in range(2)}
    end = np.array([2**63 - 1] * 2)
    given = {"ends": end, "axes": np.array([2, 3]), "steps": np.array([2, 2]), "w": weight(4, 12, 3, 3)}
    made = model(nodes, ("N", 3, "H", "W"), **starts, **given)
    graph = Graph(read(made, ((2, 3, 8, 6),)))
    (region,) = graph.lift().regions
    assert sum(isinstance(n.operation, Slice) for n in region.steps) == 8
    check(made, 2, 3, 8, 6)
    folded = convfold.fold(made, ((2, 3, 8, 6),)).proto
    assert [n.op_type for n in folded.graph.node] == ["Conv"]


@pytest.mark.parametrize("opset", [11, 21, 22])
def test_a_pool_has_no_window_behind_the_signal(opset: int) -> None:
    """Whatever the rules of a version say of its size."""
    node = Node("MaxPool", ["x"], ["y"], kernel_shape=[1, 1], strides=[2, 2], ceil_mode=1)
    made = model([node], (1, 2, 4, 6), opset)
    source = opened(made)
    known = Knowledge(source, {"x": (1, 2, 4, 6)})
    assert known[source.graph.outputs[0]].shape == computed(made, {"x": weight(1, 2, 4, 6)})[0].shape


def test_a_transposed_convolution_may_give_less_than_it_is_given() -> None:
    node = Node("ConvTranspose", ["x", "w"], ["y"], output_shape=[2, 3])
    source = opened(model([node], (1, 2, 4, 6), w=weight(2, 5, 1, 1)))
    assert Knowledge(source, {"x": (1, 2, 4, 6)})[source.graph.outputs[0]].shape == (1, 5, 2, 3)


def test_phases_are_interleaved_before_opset_11_too() -> None:
    """Where only the other order is there."""
    nodes = [
        Node("Conv", ["x", "a"], ["p"]),
        Node("DepthToSpace", ["p"], ["q"], blocksize=2),
        Node("Conv", ["q", "b"], ["y"]),
    ]
    check(model(nodes, ("N", 4, "H", "W"), 9, a=weight(8, 4, 1, 1), b=weight(3, 2, 1, 1, seed=1)), 1, 4, 3, 5)


@pytest.mark.parametrize(
    ("places", "rounding", "repeats"),
    [
        ("asymmetric", "floor", True),
        ("half_pixel", "round_prefer_floor", True),
        ("half_pixel", "round_prefer_ceil", True),
        ("pytorch_half_pixel", "round_prefer_floor", True),
        ("asymmetric", "round_prefer_floor", False),
        ("half_pixel", "floor", False),
        ("align_corners", "floor", False),
    ],
)
def test_nearest_by_whole_factors_repeats(places: str, rounding: str, repeats: bool) -> None:
    how = {"mode": "nearest", "coordinate_transformation_mode": places, "nearest_mode": rounding}
    scales = constant(torch.tensor([1.0, 1.0, 2.0, 3.0]))
    resize = operation("Resize", OnnxExample((noise(1, 2, 3, 4), None, scales), how))
    assert (resize.convolution is not None) == repeats
    ones = [torch.eye(n).repeat_interleave(r, 0).double() for n, r in ((3, 2), (4, 3))]
    assert all(torch.equal(a, b) for a, b in zip(resize.matrices(), ones, strict=True)) == repeats


def test_a_crop_beyond_the_signal_keeps_no_constants() -> None:
    how = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    for end, keeps in ((1.0, True), (1.25, False)):
        roi = constant(torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, end, end]))
        resize = operation("Resize", OnnxExample((noise(1, 2, 3, 4), roi, None, [1, 2, 5, 6]), how))
        assert resize.constants is keeps


def test_phases_first_or_channels_first() -> None:
    for mode, groups in (("CRD", 2), ("DCR", 1)):
        step = operation("DepthToSpace", OnnxExample((noise(1, 8, 2, 3),), {"blocksize": 2, "mode": mode}))
        assert isinstance(step, Apply)
        assert step.operator.geometry.groups == groups


@pytest.mark.parametrize("opset", [7, 11])
def test_a_product_without_bias(opset: int) -> None:
    """Gemm must have one before opset 11."""
    nodes = [Node("MatMul", ["x", "a"], ["p"]), Node("MatMul", ["p", "b"], ["y"])]
    check(model(nodes, ("N", 7), opset, a=weight(7, 5), b=weight(5, 2, seed=1)), 3, 7)


@pytest.mark.parametrize("kind", ["Resize", "Expand"])
def test_sizes_are_those_of_fewer_channels(kind: str) -> None:
    """Before a call that names all sizes there are fewer channels, where the next layer leaves few."""
    before, sizes = ((1, 8, 3, 4), [1, 8, 6, 12]) if kind == "Resize" else ((1, 8, 1, 1), [1, 8, 6, 12])
    inputs = ["x", "", "", "sizes"] if kind == "Resize" else ["x", "sizes"]
    how = {"mode": "linear"} if kind == "Resize" else {}
    nodes = [Node(kind, inputs, ["p"], **how), Node("Conv", ["p", "w"], ["y"])]
    made = model(nodes, before, w=weight(2, 8, 1, 1), sizes=np.array(sizes))
    x = {"x": weight(*before)}
    new, _ = folded(made, x)
    assert [n.op_type for n in new.graph.node] == ["Conv", kind]
    check(made, *before)


def test_an_axis_taken_out_where_all_others_are_free() -> None:
    """One channel of many, between layers that read along the last axis."""
    nodes = [
        Node("MatMul", ["x", "a"], ["p"]),
        Node("Gather", ["p", "i"], ["q"], axis=1),
        Node("MatMul", ["q", "b"], ["y"]),
    ]
    made = model(nodes, ("N", 3, "H", "W", 5), a=weight(5, 4), b=weight(4, 2, seed=1), i=np.array(2))
    assert check(made, 1, 3, 4, 2, 5)["MatMul"] == 1


@pytest.mark.parametrize("kind", ["AveragePool", "Conv"])
def test_a_window_larger_than_its_map_is_left(kind: str) -> None:
    """The standard's rules and some runtimes make one position of it, of numbers that are not there."""
    node = Node(kind, ["x", "w"] if kind == "Conv" else ["x"], ["y"], kernel_shape=[3], strides=[2])
    graph = onnx.helper.make_graph(
        [node],
        "model",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 2, 2))],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 2, 1))],
        [onnx.numpy_helper.from_array(weight(2, 2, 3), "w")] if kind == "Conv" else [],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    stretches = Graph(read(made)).lift()
    assert [e.code for e in stretches.opaque.values()] == ["not-affine"] and not stretches.regions


def test_a_mean_of_a_number() -> None:
    """Runtimes take the axis that it does not have."""
    made = model([Node("ReduceSum", ["x"], ["s"], keepdims=0), Node("Relu", ["s"], ["y"])], (2, 3), opset=7)
    made.graph.node.insert(1, Node("ReduceMean", ["s"], ["m"], axes=[0]))
    made.graph.node[2].input[0] = "m"
    assert check(made, 2, 3)["ReduceMean"] == 1


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("bchw,oc->bohw", ((2, 3, 4, 5), (6, 3)), 2 * 3 * 4 * 5 * 6),
        ("...i, ij", ((2, 4, 3), (3, 5)), 2 * 4 * 3 * 5),
        ("...i,...ij->...j", ((2, 3), (1, 3, 5)), 2 * 3 * 5),
    ],
)
def test_multiply_adds_of_a_contraction(equation: str, shapes: Any, macs: int) -> None:
    """Counted as those of the product are that it becomes."""
    made = model([Node("Einsum", ["x", "w"], ["y"], equation=equation)], shapes[0], w=weight(*shapes[1]))
    assert Graph(read(made)).measure().macs == macs


def test_slices_are_one_call() -> None:
    """Of two axes, written behind a convolution that has been folded: as many calls as there were."""
    nodes = [
        Node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        Node("Mul", ["a", "s"], ["b"]),
        Node("Slice", ["b", "from", "to", "axes", "steps"], ["c"]),
        Node("Relu", ["c"], ["d"]),
        Node("Relu", ["b"], ["y"]),
    ]
    given = {"from": np.array([1, 0]), "to": np.array([7, 6]), "axes": np.array([2, 3]), "steps": np.array([2, 1])}
    made = model(nodes, (1, 3, 8, 7), w=weight(4, 3, 3, 3), s=weight(4, 1, 1), **given)
    made.graph.output.append(onnx.helper.make_tensor_value_info("d", onnx.TensorProto.FLOAT, (1, 4, 3, 6)))
    assert check(made, 1, 3, 8, 7) == {"Conv": 1, "Slice": 1, "Relu": 2}


def test_a_slice_as_long_as_the_example() -> None:
    """Of an axis that is free: at other sizes it is not the whole."""
    nodes = [Node("Relu", ["x"], ["a"]), Node("Slice", ["a", "from", "to", "axes"], ["b"]), Node("Neg", ["b"], ["y"])]
    made = model(nodes, ("N", 3, 4), **{"from": np.array([0]), "to": np.array([2]), "axes": np.array([0])})
    result = convfold.fold(made, ((2, 3, 4),))
    x = {"x": weight(5, 3, 4)}
    assert computed(result.proto, x)[0].shape == computed(made, x)[0].shape == (2, 3, 4)


def test_an_adaptive_pool_as_torch_writes_it() -> None:
    """Positions of 2 × 3 gathered into 3 × 3 windows of 2 × 1, what is too many masked, added, divided: one map.

    A 1×1 behind it goes before it, where there are fewer positions, and its bias stays.
    """
    at = [[[[r, c]] for c in range(3)] for r in (0, 0, 1, 1, 1, 1)]  # of each row of windows two rows of the map
    nodes = [
        Node("Transpose", ["x"], ["last"], perm=[2, 3, 0, 1]),
        Node("GatherND", ["last", "at"], ["taken"]),
        Node("Transpose", ["taken"], ["windows"], perm=[4, 5, 0, 1, 2, 3]),
        Node("Where", ["outside", "zero", "windows"], ["kept"]),
        Node("Gather", ["kept", "first"], ["a"], axis=3),
        Node("Gather", ["a", "first"], ["aa"], axis=4),
        Node("Gather", ["kept", "second"], ["b"], axis=3),
        Node("Gather", ["b", "first"], ["bb"], axis=4),
        Node("Add", ["aa", "bb"], ["sum"]),
        Node("Div", ["sum", "count"], ["mean"]),
        Node("Conv", ["mean", "w", "bias"], ["y"]),
    ]
    constants = {
        "at": np.array(at).reshape(3, 2, 3, 1, 2),
        "outside": np.array([[0, 1], [0, 0], [0, 1]], dtype=bool).reshape(3, 2, 1, 1),
        "zero": np.float32(0),
        "first": np.int64(0),
        "second": np.int64(1),
        "count": np.array([[1], [2], [1]], dtype=np.float32),
        "w": weight(6, 4, 1, 1),
        "bias": weight(6, seed=1),
    }
    made = model(nodes, (1, 4, 2, 3), **{name: np.asarray(c) for name, c in constants.items()})
    left = check(made, 1, 4, 2, 3)
    assert left["Conv"] + left["Gemm"] + left["MatMul"] == 1
    found = convfold.explain(made, config=convfold.FoldConfig("macs"))
    assert (found.before.macs, found.after.macs) == (9 * 4 * 6, 6 * 4 * 6)


def test_coordinates_as_long_as_the_batch() -> None:
    """CoordConv: rows tiled to a batch that is free, transposed, squared, laid beside the signal; read as constants."""
    nodes = [
        Node("Shape", ["x"], ["sizes"]),
        Node("Gather", ["sizes", "zero"], ["batch"]),
        Node("Concat", ["batch", "ones"], ["times"], axis=0),
        Node("Tile", ["rows", "times"], ["tiled"]),
        Node("Transpose", ["tiled"], ["turned"], perm=[0, 1, 3, 2]),
        Node("Pow", ["turned", "two"], ["squared"]),
        Node("Expand", ["one", "sizes_"], ["filled"]),
        Node("Concat", ["batch", "map"], ["sizes_"], axis=0),
        Node("Concat", ["x", "turned", "squared", "filled"], ["all"], axis=1),
        Node("Conv", ["all", "w", "bias"], ["y"], pads=[1, 1, 1, 1]),
    ]
    nodes[6], nodes[7] = nodes[7], nodes[6]
    constants = {
        "zero": np.array([0]),
        "ones": np.array([1, 1, 1]),
        "map": np.array([1, 5, 4]),
        "rows": weight(1, 1, 4, 5, seed=2),
        "two": np.float32(2),
        "one": weight(1, 1, 1, 4, seed=3),
        "w": weight(6, 6, 3, 3),
        "bias": weight(6, seed=1),
    }
    made = model(nodes, ("N", 3, 5, 4), **{name: np.asarray(c) for name, c in constants.items()})
    assert check(made, 1, 3, 5, 4) == {"Conv": 1, "Add": 1}
    found = convfold.explain(made, config=convfold.FoldConfig("macs"))
    assert 2 * found.after.macs == found.before.macs


def overwritten(x: str, y: str, axis: int, row: int, rows: str) -> list[onnx.NodeProto]:
    """One position of an axis, as torch's exporter writes a slice of it: the axis is brought to the front, and back."""
    order = list(range(4))
    order[0], order[axis] = axis, 0
    return [
        Node("Transpose", [x], [f"{y}_turned"], perm=order),
        Node("ScatterND", [f"{y}_turned", f"at{row}", rows], [f"{y}_written"]),
        Node("Transpose", [f"{y}_written"], [y], perm=order),
    ]


@pytest.mark.parametrize("right", [True, False])
def test_a_padding_written_over_with_what_a_layer_gives_of_zeros(right: bool) -> None:
    """DiverseBranchBlock's, in ONNX: a 1×1 and a 3×3 are one layer; with other numbers nothing is."""
    c, h, w = 3, 5, 6
    bias = weight(4, seed=2) if right else weight(4, seed=3)
    flat = bias.reshape(1, 4, 1, 1)
    nodes = [
        Node("Conv", ["x", "first", "bias"], ["y"]),
        Node("Pad", ["y", "pads"], ["padded"]),
        *overwritten("padded", "a", 2, 0, "row"),
        *overwritten("a", "b", 2, -1, "row"),
        *overwritten("b", "c", 3, 0, "column"),
        *overwritten("c", "d", 3, -1, "column"),
        Node("Conv", ["d", "second"], ["z"]),
    ]
    made = model(
        nodes, (1, c, h, w), 13,
        first=weight(4, c, 1, 1), bias=weight(4, seed=2), second=weight(5, 4, 3, 3, seed=1),
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]), at0=np.array([[0]]), **{"at-1": np.array([[-1]])},
        row=np.broadcast_to(flat, (1, 4, 1, w + 2)).copy(),
        column=np.broadcast_to(flat.transpose(3, 1, 2, 0), (1, 4, h + 2, 1)).copy(),
    )  # fmt: skip
    found = check(made, 1, c, h, w)
    assert (found == Counter(Conv=1)) is right


def test_rows_written_into_zeros_are_an_upsampling() -> None:
    """Every second row, then every second column: a 3×3 behind it reads what is there."""
    nodes = [
        Node("Transpose", ["x"], ["columns"], perm=[3, 1, 2, 0]),
        Node("ScatterND", ["no_columns", "even_columns", "columns"], ["wide"]),
        Node("Transpose", ["wide"], ["rows"], perm=[2, 1, 0, 3]),
        Node("ScatterND", ["no_rows", "even_rows", "rows"], ["tall"]),
        Node("Transpose", ["tall"], ["spread"], perm=[3, 1, 0, 2]),
        Node("Conv", ["spread", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    made = model(
        nodes, (1, 3, 4, 5), 13, w=weight(2, 3, 3, 3),
        no_columns=np.zeros((10, 3, 4, 1), np.float32), no_rows=np.zeros((8, 3, 10, 1), np.float32),
        even_columns=np.arange(0, 10, 2).reshape(-1, 1), even_rows=np.arange(0, 8, 2).reshape(-1, 1),
    )  # fmt: skip
    assert check(made, 1, 3, 4, 5) == Counter(ConvTranspose=1)
