"""An operator written into a graph: the same numbers, by the calls its realisation names, multiplying what it says."""

from __future__ import annotations

from math import prod

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.utils.flop_counter import FlopCounterMode

from convfold.algebra import polyphase
from convfold.algebra.realisation import Convolve, Linear, Realisation, Scale, Shuffle, Transpose
from convfold.frontends.torch.operators import Aten, Written
from convfold.frontends.torch.unlift import Calls
from convfold.plan.cost import Prices
from convfold.plan.realisation import cheapest
from convfold.region import Signal
from tests.laws.generate import Layer, any_layer, spaces
from tests.laws.oracle import assert_close


def written(layer: Layer, how: Realisation, axis: int, rank: int) -> GraphModule:
    """A module of the calls that compute the layer in this way."""
    graph, weights = Graph(), {}
    calls = Calls(graph, weights)
    x = graph.placeholder("x")

    def parameter(kind: str, tensor: Tensor) -> Node:
        weights[kind] = nn.Parameter(tensor)
        return graph.get_attr(kind)

    ops = Aten(Written(calls, set()), {}, layer.value.kernel)
    graph.output(how.lower(ops, layer.value, axis, x, rank, parameter))
    return GraphModule(weights, graph)


def check(layer: Layer, how: Realisation, shape: tuple[int, ...], axis: int) -> None:
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    module = written(layer, how, axis, len(shape))
    promised = list(how.work(layer.value.geometry, shape, axis))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        y = module(x)
    dims = layer.value.dims
    front = x.movedim(axis, -1) if dims == 0 else x
    expected = layer.torch(front.reshape(-1, *(front.shape[-1:] if dims == 0 else x.shape[axis:])))
    expected = expected.reshape(*front.shape[:-1], -1).movedim(-1, axis) if dims == 0 else expected.reshape(y.shape)
    assert_close(y, expected, f"{layer} by {how} on {shape}")
    assert counter.get_total_flops() == 2 * sum(c.macs for c in promised), f"{layer} by {how} on {shape}"
    made = [n for n in module.graph.nodes if n.op == "call_function" and n.target is not torch.ops.aten.sym_size.int]
    assert len(made) == len(promised), f"{layer} by {how}: {made}"


def ways(layer: Layer, shape: tuple[int, ...], axis: int) -> list[Realisation]:
    """That which a plan would take, and all others there are."""
    g = layer.value.geometry
    found: list[Realisation] = [cheapest(g, Signal(shape), axis, Prices("macs"))[0]]
    if g.dims and not g.upsamples:
        found.append(Convolve())
    if g.dims:
        found.append(Transpose())
        if (rate := polyphase.rate_of(g)) is not None:
            found.append(Shuffle(rate))
    elif not g.diagonal:
        found.append(Linear())
    return found


@given(any_layer(), st.data())
def test_every_realisation(layer: Layer, data: st.DataObject) -> None:
    dims = layer.value.dims
    space = data.draw(spaces(dims, 1, {0: 1, 1: 14, 2: 9, 3: 4}[dims]))
    out = layer.value.geometry.size(space)
    assume(
        prod(out) > 0
        and all(
            w.upsample * (n - 1) + 1 + w.lo + w.hi > w.reach for n, w in zip(space, layer.value.windows, strict=True)
        )
    )
    if dims:
        shape, axis = (data.draw(st.integers(1, 3)), layer.value.c_in, *space), 1
    else:
        rank = data.draw(st.integers(2, 5))
        axis = data.draw(st.integers(1, rank - 1))
        shape = tuple(layer.value.c_in if i == axis else data.draw(st.integers(1, 4)) for i in range(rank))
    for how in ways(layer, shape, axis):
        check(layer, how, shape, axis)


def test_scale_is_one_call_whatever_it_scales() -> None:
    assert [c.macs for c in Scale().work(polyphase.Geometry(4, 4, 4, (), ()), (2, 3, 4), 2)] == [0]
