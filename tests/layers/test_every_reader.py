"""What every layer file inherits: each spelling it registers is held against torch on examples drawn beside it.

An example is declared in the layer file (see `convfold.layers.examples`); what is asked of all of them stands here.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from hypothesis import Phase, assume, given, note, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import convfold
from convfold.algebra.apply import Apply
from convfold.algebra.layout import Slice
from convfold.algebra.operation import Move
from convfold.algebra.spatial import Spatial
from convfold.layers import ATEN, Value
from convfold.layers.examples import EXAMPLES, MODULE_EXAMPLES
from convfold.layers.known import _KINDS
from convfold.layers.links import Link, links
from convfold.ops import Eager
from convfold.region import Region
from tests.folding import STATIC, noise
from tests.laws.oracle import assert_close, refused
from tests.layers.calls import ELSEWHERE, OneCall, between, examples, module_examples, overload, shown


def test_every_spelling_has_an_example() -> None:
    assert sorted(ATEN.keys() - EXAMPLES.keys()) == [], "declare an example beside the reader"
    assert sorted(kind.__name__ for kind in _KINDS.keys() - MODULE_EXAMPLES.keys()) == []


def test_every_example_has_a_reader() -> None:
    assert sorted(EXAMPLES.keys() - ATEN.keys()) == []
    assert sorted(kind.__name__ for kind in MODULE_EXAMPLES.keys() - _KINDS.keys()) == []


def test_torch_has_every_spelling() -> None:
    assert [spelling for spelling in ATEN if not isinstance(overload(spelling), torch._ops.OpOverload)] == []


PRODUCTS = [f"aten.{name}.default" for name in ("einsum", "tensordot", "matmul", "mv", "inner")]


@pytest.mark.parametrize("spelling", ATEN)
@given(data=st.data())
@settings(max_examples=25)
def test_reading(spelling: str, data: st.DataObject) -> None:
    """Read as what torch computes, or refused for the reason that the example gives; what a step says is true."""
    example = data.draw(examples(spelling), label="")
    note(shown(spelling, example))
    one = OneCall.of(overload(spelling), example)
    stretches = one.lift()
    codes = [refusal.code for refusal in stretches.opaque.values()]
    assert codes == ([example.refused] if example.refused else []), stretches.opaque
    if codes:
        return
    reading = one.program.read(one.name)
    if isinstance(reading, Value):
        assert_close(one.values[reading.name], one.outputs[one.name], "handed on")
        return
    given: dict[str, Tensor] = {}
    for region in stretches.regions:
        given |= one.evaluated(region, stretches)
        for node in region.steps:
            if isinstance(node.operation, Move):
                assert_true_of(node.operation, region.by_name[node.inputs[0]].signal.shape)
    expected = one.outputs
    if isinstance(reading, list):  # those of its outputs that are steps, and have elements
        steps = dict(zip(one.outputs, reading, strict=False))
        expected = {name: y for name, y in one.outputs.items() if steps.get(name) is not None and y.numel()}
    expected = {name: y for name, y in expected.items() if y.dim()}  # one number has no axis for channels
    assert given.keys() == expected.keys()
    for name, y in expected.items():
        assert_close(given[name], y, name)
    # Which torch writes as products that it counts, or others, as those with a vector are.
    if one.macs or spelling not in PRODUCTS:
        assert sum(map(macs, stretches.regions)) == one.macs


#: What no model calls: for want of a CPU that does, because export does not take it with constants, or in training.
NOT_FOLDED = {
    *map(str, ELSEWHERE),
    "aten._batch_norm_no_update.default",
    "aten._native_batch_norm_legit.default",
    "aten._native_batch_norm_legit.no_stats",
}
FOLDED = sorted(ATEN.keys() - NOT_FOLDED)


@pytest.mark.parametrize("spelling", FOLDED)
@given(data=st.data())
@settings(max_examples=2, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # a fold takes a tenth of a second
def test_between_layers(spelling: str, data: st.DataObject) -> None:
    between_layers(spelling, data)


@pytest.mark.slow
@pytest.mark.parametrize("spelling", FOLDED)
@given(data=st.data())
@settings(max_examples=25)
def test_many_between_layers(spelling: str, data: st.DataObject) -> None:
    between_layers(spelling, data)


def between_layers(spelling: str, data: st.DataObject) -> None:
    """Folded with what stands before and behind it: equal, with the batch fixed or free."""
    example = data.draw(examples(spelling), label="")
    note(shown(spelling, example))
    assume(example.refused != "training-mode")  # no such model is folded
    net, xs = data.draw(between(spelling, example), label="")
    twice = tuple(torch.cat([x, x]) for x in xs)
    sizes = data.draw(st.sampled_from((None, STATIC)), label="sizes") if is_alike(net, xs, twice) else STATIC
    config = convfold.FoldConfig(data.draw(st.sampled_from(("time", "macs"))), verify=False)  # compared here
    result = convfold.fold(net, xs, dynamic_shapes=sizes, config=config)
    assert_same_outputs(result, net, xs)
    if len(result.report.free) == len(xs):
        assert_same_outputs(result, net, twice)


def is_alike(net: nn.Module, xs: tuple[Tensor, ...], twice: tuple[Tensor, ...]) -> bool:
    """Does it take the batch twice, and return as many axes then? A squeeze may not; export thinks it does."""
    with torch.no_grad():
        try:
            return [y.dim() for y in net(*xs)] == [y.dim() for y in net(*twice)]
        except (RuntimeError, ValueError, IndexError):  # of another number of parts, or a mask of the first batch
            return False


def assert_same_outputs(result: convfold.Result, net: nn.Module, xs: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        for got, expected in zip(result.module(*xs), net(*xs), strict=True):
            assert_close(got, expected, f"folded, on {[tuple(x.shape) for x in xs]}")


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=25)
def test_module(kind: type[nn.Module], data: st.DataObject) -> None:
    """The one convolution that it is, or refused for the reason that the example gives; a chain even so, perhaps."""
    example = data.draw(module_examples(kind), label="")
    m, x = example.module, example.x
    known = {"channels": x.shape[1], "dims": x.dim() - 2}
    with torch.no_grad():
        expected = m(x)
        with refused(example.refused) if example.refused else nullcontext():
            assert_close(convfold.Convolution.of(m, **known).lifted(x.dim() - 2)(x), expected)
        try:
            chain = links([m], **known)
        except convfold.NotFoldable as e:
            assert e.code == example.refused
            return
        y = x
        for link in chain:
            if link.mode is not None and not _fits(link, y):
                return
            y = link.lifted(x.dim() - 2)(y)
        assert_close(y, expected, "as a chain")


def _fits(link: Link, x: Tensor) -> bool:
    """Are there as many positions as a pad copies? Going round more than once is left to the module."""
    return all(max(w.lo, w.hi) <= n for w, n in zip(link.paths[0][0].windows, x.shape[2:], strict=True))


def macs(region: Region) -> int:
    """What the steps say that they multiply."""
    shapes = {n.name: n.signal.shape for n in region.nodes}
    work = (n.operation.work([shapes[i] for i in n.inputs], n.signal.shape) for n in region.steps if n.operation)
    return sum(call.macs for step in work for call in step)


def assert_true_of(move: Move, shape: tuple[int, ...]) -> None:
    """Axes it carries, constants it keeps, and the convolution it is, on a signal of this shape."""
    x = noise(*shape)
    y = moved(move, x)
    for i, n in enumerate(shape):
        j = move.forward(i)
        if j is None:
            continue
        assert move.traced(j) == i
        order = torch.tensor([n - 1, *range(n), 0])  # every position, two of them twice: any length will do
        got = moved(move.resized(j, len(order)), x.index_select(i, order))
        assert_close(got, y.index_select(j, order), f"{move} carries axis {i} to {j}")
        if move.constants:
            along = [n if k == i else 1 for k in range(len(shape))]
            constant = noise(n).reshape(along).expand(shape)
            along = [n if k == j else 1 for k in range(y.dim())]
            assert_close(moved(move, constant), noise(n).reshape(along).expand(y.shape), f"{move} keeps constants")
    for j in range(y.dim()):
        if (before := move.traced(j)) is not None:
            assert move.forward(before) == j
    if move.constants:
        ones = torch.ones(shape, dtype=x.dtype)
        assert_close(moved(move, ones), torch.ones_like(y), f"{move} keeps constants")
    if isinstance(move, Slice):
        assert 0 <= move.start < move.stop <= shape[move.axis]
    if isinstance(move, Spatial) and move.convolution is not None:
        assert_close(Apply(move.convolution, move.axis).at_axis(x), y, f"{move} is {move.convolution}")
    if isinstance(move, Spatial) and move.matrices is not None:
        for axis, m in enumerate(move.matrices(), start=move.axis + 1):
            x = (x.movedim(axis, -1) @ m.T).movedim(-1, axis)
        assert_close(x, y, f"{move} is a product of matrices")


def moved(move: Move, x: Tensor) -> Tensor:
    """Computed by itself."""
    return move.lower(Eager(x), [x], ()).clone()
