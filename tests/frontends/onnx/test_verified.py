"""A folded ONNX model is found to be the same, whatever its types; one changed afterwards, in any way, is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

pytest.importorskip("onnxruntime")

import convfold
from convfold.frontends.onnx.running.runtime import CannotRun, Session
from convfold.frontends.onnx.source import Source, read
from convfold.verify import Verdict, verified
from tests.frontends.onnx.nets import Written, detector, of_type, plain
from tests.frontends.onnx.nodes import Array, model, noise, one

UNVERIFIED = convfold.FoldConfig("macs", verify=False)  # with every kind of call, whatever is fast


@cache
def folded(seed: int = 0) -> tuple[Source, bytes]:
    result = convfold.fold(detector(seed), np.zeros((1, 3, 24, 28), np.float32), config=UNVERIFIED)
    return result.source, result.proto.SerializeToString()


def proto() -> onnx.ModelProto:
    return onnx.ModelProto.FromString(folded()[1])


def caught(net: onnx.ModelProto, check: Any = "quick") -> bool:
    try:
        verdict = verified(folded()[0], net, check)
    except (convfold.VerificationFailed, convfold.InvalidInput):
        return True
    return not verdict.passed and not verdict.nothing


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("check", ["quick", "full"])
def test_a_fold_is_the_same(seed: int, check: Any) -> None:
    source, net = folded(seed)
    verdict = verified(source, onnx.ModelProto.FromString(net), check)
    assert verdict.passed and verdict.reference == "float64" and not verdict.notes
    assert len(verdict.tried) == (1 if check == "quick" else 4)


def inert(net: onnx.ModelProto) -> bool:
    """A change without effect: a stride along an axis of one position, a channel that is as good as never positive."""
    given = [noise(*shape, seed=i) for i, shape in enumerate([(1, 3, 12, 14), (2, 3, 25, 27), (1, 3, 24, 28)])]
    before = Session(proto())
    try:
        now = Session(net)
        runs = [(before({"x": x}), now({"x": x})) for x in given]
    except CannotRun:
        return False
    return all(np.array_equal(a, b) for was, is_now in runs for a, b in zip(was, is_now, strict=True))


def seen(net: onnx.ModelProto) -> bool:
    return caught(net) or caught(net, "full") or inert(net)


# --- weights


def first_row(w: Array, factor: float) -> Array:
    w[:1] *= factor
    return w


def one_tap(w: Array, change: Callable[[Any], Any]) -> Array:
    """The largest: what others do may be less than rounding."""
    i = int(np.abs(w).argmax())
    w.flat[i] = change(w.flat[i])
    return w


WEIGHTS: dict[str, Callable[[Array], Array]] = {
    "flipped": lambda w: np.flip(w, -1),
    "turned by a quarter": lambda w: np.swapaxes(w, -1, -2),
    "channels rolled": lambda w: np.roll(w, 1, 0),
    "channels reversed": lambda w: w[::-1],
    "taps rolled": lambda w: np.roll(w, 1, -1),
    "zero": np.zeros_like,
    "negated": lambda w: -w,
    "scaled by 1.001": lambda w: w * 1.001,
    "moved by 0.001": lambda w: w + 1e-3,
    "one row scaled by 1.01": lambda w: first_row(w, 1.01),
    "one tap scaled by 1.01": lambda w: one_tap(w, lambda v: v * 1.01),
    "one tap zero": lambda w: one_tap(w, lambda v: 0),
    "one tap NaN": lambda w: one_tap(w, lambda v: np.nan),
    "one tap infinite": lambda w: one_tap(w, lambda v: np.inf),
    "rounded to float16": lambda w: w.astype(np.float16).astype(np.float32),
}


def changed(kind: str) -> list[tuple[str, onnx.ModelProto]]:
    """The folded model with each weight in turn that the change is one for."""
    found = []
    for i, before in enumerate(proto().graph.initializer):
        w = numpy_helper.to_array(before)
        if w.dtype == np.float32 and (w.ndim > 1 or kind != "turned by a quarter"):
            after_it = np.ascontiguousarray(WEIGHTS[kind](w.copy()))
            if after_it.shape == w.shape and not np.array_equal(after_it, w):
                net = proto()
                net.graph.initializer[i].CopyFrom(numpy_helper.from_array(after_it, before.name))
                found.append((before.name, net))
    return found


@pytest.mark.parametrize("kind", WEIGHTS)
def test_changed_weights(kind: str) -> None:
    nets = changed(kind)[list(WEIGHTS).index(kind) % 4 :: 4]
    assert nets and [name for name, net in nets if not seen(net)] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", WEIGHTS)
def test_every_changed_weight(kind: str) -> None:
    assert [name for name, net in changed(kind) if not seen(net)] == []


# --- calls


def attribute(node: onnx.NodeProto, name: str, change: Callable[[Any], Any], otherwise: Any) -> bool:
    before = next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), otherwise)
    after = change(before)
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, after)])
    return bool(after != before)


def left_out(net: onnx.ModelProto, node: onnx.NodeProto, kinds: tuple[str, ...]) -> bool:
    if node.op_type not in kinds:
        return False
    node.op_type = "Identity"
    del node.attribute[:]
    del node.input[1:]
    return True


def conv(node: onnx.NodeProto, name: str, change: Callable[[list[int]], list[int]], otherwise: list[int]) -> bool:
    return node.op_type == "Conv" and attribute(node, name, lambda v: change(list(v)), otherwise)


def turned(node: onnx.NodeProto, kinds: tuple[str, ...]) -> bool:
    if node.op_type not in kinds:
        return False
    inputs = list(node.input)[::-1]
    del node.input[:]
    node.input.extend(inputs)
    return True


def other(node: onnx.NodeProto, before: str, after: str) -> bool:
    found, node.op_type = node.op_type == before, after if node.op_type == before else node.op_type
    return found


def without_bias(node: onnx.NodeProto) -> bool:
    if node.op_type != "Conv" or len(node.input) < 3:
        return False
    del node.input[2:]
    return True


CALLS: dict[str, Callable[[onnx.ModelProto, onnx.NodeProto], bool]] = {
    "a bias dropped": lambda m, n: without_bias(n),
    "a pad shifted": lambda m, n: conv(n, "pads", lambda p: [p[0] + 1, p[1], p[2] - 1, p[3]] if p[2] else p, [0] * 4),
    "a pad shifted across": lambda m, n: conv(
        n, "pads", lambda p: [p[0], p[1] - 1, p[2], p[3] + 1] if p[1] else p, [0] * 4
    ),
    "a pad more": lambda m, n: conv(n, "pads", lambda p: [v + 1 for v in p], [0] * 4),
    "a pad more at one end": lambda m, n: conv(n, "pads", lambda p: [*p[:3], p[3] + 1], [0] * 4),
    "a pad less at one end": lambda m, n: conv(n, "pads", lambda p: [max(p[0] - 1, 0), *p[1:]], [0] * 4),
    "another stride": lambda m, n: conv(n, "strides", lambda s: [3 - min(v, 2) for v in s], [1, 1]),
    "another dilation": lambda m, n: conv(n, "dilations", lambda d: [v + 1 for v in d], [1, 1]),
    "another axis's stride": lambda m, n: conv(n, "strides", lambda s: [s[0], s[1] + 1], [1, 1]),
    "an activation left out": lambda m, n: left_out(m, n, ("Relu", "HardSwish", "Sigmoid", "HardSigmoid")),
    "an addition left out": lambda m, n: left_out(m, n, ("Add", "Sub", "Mul")),
    "a difference turned": lambda m, n: turned(n, ("Sub",)),
    "a sum for a difference": lambda m, n: other(n, "Sub", "Add"),
    "a product for a sum": lambda m, n: other(n, "Add", "Mul"),
    "a gate's slope": lambda m, n: n.op_type == "HardSigmoid" and attribute(n, "alpha", lambda a: a * 1.01, 0.2),
    "a gate's shift": lambda m, n: n.op_type == "HardSigmoid" and attribute(n, "beta", lambda b: b + 0.01, 0.5),
    "blocks in another order": lambda m, n: n.op_type == "DepthToSpace" and attribute(
        n, "mode", lambda mode: b"DCR" if mode == b"CRD" else b"CRD", b"DCR"
    ),
    "resized otherwise": lambda m, n: n.op_type == "Resize" and attribute(n, "nearest_mode", lambda _: b"ceil", b""),
    "resized by interpolation": lambda m, n: n.op_type == "Resize" and attribute(n, "mode", lambda _: b"linear", b""),
}  # fmt: skip


@pytest.mark.parametrize("kind", CALLS)
def test_changed_calls(kind: str) -> None:
    """Every call in turn that the change is one for."""
    tried, missed = 0, []
    for i in range(len(proto().graph.node)):
        net = proto()
        if CALLS[kind](net, net.graph.node[i]):
            tried += 1
            missed += [] if seen(net) else [net.graph.node[i].name]
    assert tried and missed == []


# --- outputs


def after(net: onnx.ModelProto, *calls: onnx.NodeProto, weights: dict[str, Array] | None = None) -> onnx.ModelProto:
    """The first output is renamed, for calls to compute it anew."""
    name = net.graph.output[0].name
    for node in net.graph.node:
        for names in (node.input, node.output):
            for j, n in enumerate(names):
                names[j] = "before" if n == name else n
    calls[-1].output[0] = name
    net.graph.node.extend(calls)
    net.graph.initializer.extend(numpy_helper.from_array(w, k) for k, w in (weights or {}).items())
    return net


def at_one_size(axis: int, size: int) -> onnx.ModelProto:
    """Wrong where an axis of the input has this size."""
    return after(
        proto(),
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "axis_"], ["length"]),
        helper.make_node("Equal", ["length", "size_"], ["hit"]),
        helper.make_node("Cast", ["hit"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "tenth"], ["wrong"]),
        helper.make_node("Add", ["before", "wrong"], ["y"]),
        weights={
            "axis_": np.array(axis, np.int64),
            "size_": np.array(size, np.int64),
            "tenth": np.array(0.1, np.float32),
        },
    )


@pytest.mark.parametrize(("axis", "size"), [(0, 1), (0, 2), (2, 1), (3, 1), (2, 24), (3, 28), (2, 15), (3, 19)])
def test_wrong_at_one_size_only(axis: int, size: int) -> None:
    assert not caught(at_one_size(axis, 7), "full")
    assert caught(at_one_size(axis, size), "full")


def test_changed_outputs() -> None:
    net = proto()
    first, second = list(net.graph.output)
    del net.graph.output[:]
    net.graph.output.extend([second, first])
    assert caught(net)
    net = proto()
    net.graph.node.extend([helper.make_node("Identity", [first.name], ["z"])])
    net.graph.output[0].name = "z"
    with pytest.raises(convfold.VerificationFailed, match="other inputs or outputs"):
        verified(folded()[0], net)
    net = proto()
    del net.graph.output[1:]
    assert caught(net)
    assert caught(after(proto(), helper.make_node("Cast", ["before"], ["y"], to=TensorProto.FLOAT16)))
    # a row is moved by one: the ring alone is wrong
    calls = [
        helper.make_node("Pad", ["before", "ends"], ["moved"], mode="edge"),
        helper.make_node("Pad", ["moved", "back"], ["y"]),
    ]
    ends = np.array([0, 0, 1, 0, 0, 0, 0, 0], np.int64)
    back = np.array([0, 0, 0, 0, 0, 0, -1, 0], np.int64)
    assert caught(after(proto(), *calls, weights={"ends": ends, "back": back}))


def two_scores(seed: int) -> onnx.ModelProto:
    """Of one number that varies: what it is off by is small by chance now and then."""
    w = Written(seed)
    y = w.call("Relu", w.norm(w.conv("x", 3, 16, bias=False), 16))
    y = w.call("Relu", w.norm(w.conv(y, 16, 16, bias=False), 16))
    y = w.call("Softmax", w.conv(w.call("GlobalAveragePool", y), 16, 2, 1), axis=1)
    return model(w.nodes, {"x": (TensorProto.FLOAT, (1, 3, 9, 11))}, [y], w.weights)


def test_few_numbers() -> None:
    for seed in range(20):
        found = convfold.fold(two_scores(seed), config=UNVERIFIED)
        verdict = verified(found.source, found.model, "quick")
        assert verdict.passed, str(verdict)
        net = found.proto
        weight = next(i for i in net.graph.initializer if len(i.dims) == 4)
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.001), weight.name))
        assert not verified(found.source, net, "quick").passed


def test_what_does_not_run() -> None:
    net = proto()
    net.graph.node[0].op_type = "Thing"
    with pytest.raises(convfold.VerificationFailed, match="second model cannot be loaded by ONNX Runtime"):
        verified(folded()[0], net)


# --- types


def result(net: onnx.ModelProto) -> tuple[Verdict, Source, onnx.ModelProto]:
    found = convfold.fold(net, config=UNVERIFIED)
    return verified(found.source, found.model), found.source, found.proto


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_types(dtype: Any) -> None:
    verdict, source, net = result(of_type(plain(), dtype))
    assert verdict.passed and verdict.allowed < (1e-2 if dtype == np.float16 else 1e-13)
    assert bool(verdict.notes) == (dtype == np.float64)  # ONNX Runtime has no such convolution
    for w in net.graph.initializer:
        changed = numpy_helper.to_array(w) * dtype(1.05 if dtype == np.float16 else 1 + 1e-9)
        w.CopyFrom(numpy_helper.from_array(changed, w.name))
    assert not verified(source, net).passed


def test_overflow() -> None:
    """Of float16: where the first overflows too that says nothing, where only the second does it is no difference."""
    x = noise(4, 5) * 40
    x[0, 0] = 70
    weights = {"tenth": np.array(0.1, np.float32)}
    mul = lambda a, b, y: helper.make_node("Mul", [a, b], [y])  # noqa: E731
    narrow = [helper.make_node("Cast", ["b"], ["n"], to=10), helper.make_node("Cast", ["n"], ["w"], to=1)]
    calls = [mul("x", "x", "a"), mul("a", "x", "b"), *narrow, mul("w", "tenth", "y")]
    overflows = model(calls, {"x": x}, ["y"], weights)
    calls = [mul("x", "tenth", "a"), mul("a", "x", "c"), mul("c", "x", "b"), *narrow, mul("w", "one", "y")]
    fits = model(calls, {"x": x}, ["y"], {**weights, "one": np.array(1, np.float32)})
    given = torch.from_numpy(x)
    verdict = convfold.verify(overflows, fits, given)
    assert verdict.passed and "the first overflows float32 in" in str(verdict) and verdict.reference == "float64"
    verdict = convfold.verify(fits, overflows, given)
    assert not verdict.passed and verdict.overflows
    wrong = model(calls, {"x": x}, ["y"], {**weights, "one": np.array(1.01, np.float32)})
    assert not convfold.verify(overflows, wrong, given).passed


@pytest.mark.parametrize("kind", ["ArgMax", "Greater", "both"])
def test_whole_numbers_and_truth(kind: str) -> None:
    w = Written()
    y = w.norm(w.conv("x", 3, 4, bias=False), 4)
    best, above = w.call("ArgMax", y, axis=1), w.call("Greater", y, w.constant(np.array(0.3, np.float32)))
    returned = [(best, TensorProto.INT64), (above, TensorProto.BOOL)]
    kept = returned if kind == "both" else returned[:1] if kind == "ArgMax" else returned[1:]
    verdict, source, net = result(model(w.nodes, {"x": noise(1, 3, 9, 8)}, kept, w.weights))
    assert verdict.passed
    weights = next(i for i in net.graph.initializer if len(i.dims) == 4)
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[::-1].copy(), weights.name))
    assert not verified(source, net).passed


def test_sampled_rounding() -> None:
    """An operator that only ONNX Runtime has: both are compared in their own types."""
    w = Written()
    y = w.norm(w.conv("x", 3, 4, bias=False), 4)
    y = w.call("QuickGelu", y, domain="com.microsoft")
    y = w.norm(w.conv(y, 4, 4, bias=False), 4)
    net = model(w.nodes, {"x": noise(1, 3, 9, 8)}, [y], w.weights)
    net.opset_import.extend([helper.make_opsetid("com.microsoft", 1)])
    verdict, source, after_it = result(net)
    assert verdict.passed and verdict.reference == "its own type" and "float64 cannot run" in str(verdict)
    for weights in after_it.graph.initializer:
        changed = numpy_helper.to_array(weights) * np.float32(1.0001)
        weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
    assert not verified(source, after_it).passed


# --- inputs


def test_indices_are_within_a_table() -> None:
    table = noise(2, 4)
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    net = model(nodes, {"x": (TensorProto.INT64, (3, 5))}, ["y"], {"table": table})
    source = read(net)
    assert verified(source, net).passed
    wrong = model(nodes, {"x": (TensorProto.INT64, (3, 5))}, ["y"], {"table": table * np.float32(1.001)})
    assert not verified(source, wrong).passed


def test_text_is_not_drawn() -> None:
    net = model([helper.make_node("Identity", ["x"], ["y"])], {"x": (TensorProto.STRING, (3,))}, [("y", 8)])
    verdict = verified(read(net), net)
    assert not verdict.passed and str(verdict) == "nothing to compare: it takes text"


def test_nothing_is_drawn_that_runs() -> None:
    """The original wants indices that no input drawn has."""
    nodes = [helper.make_node("Sub", ["x", "many"], ["i"]), helper.make_node("Gather", ["table", "i"], ["y"])]
    weights = {"table": noise(2, 4), "many": np.array(100, np.int64)}
    net = model(nodes, {"x": (TensorProto.INT64, (3, 5))}, ["y"], weights)
    verdict = verified(read(net), net)
    assert verdict.nothing.startswith("it runs on none of the inputs drawn: ")


# --- convfold.verify


def test_verify_takes_paths_and_models(tmp_path: Path) -> None:
    first, second = detector(), proto()
    onnx.save(first, tmp_path / "a.onnx")
    onnx.save(second, tmp_path / "b.onnx")
    x = torch.randn(1, 3, 12, 14)
    for a, b in ((tmp_path / "a.onnx", str(tmp_path / "b.onnx")), (first, tmp_path / "b.onnx"), (first, second)):
        assert convfold.verify(a, b, x).passed
    assert convfold.verify(tmp_path / "a.onnx", tmp_path / "b.onnx").passed
    assert not convfold.verify(first, at_one_size(2, 12), x).passed


def test_verify_takes_a_module_beside_a_model() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()).eval()
    kernel, bias = (p.detach().numpy() for p in net[0].parameters())
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    x = noise(1, 3, 6, 7)
    same = model(nodes, {"x": x}, ["y"], {"w": kernel, "b": bias})
    wrong = model(nodes, {"x": x}, ["y"], {"w": kernel[..., ::-1].copy(), "b": bias})
    given = torch.from_numpy(x)
    assert convfold.verify(net, same, given).passed and convfold.verify(same, net, given).passed
    assert not convfold.verify(net, wrong, given).passed and not convfold.verify(wrong, net, given).passed


def test_large_weights_lie_beside_the_model() -> None:
    """More than what is handed over with it."""
    w = noise(200, 300)
    net = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": noise(2, 200)}, ["y"], {"w": w})
    assert verified(read(net), net).passed
    wrong = model(net.graph.node, {"x": noise(2, 200)}, ["y"], {"w": w[::-1].copy()})
    assert not verified(read(net), wrong).passed


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    verdict = verified(folded()[0], proto(), "quick")
    assert verdict.passed and verdict.notes == ("run operator by operator: onnxruntime is not installed",)
    net = proto()
    left_out(net, next(n for n in net.graph.node if n.op_type == "Relu"), ("Relu",))
    assert caught(net)


def test_onnx_is_not_imported_for_modules() -> None:
    program = "import sys, convfold, torch; convfold.verify(torch.nn.ReLU(), torch.nn.ReLU(), torch.randn(2, 3)); " \
        "assert not {'onnx', 'onnx_ir', 'onnxruntime'} & set(sys.modules)"  # fmt: skip
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_operator_runs_in_neither() -> None:
    net = one("Relu", [noise(2, 3)])
    net.graph.node[0].op_type, net.graph.node[0].domain = "Thing", "somewhere"
    net.opset_import.extend([helper.make_opsetid("somewhere", 1)])
    verdict = verified(read(net), net)
    assert verdict.nothing.startswith("it runs on none of the inputs drawn: ")
