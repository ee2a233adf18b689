"""Small ONNX models from text, with random weights, folded and compared with what they were in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper, parser

import convfold

HEAD = '<ir_version: {ir}, opset_import: ["" : {opset}{more}]>'

#: Of a net that folds: a convolution of 3 channels to 5, and what a norm after it takes.
WEIGHTS: dict[str, tuple[int, ...]] = {"w": (5, 3, 3, 2), "s": (5,), "b": (5,), "m": (5,), "v": (5,)}
CONV = "c = Conv(x, w)"
NORM = "y = BatchNormalization(c, s, b, m, v)"
NET = f"g (float[N,3,9,8] x) => (float[N,5,P,Q] y) {{ {CONV} {NORM} }}"


def model(text: str, *, opset: int = 17, ir: int = 8, more: str = "", **weights: Any) -> onnx.ModelProto:
    """``weights``: arrays, or sizes to draw them of; those of `WEIGHTS` are drawn where the text names no other."""
    found = parser.parse_model(HEAD.format(ir=ir, opset=opset, more=more) + text)
    read = {x for node in _nodes(found) for x in node.input}
    known = {x.name for x in found.graph.input} | {t.name for t in found.graph.initializer}
    known |= {y for node in _nodes(found) for y in node.output}
    drawn = {
        name: sizes for name, sizes in WEIGHTS.items() if name in read and name not in known and name not in weights
    }
    for i, (name, content) in enumerate({**drawn, **weights}.items()):
        found.graph.initializer.append(numpy_helper.from_array(array(content, i, name), name))
    return found


def _nodes(found: onnx.ModelProto) -> list[onnx.NodeProto]:
    nodes = list(found.graph.node)
    for node in nodes:
        for a in node.attribute:
            nodes += list(a.g.node)
    return nodes


def array(content: Any, seed: int = 0, name: str = "") -> np.ndarray[Any, Any]:
    if not isinstance(content, tuple):
        return np.asarray(content)
    drawn = np.random.default_rng(seed).standard_normal(content).astype(np.float32)
    return np.abs(drawn) + np.float32(0.5) if name.startswith("v") else drawn


def kinds(m: onnx.ModelProto) -> Counter[str]:
    """How often every operator is called, in inner graphs too."""
    return Counter(node.op_type for node in _nodes(m))


def run(m: onnx.ModelProto | Path, feeds: dict[str, Any]) -> list[Any]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    given = str(m) if isinstance(m, Path) else m.SerializeToString()
    return list(ort.InferenceSession(given, options, providers=["CPUExecutionProvider"]).run(None, feeds))


def feeds_of(m: onnx.ModelProto, size: int = 2) -> dict[str, Any]:
    """Random inputs: sizes that are free are ``size``."""
    stored = {t.name for t in (*m.graph.initializer, *(s.values for s in m.graph.sparse_initializer))}
    found = {}
    for i, x in enumerate(m.graph.input):
        if x.name not in stored:
            t = x.type.tensor_type
            sizes = tuple(d.dim_value if d.HasField("dim_value") else size for d in t.shape.dim)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(t.elem_type)
            found[x.name] = array(sizes, 100 + i).astype(dtype)
    return found


def assert_same(a: onnx.ModelProto | Path, b: onnx.ModelProto | Path, feeds: dict[str, Any], tolerance: float) -> None:
    for x, y in zip(run(a, feeds), run(b, feeds), strict=True):
        if isinstance(x, list):
            assert len(x) == len(y)
            continue
        assert x.dtype == y.dtype and x.shape == y.shape
        if x.dtype.kind == "f":
            scale = float(np.abs(x.astype(np.float64)).max(initial=0)) or 1.0
            assert float(np.abs(x.astype(np.float64) - y.astype(np.float64)).max(initial=0)) <= tolerance * scale
        else:
            assert np.array_equal(x, y)


def folded(
    m: onnx.ModelProto,
    feeds: dict[str, Any] | None = None,
    *,
    tolerance: float = 1e-5,
    runs: bool = True,
    **kwargs: Any,
) -> onnx.ModelProto:
    """Folded, valid, in its own opset and IR version, and the same function where it ``runs``."""
    before = m.SerializeToString(deterministic=True)
    found = convfold.fold(m, **kwargs).proto
    assert m.SerializeToString(deterministic=True) == before, "the caller's model has changed"
    assert found.ir_version == m.ir_version
    assert {(o.domain, o.version) for o in m.opset_import} <= {(o.domain, o.version) for o in found.opset_import}
    assert given(found) == given(m)
    assert [y.name for y in found.graph.output] == [y.name for y in m.graph.output]
    if runs:
        onnx.checker.check_model(found)
        assert_same(m, found, feeds_of(m) if feeds is None else feeds, tolerance)
    return found


def given(m: onnx.ModelProto) -> list[str]:
    """Inputs that a caller gives."""
    stored = {t.name for t in m.graph.initializer} if m.ir_version < 4 else set()
    return [x.name for x in m.graph.input if x.name not in stored]


def refusals(m: onnx.ModelProto) -> dict[str, str]:
    """Codes and their details, of everything left alone."""
    return {r.code: r.detail for r in convfold.explain(m).refused}
