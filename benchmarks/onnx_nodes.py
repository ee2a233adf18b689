"""Every affine operator that ONNX's own node tests try, folded: it reproduces the outputs that they ship.

Each test is a model of one call, or of few. What they give as inputs is made the model's own but for the first signal;
signs are changed before it and behind every output, so that there is something to compose with. A case is read where
every call with a reader is affine, else refused with that reader's reason.

    python -m benchmarks.onnx_nodes
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator
from rich.table import Table

from benchmarks.record import console, record
from convfold.errors import ConvfoldError
from convfold.frontends.onnx.graph import Graph
from convfold.frontends.onnx.source import read
from convfold.layers import ONNX
from convfold.plan import Planner, Prices

FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16}


@dataclass(frozen=True)
class Outcome:
    """``result``: reproduced, refused (``why``: the code and its words), not run, or wrong."""

    name: str
    kinds: tuple[str, ...]
    result: str
    why: str = ""
    changed: bool = False


def cases(calls: int = 10**6) -> Iterator[tuple[str, onnx.ModelProto, Sequence[Any], Sequence[Any], float]]:
    """Name, model, inputs, outputs and tolerance of each test with a call that is read, of no more calls than that."""
    for case in load_model_tests(kind="node"):
        model = case.model
        if model is None or not any(n.op_type in ONNX and n.domain == "" for n in model.graph.node):
            continue
        if len(model.graph.node) > calls or not case.data_sets:
            continue
        for inputs, outputs in case.data_sets[:1]:
            arrays = [*inputs, *outputs]
            if all(isinstance(a, np.ndarray | np.generic) for a in arrays):
                yield case.name, model, inputs, outputs, max(case.rtol, 1e-3)


def prepared(model: onnx.ModelProto, inputs: Sequence[Any]) -> tuple[onnx.ModelProto, dict[str, Any]] | None:
    """The model whose first signal alone is an input, and that; None where it has none."""
    ours = onnx.ModelProto()
    ours.CopyFrom(model)
    graph = ours.graph
    given = list(zip(list(graph.input), inputs, strict=False))
    signal = next((i for i, (x, _) in enumerate(given) if x.type.tensor_type.elem_type in FLOATS), None)
    if signal is None:
        return None
    del graph.input[:]
    for i, (x, array) in enumerate(given):
        if i == signal:
            graph.input.append(x)
        else:
            graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), x.name))
    name = given[signal][0].name
    before = onnx.helper.make_node("Neg", [name], [f"{name}_negated"], name="before")
    behind = []
    for node in graph.node:
        for i, x in enumerate(node.input):
            if x == name:
                node.input[i] = before.output[0]
    for y in graph.output:
        if y.type.tensor_type.elem_type in FLOATS:
            inner = f"{y.name}_inner"
            for node in graph.node:
                node.output[:] = [inner if x == y.name else x for x in node.output]
                node.input[:] = [inner if x == y.name else x for x in node.input]
            behind.append(onnx.helper.make_node("Neg", [inner], [y.name], name=f"{y.name}_behind"))
    nodes = [before, *graph.node, *behind]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return ours, {name: np.asarray(given[signal][1])}


def run(model: onnx.ModelProto, given: dict[str, Any]) -> list[Any] | None:
    """In ONNX Runtime, or else in the standard's reference; None where neither runs it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, given))
    except Exception:  # of whatever kind: it has no such operator
        pass
    try:
        return list(ReferenceEvaluator(model).run(None, given))
    except Exception:  # of whatever kind
        return None


def folded(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[Any], bool]:
    """Planned and written; the refusals of its calls; was anything changed?"""
    graph = Graph(read(model, dynamic_shapes="static"))
    stretches = graph.lift()
    planner = Planner(Prices("macs", ends=True))
    changes = []
    for region in stretches.regions:
        plan = planner(region)
        if plan.changed and (done := plan.composed(planner.prices)).changed:
            changes.append((region, done.region))
    graph.write(stretches, changes)
    return ir.serde.serialize_model(graph.model()), list(stretches.opaque.values()), bool(changes)


def tried(name: str, model: onnx.ModelProto, inputs: Sequence[Any], outputs: Sequence[Any], rtol: float) -> Outcome:
    kinds = tuple(sorted({n.op_type for n in model.graph.node if n.op_type in ONNX and n.domain == ""}))
    found = prepared(model, inputs)
    if found is None:
        return Outcome(name, kinds, "no signal")
    ours, given = found
    original = run(ours, given)
    if original is None or not _alike(original, _signed(ours, outputs, given), rtol):
        return Outcome(name, kinds, "not run")  # or run as something else
    try:
        new, refusals, changed = folded(ours)
    except ConvfoldError as e:
        return Outcome(name, kinds, "not read", f"{type(e).__name__}: {e}")
    got = run(new, given)
    if got is None or not _alike(got, original, rtol):
        return Outcome(name, kinds, "wrong", changed=changed)
    if refusals:
        return Outcome(name, kinds, "refused", f"{refusals[0].code}: {refusals[0].detail}", changed)
    return Outcome(name, kinds, "reproduced", changed=changed)


def _signed(ours: onnx.ModelProto, outputs: Sequence[Any], given: dict[str, Any]) -> list[Any] | None:
    """What the prepared model has to give: known of one that does not change with the sign of its signal's."""
    flipped = {name: -x for name, x in given.items()}
    plain = run(ours, flipped)
    if plain is None:
        return None
    kinds = [y.type.tensor_type.elem_type in FLOATS for y in ours.graph.output]
    shipped = [-y if flip else y for y, flip in zip(outputs, kinds, strict=True)]
    return run(ours, given) if _alike(plain, shipped, 1e-3) else None


def _alike(got: Sequence[Any], expected: Sequence[Any] | None, rtol: float) -> bool:
    if expected is None:
        return False
    for a, b in zip(got, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or not np.allclose(a, b, rtol, 1e-5, equal_nan=True):
            return False
    return True


def main() -> int:
    outcomes = [tried(*case) for case in cases()]
    table = Table("operator", "tests", "reproduced", "of them rewritten", "refused", "not run", "wrong")
    kinds = sorted({kind for o in outcomes for kind in o.kinds})
    rows = {}
    for kind in [*kinds, ""]:
        own = [o for o in outcomes if kind in o.kinds or not kind]
        by = Counter(o.result for o in own)
        rewritten = sum(o.changed for o in own if o.result == "reproduced")
        rest = by["not run"] + by["no signal"] + by["not read"]
        numbers = [len(own), by["reproduced"], rewritten, by["refused"], rest, by["wrong"]]
        table.add_row(kind or "all", *map(str, numbers))
        names = ("tests", "reproduced", "rewritten", "refused", "not run", "wrong")
        rows[kind or "all"] = dict(zip(names, numbers, strict=True))
    console.print(table)
    why = Table("reason", "tests")
    for reason, n in Counter(o.why for o in outcomes if o.why).most_common():
        why.add_row(reason, str(n))
    console.print(why)
    wrong = [o.name for o in outcomes if o.result == "wrong"]
    for name in wrong:
        console.print(f"wrong: {name}")
    record("onnx_nodes", rows)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
