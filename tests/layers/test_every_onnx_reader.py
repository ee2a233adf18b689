"""What every ONNX reader inherits: each is held against ONNX Runtime on examples drawn beside it.

As `test_every_reader` does for torch; what an operator means is the standard's, in every version.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import Phase, assume, given, note, settings
from hypothesis import strategies as st

from convfold.algebra.operation import Move
from convfold.errors import InvalidInput
from convfold.frontends.onnx.graph import Graph
from convfold.frontends.onnx.source import read
from convfold.layers import ONNX, Step, Value
from convfold.layers.examples import ONNX_EXAMPLES
from convfold.layers.left_onnx import LEFT
from tests.layers.calls import Drawing
from tests.layers.models import Built, close, computed, examples, folded, pointwise, shown
from tests.layers.test_every_reader import assert_true_of


def test_every_operator_is_read_or_left_for_a_reason() -> None:
    """Of the standard domain, in whatever version."""
    known = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    assert sorted(known - ONNX.keys() - LEFT.keys()) == [], "read it, or say in layers/left_onnx.py why not"
    assert sorted(ONNX.keys() - known) == []
    assert sorted(ONNX.keys() & LEFT.keys()) == []


def test_every_operator_has_an_example() -> None:
    assert sorted(ONNX.keys() - ONNX_EXAMPLES.keys()) == [], "declare an example beside the reader"
    assert sorted(ONNX_EXAMPLES.keys() - ONNX.keys()) == []


@pytest.mark.parametrize("name", ONNX)
@given(data=st.data())
@settings(max_examples=20)
def test_reading(name: str, data: st.DataObject) -> None:
    """Read as what ONNX Runtime computes, or refused for the reason that the example gives."""
    example = data.draw(examples(name), label="")
    note(shown(name, example))
    built = Built(name, example)
    expected = computed(built.proto, built.given)
    assume(all(y.size and np.isfinite(y).all() for y in expected))
    graph = Graph(read(built.proto))
    stretches = graph.lift()
    codes = [refusal.code for refusal in stretches.opaque.values()]
    assert codes == ([example.refused] if example.refused else []), stretches.opaque
    if codes:
        return
    call = next(c for c in graph.program.calls)
    reading = graph.program.read(call)
    if isinstance(reading, Value):
        close(built.given[reading.name], expected[0], "handed on")
        return
    inputs = {k: torch.tensor(v).double() for k, v in built.given.items()}
    found: dict[str, Any] = {}
    for region in stretches.regions:
        for leaf in region.inputs:
            if leaf.name in stretches.bare:
                inputs[leaf.name] = torch.tensor(bare(graph, stretches.bare[leaf.name], built)).double()
            elif leaf.name not in inputs:  # a part of a concat
                inputs[leaf.name] = graph.program.value(leaf.name).tensor().double()
        found |= region.evaluate(inputs)
        for node in region.steps:
            if isinstance(node.operation, Move):
                assert_true_of(node.operation, region.by_name[node.inputs[0]].signal.shape)
    steps = reading if isinstance(reading, list) else [reading]
    asked = {y: e for y, e, step in zip(built.outputs, expected, steps, strict=False) if isinstance(step, Step)}
    asked = {y: e for y, e in asked.items() if e.ndim}
    assert found.keys() == asked.keys()
    for y, e in asked.items():
        close(found[y], e, y)


def bare(graph: Graph, of: tuple[str, dict[str, Any]], built: Built) -> Any:
    """The norm without its scale and shift, as it is written."""
    value = graph.program.bare(*of)
    model = onnx.ModelProto()
    model.CopyFrom(ir.serde.serialize_model(graph.source.model))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(value.name))
    return computed(model, built.given)[0]


@pytest.mark.parametrize("name", ONNX)
@given(data=st.data())
@settings(max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_between_layers(name: str, data: st.DataObject) -> None:
    between_layers(name, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONNX)
@given(data=st.data())
@settings(max_examples=100)
def test_many_between_layers(name: str, data: st.DataObject) -> None:
    between_layers(name, data)


def between_layers(name: str, data: st.DataObject) -> None:
    """Planned and written with what stands before and behind it: equal, with all sizes fixed or some free."""
    example = data.draw(examples(name), label="")
    note(shown(name, example))
    assume(example.refused != "training-mode")  # what it computes is random
    alone = Built(name, example)
    results = computed(alone.proto, alone.given)
    assume(all(y.size and np.isfinite(y).all() for y in results))
    draw = Drawing(data.draw)
    before = [pointwise(draw, x, same=True) for x in alone.given.values()]
    behind = [pointwise(draw, y, same=False) for y in results]
    free = draw.pick(("", "batch", "space"))
    built = Built(name, example, before, behind, free, [y.ndim for y in results])
    expected = attempted(built.proto, built.given)
    assume(expected is not None and all(np.isfinite(y).all() for y in expected))
    try:
        model, tried = folded(built.proto, built.given, draw.pick(("time", "macs")))
    except InvalidInput:
        assume(not free and not example.refused)  # it runs at no other sizes, or not as the standard says
        raise
    note(f"{[n.op_type for n in built.proto.graph.node]} → {[n.op_type for n in model.graph.node]}")
    onnx.checker.check_model(model)
    compare(model, built.given, expected)
    for shapes in tried[1:]:
        inputs = {k: np.random.default_rng(0).standard_normal(shape).astype(np.float32) for k, shape in shapes.items()}
        expected = attempted(built.proto, inputs)
        if expected is not None:
            compare(model, inputs, expected)


def attempted(model: onnx.ModelProto, given: Any) -> Any:
    try:
        return computed(model, given)
    except Exception:  # of whatever kind: not a model for these inputs
        return None


def compare(model: onnx.ModelProto, inputs: Any, expected: Any) -> None:
    for got, y in zip(computed(model, inputs), expected, strict=True):
        close(got, y, f"folded, on {[x.shape for x in inputs.values()]}", 3e-4)
