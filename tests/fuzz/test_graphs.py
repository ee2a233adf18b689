"""Random ONNX graphs through fold(): the same function, never dearer, and folded to the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import convfold
from convfold.frontends.onnx.known import Knowledge
from convfold.frontends.onnx.measure import measure
from convfold.totals import Totals
from tests.fuzz.graphs import Array
from tests.fuzz.operators import Drawn, drawn
from tests.layers.models import run

#: Two ways of rounding part by no more than so many units of the largest number there is; else float64 is asked.
UNITS = 32


@dataclass(frozen=True)
class Outcome:
    """Calls before and after; was anything folded; was float64 asked?"""

    calls: tuple[int, int]
    changed: bool
    asked: bool


def check(seed: int) -> Outcome:
    """Fold the graph of this seed and compare."""
    d = drawn(seed)
    try:
        return _checked(d, seed)
    except convfold.InvalidInput as e:
        if d.free and "runs at none of those tried" in str(e):  # a view that few sizes fit: rightly refused
            return Outcome((0, 0), False, False)
        raise
    except Exception as e:
        e.add_note(
            f"seed {seed}: opset {d.model.opset_import[0].version}, free: {d.free or 'nothing'}\n{d.model.graph.node}"
        )
        raise


def _checked(d: Drawn, seed: int) -> Outcome:
    shapes = {name: x.shape for name, x in d.given.items()}
    border = "refuse" if seed % 7 == 0 else "exact"
    config = convfold.FoldConfig(objective=("time", "macs")[seed % 2], border=border, verify=False)
    result = convfold.fold(d.model, kwargs=shapes, config=config)
    folded, report = result.proto, result.report
    onnx.checker.check_model(folded, full_check=_is_fully_typed(d.model))
    assert interface(folded) == interface(d.model)
    far = [not _close(d, folded, inputs) for inputs in (d.given, d.other)]
    if any(far):
        verdict = convfold.verify(d.model, folded)
        assert verdict.passed, verdict
    assert report.before.macs == measured(d.model, shapes).macs
    assert report.after == measured(folded, shapes)
    assert report.after.macs <= report.before.macs
    assert all(r.code in convfold.REASONS for r in report.refused)
    again = convfold.fold(folded, kwargs=shapes, config=config)
    assert not again.report.changed, again.report.applied
    assert again.proto.SerializeToString(deterministic=True) == folded.SerializeToString(deterministic=True)
    return Outcome((len(d.model.graph.node), len(folded.graph.node)), bool(report.applied), any(far))


def _close(d: Drawn, folded: onnx.ModelProto, inputs: dict[str, Array]) -> bool:
    """Within rounding; what is of another shape or type is wrong whatever the rounding."""
    near = True
    for y, got, expected in zip(d.model.graph.output, run(folded, inputs), run(d.model, inputs), strict=True):
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype), y.name
        if not bool(np.isfinite(expected).all()):
            continue
        off = np.abs(got.astype(float) - expected.astype(float)).max(initial=0.0)
        largest = max(d.largest, float(np.abs(expected).max(initial=0.0)), 1.0)  # of the example; others may be larger
        near &= bool(off <= UNITS * float(np.finfo(got.dtype).eps) * largest)
    return near


def _is_fully_typed(model: onnx.ModelProto) -> bool:
    """Do the standard's rules of sizes take it, and are they right?

    Before opset 22 they count windows that begin behind the signal, which runtimes and torch leave out.
    """
    if model.opset_import[0].version < 22 and any(a.name == "ceil_mode" and a.i for a in _attributes(model)):
        return False
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.shape_inference.InferenceError:
        return False
    return True


def _attributes(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    return (a for node in model.graph.node for a in node.attribute)


def interface(model: onnx.ModelProto) -> tuple[bytes, ...]:
    """The opset, and the names, types and sizes of inputs and outputs, weights that are inputs aside."""
    held = {w.name for w in model.graph.initializer}
    inputs = [x for x in model.graph.input if x.name not in held]
    return tuple(p.SerializeToString(deterministic=True) for p in (*model.opset_import, *inputs, *model.graph.output))


def measured(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> Totals:
    """Without calls that nothing reads."""
    read = ir.serde.deserialize_model(model)
    ir.passes.common.RemoveUnusedNodesPass()(read)
    return measure(read, Knowledge(read, shapes))


#: Which once were miscounted or not folded to the end.
FOUND = (42632, 43146, 43336, 45038, 45847, 46937, 53383, 54185)


@pytest.mark.parametrize("seed", [*range(60), *FOUND])
def test_random_graphs(seed: int) -> None:
    check(seed)


@pytest.mark.slow
def test_two_thousand_random_graphs(capsys: pytest.CaptureFixture[str]) -> None:
    first, count = int(os.environ.get("CONVFOLD_FUZZ_SEED", "1000")), 2000
    found = [check(seed) for seed in range(first, first + count)]
    changed = sum(o.changed for o in found)
    before, after = (sum(o.calls[i] for o in found) / count for i in range(2))
    with capsys.disabled():
        print(f"\n{count} graphs folded, {changed} changed, none wrong; {before:.1f} calls became {after:.1f}")
    assert changed > count // 2
