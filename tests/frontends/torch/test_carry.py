"""What a call needs for some positions of its result, and what it gives on those: of every rule, against torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx import GraphModule, Interpreter

import convfold
from convfold.frontends.torch.carry import _RULES, Ranges, rule_of, whole
from convfold.frontends.torch.functionalise import functional
from convfold.frontends.torch.insert import Insert
from convfold.frontends.torch.unlift import Calls, unlift
from tests.folding import Net, noise

F, aten = torch.nn.functional, torch.ops.aten


@cache
def drawn(*shape: int) -> Tensor:
    """Before a call is traced: inside it no numbers can be drawn."""
    return noise(*shape, seed=sum(shape))


def traced(name: str) -> tuple[Tensor, Calls]:
    shape, call = CALLS[name]
    x = drawn(*shape)
    call(x)
    return x, unlift(functional(torch.export.export(Net(lambda m, x: call(x)), (x,))))


#: By operator: functions of a signal and its shape; other tensors are inputs of the call as well.
CALLS: dict[str, tuple[tuple[int, ...], Callable[..., Any]]] = {
    "add": ((2, 4, 5), lambda x: x + drawn(4, 1)),
    "mul of two": ((2, 4, 5), lambda x: x.sigmoid() * x.mT.contiguous().mT),
    "gelu": ((2, 4, 5), F.gelu),
    "where": ((2, 4, 5), lambda x: torch.where(x > 0, x, drawn(5))),
    "clone": ((2, 4, 5), lambda x: x.clone()),
    "permute": ((2, 4, 5, 3), lambda x: x.permute(2, 0, 3, 1)),
    "transpose": ((2, 4, 5, 3), lambda x: x.transpose(1, -1)),
    "t": ((4, 5), lambda x: x.t()),
    "reshape": ((2, 4, 6, 3), lambda x: x.reshape(2, 4, 2, 9)),
    "split into heads": ((2, 5, 8), lambda x: x.reshape(2, 5, 2, 4)),
    "unsqueeze": ((2, 4, 5), lambda x: x.unsqueeze(2)),
    "squeeze": ((2, 4, 1, 5), lambda x: x.squeeze(2)),
    "squeeze of two": ((2, 4, 1, 5, 1), lambda x: x.squeeze((2, 4))),
    "expand": ((2, 1, 5), lambda x: x.expand(2, 4, 5)),
    "expand by an axis": ((4, 5), lambda x: x.expand(3, -1, -1)),
    "slice": ((2, 7, 5), lambda x: x[:, 1:6]),
    "slice with steps": ((2, 9, 5), lambda x: x[:, 1:9:3]),
    "select": ((2, 7, 5), lambda x: x[:, -2]),
    "cat": ((2, 4, 5), lambda x: torch.cat([x, x.relu(), drawn(2, 1, 5)], 1)),
    "cat of rows": ((2, 4, 5), lambda x: torch.cat([x, x.exp()], 0)),
    "chunk": ((2, 7, 5), lambda x: x.chunk(3, 1)[1]),
    "unbind": ((2, 7, 5), lambda x: x.unbind(1)[3]),
    "layer_norm": ((2, 4, 5), lambda x: F.layer_norm(x, (5,), drawn(5), drawn(5))),
    "layer_norm of two": ((2, 4, 5, 3), lambda x: F.layer_norm(x, (5, 3))),
    "rms_norm": ((2, 4, 5), lambda x: F.rms_norm(x, (5,), drawn(5))),
    "batch_norm": ((2, 4, 5, 3), lambda x: F.batch_norm(x, drawn(4), drawn(4).abs() + 1, drawn(4), drawn(4))),
    "group_norm": ((2, 4, 5), lambda x: F.group_norm(x, 2, drawn(4), drawn(4))),
    "softmax": ((2, 4, 5), lambda x: x.softmax(-1)),
    "log_softmax": ((2, 4, 5), lambda x: x.log_softmax(1)),
    "cumsum": ((2, 4, 5), lambda x: x.cumsum(2)),
    "mean": ((2, 4, 5, 3), lambda x: x.mean((1, 3))),
    "mean, kept": ((2, 4, 5, 3), lambda x: x.mean((1, 3), keepdim=True)),
    "sum": ((2, 4, 5), lambda x: x.sum(-2)),
    "amax": ((2, 4, 5), lambda x: x.amax(1, keepdim=True)),
    "linalg_vector_norm": ((2, 4, 5), lambda x: torch.linalg.vector_norm(x, dim=-1)),
    "max_pool": ((2, 4, 6, 6), lambda x: F.max_pool2d(x, 2)),
    "avg_pool1d": ((2, 4, 6), lambda x: F.avg_pool1d(x, 2)),
    "adaptive_avg_pool": ((2, 4, 6, 6), lambda x: F.adaptive_avg_pool2d(x, 2)),
    "bilinear": ((2, 4, 3, 3), lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    "nearest": ((2, 4, 3, 3), lambda x: F.interpolate(x, scale_factor=2)),
    "pad": ((2, 4, 5, 3), lambda x: F.pad(x, (1, 2))),
    "pad by copies": ((2, 4, 5, 3), lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate")),
    "linear": ((2, 4, 5), lambda x: F.linear(x, drawn(6, 5), drawn(6))),
    "linear without bias": ((4, 5), lambda x: F.linear(x, drawn(6, 5))),
    "addmm": ((4, 5), lambda x: torch.addmm(drawn(6), x, drawn(5, 6), beta=2)),
    "mm": ((4, 5), lambda x: x @ drawn(5, 6)),
    "bmm": ((2, 4, 5), lambda x: torch.bmm(x, x.mT)),
    "matmul": ((2, 3, 4, 5), lambda x: x @ drawn(5, 6)),
    "matmul that broadcasts": ((3, 4, 5), lambda x: drawn(2, 1, 6, 4) @ x),
    "attention": ((2, 3, 5, 4), lambda x: F.scaled_dot_product_attention(x, x.relu(), x.tanh())),
    "attention with a mask": ((2, 3, 5, 4), lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=drawn(5, 5))),
    "attention with one mask": ((2, 3, 5, 4), lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=drawn(1, 5))),
    "conv1d": ((2, 4, 5), lambda x: F.conv1d(x, drawn(6, 4, 3), drawn(6), padding=1)),
    "conv2d": ((2, 4, 5, 5), lambda x: F.conv2d(x, drawn(6, 4, 3, 3), stride=2)),
    "conv2d in groups": ((2, 6, 5, 5), lambda x: F.conv2d(x, drawn(9, 2, 3, 3), drawn(9), 1, 1, 1, 3)),
    "conv2d depthwise": ((2, 6, 5, 5), lambda x: F.conv2d(x, drawn(12, 1, 3, 3), groups=6)),
    "conv3d": ((2, 4, 3, 3, 3), lambda x: F.conv3d(x, drawn(6, 4, 2, 2, 2))),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
@given(data=st.data())
@settings(max_examples=12)
def test_on_what_is_asked_for(name: str, data: st.DataObject) -> None:
    """Of every call with a rule: any part of its result is the call on the parts that the rule asks for."""
    x, calls = traced(name)
    graph = calls.graph
    ruled = [(node, rule) for node in graph.nodes if (rule := rule_of(node)) is not None]
    assert ruled, "no call has a rule"
    returned = {}
    for node, rule in ruled:
        asked = tuple(_part(data, r) for r in whole(node))
        ranges = rule.allowed(asked)
        assert all(a is None or w is None or set(a) <= set(w) for a, w in zip(asked, ranges, strict=True))
        insert = Insert.of(graph)
        with insert.at(graph.output_node()):
            parts = [_cut(insert, given_, needed) for given_, needed in rule.inputs(ranges)]
            returned[node] = rule.again(insert, parts, ranges), ranges
    flat = [n for node, (new, _) in returned.items() for n in (node, new)]
    graph.output_node().args = (tuple(flat),)
    graph.set_codegen(torch.fx.graph.CodeGen())
    values = Interpreter(GraphModule(_Weights(calls.weights), graph)).run(x)
    for (node, (_, ranges)), expected, got in zip(returned.items(), values[::2], values[1::2], strict=True):
        cut = expected[tuple(slice(r.start, r.stop) for r in ranges if r is not None)]
        torch.testing.assert_close(
            got, cut, rtol=1e-9, atol=1e-9, msg=lambda m, node=node: f"{node.format_node()}: {m}"
        )


class _Weights(torch.nn.Module):
    def __init__(self, weights: dict[str, Any]) -> None:
        super().__init__()
        for name, value in weights.items():
            self.register_buffer(name, value)


def _part(data: st.DataObject, r: range | None) -> range | None:
    if r is None or not r:
        return r
    start = data.draw(st.integers(0, len(r) - 1))
    return range(start, data.draw(st.integers(start + 1, len(r))))


def _cut(insert: Insert, x: Any, ranges: Ranges) -> Any:
    for axis, (have, want) in enumerate(zip(whole(x), ranges, strict=True)):
        if have != want and want is not None:
            x = insert(torch.ops.aten.slice.Tensor, x, axis, want.start, want.stop)
    return x


def test_attention_to_what_came_before_needs_all() -> None:
    """Which keys a query sees depends on where it is among the others."""
    x = drawn(2, 3, 5, 4)
    net = Net(lambda m, x: F.scaled_dot_product_attention(x, x, x, is_causal=True))
    graph = unlift(functional(torch.export.export(net, (x,)))).graph
    assert [rule_of(node) for node in graph.nodes] == [None] * 3


def test_a_transposed_convolution_is_none() -> None:
    """Core ATen has one operator for both, and the weight of one has its outputs on the other axis."""
    x = drawn(2, 4, 5, 5)
    net = Net(lambda m, x: F.relu(F.conv_transpose2d(x, m.w))[:, :2], w=drawn(4, 4, 3, 3))
    core = torch.export.export(net, (x,)).run_decompositions()
    graph = unlift(core).graph
    assert [rule_of(node) for node in graph.find_nodes(op="call_function", target=aten.convolution.default)] == [None]
    result = convfold.fold(core, (x,), config=convfold.FoldConfig("macs", verify=False))
    torch.testing.assert_close(result.module(x), net(x), rtol=1e-9, atol=1e-9)


def test_every_rule_is_tried() -> None:
    """But for kinds that share one, of which some are."""
    met = set()
    for name in CALLS:
        for node in traced(name)[1].graph.nodes:
            met.add(_RULES.get(node.target) or _RULES.get(getattr(node.target, "overloadpacket", None)))
    assert {make.__qualname__ for make in _RULES.values()} <= {make.__qualname__ for make in met if make is not None}
