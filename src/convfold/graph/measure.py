"""What a graph costs, by torch's own counters, without running it."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, Interpreter
from torch.utils.flop_counter import FlopCounterMode

from convfold.report import Totals

aten = torch.ops.aten

_CONVOLUTIONS = {
    aten.conv1d, aten.conv2d, aten.conv3d, aten.convolution,
    aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d,
}  # fmt: skip
_LINEARS = {aten.linear, aten.addmm}
_BATCH_NORMS = {
    aten.batch_norm, aten._native_batch_norm_legit_no_training, aten._native_batch_norm_legit, aten.native_batch_norm,
    aten._batch_norm_no_update,
}  # fmt: skip
#: Calls that move no data and compute nothing.
_FREE = {operator.getitem, aten.sym_size.int}


def measure(graph: Graph, weights: Callable[[str], Any], inputs: tuple[Any, ...]) -> Totals:
    """Multiply-adds (half of `FlopCounterMode`'s operations), parameters and calls; ``inputs`` are the leaves."""
    packets = Counter(packet(n.target) for n in graph.nodes if n.op == "call_function" and n.target not in _FREE)
    read = {
        id(w): w for n in graph.nodes if n.op == "get_attr" and n.users and (w := weights(str(n.target))) is not None
    }
    return Totals(
        macs=_macs(graph, weights, inputs),
        params=sum(w.numel() for w in read.values() if isinstance(w, nn.Parameter)),
        ops=sum(packets.values()),
        layers=sum(packets[p] for p in _CONVOLUTIONS | _LINEARS),
        batch_norms=sum(packets[p] for p in _BATCH_NORMS),
    )


def packet(target: Any) -> Any:
    """An overload's operator."""
    return getattr(target, "overloadpacket", target)


class _Run(Interpreter):
    """The calls one by one, weights looked up by path: no code is generated."""

    def __init__(self, graph: Graph, weights: Callable[[str], Any]) -> None:
        super().__init__(nn.Module(), graph=graph)
        self.weights = weights

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        weight = self.weights(str(target))
        return weight.detach() if isinstance(weight, Tensor) else weight  # the counter hooks what wants a gradient


def _macs(graph: Graph, weights: Callable[[str], Any], inputs: tuple[Any, ...]) -> int:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    fake = [mode.from_tensor(x) if isinstance(x, Tensor) else x for x in inputs]
    with mode, torch.no_grad(), FlopCounterMode(display=False) as counter:
        _Run(graph, weights).run(*fake, enable_io_processing=False)
    return int(counter.get_total_flops()) // 2
