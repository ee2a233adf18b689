"""What a graph costs, by torch's own counters, without running it: shapes are those it was exported with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator, OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, Node
from torch.fx.node import map_aggregate
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from convfold.totals import Totals

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
#: Composed of others, none of which the counter knows.
_NEVER_MULTIPLY = {
    aten.reshape, aten.batch_norm, aten.layer_norm, aten.group_norm, aten.instance_norm, aten.rms_norm, aten.dropout,
    aten.adaptive_avg_pool1d, aten.adaptive_avg_pool2d, aten.adaptive_avg_pool3d, aten.pad, aten.softmax,
    aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d, aten.upsample_linear1d,
    aten.upsample_bilinear2d, aten.upsample_bicubic2d, aten.upsample_trilinear3d,
}  # fmt: skip
#: A size, perhaps symbolic, at the example.
Number = Callable[[Any], int]


def measure(graph: Graph, weights: Callable[[str], Any], number: Number) -> Totals:
    """Multiply-adds (half of `FlopCounterMode`'s operations), parameters and calls at the example's sizes."""
    packets = Counter(packet(n.target) for n in graph.nodes if n.op == "call_function" and _computes(n.target))
    read = {
        id(w): w for n in graph.nodes if n.op == "get_attr" and n.users and (w := weights(str(n.target))) is not None
    }
    return Totals(
        macs=_Counting(weights, number).macs(graph),
        params=sum(w.numel() for w in read.values() if isinstance(w, nn.Parameter)),
        ops=sum(packets.values()),
        layers=sum(packets[p] for p in _CONVOLUTIONS | _LINEARS),
        batch_norms=sum(packets[p] for p in _BATCH_NORMS),
    )


def _computes(target: Any) -> bool:
    """Is it a call on tensors? Asking for a size is none, nor is arithmetic with sizes."""
    return isinstance(target, OpOverload | HigherOrderOperator) and target is not aten.sym_size.int


def packet(target: Any) -> Any:
    """An overload's operator."""
    return getattr(target, "overloadpacket", target)


class _Counting:
    """Calls that may multiply are run on tensors without data, each kind once; so are those whose shape is unknown."""

    def __init__(self, weights: Callable[[str], Any], number: Number) -> None:
        self.weights, self.number = weights, number
        self.values: dict[Node, Any] = {}
        self.known: dict[object, tuple[int, Any]] = {}

    def macs(self, graph: Graph) -> int:
        total = 0
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), FlopCounterMode(display=False) as counter:
            for node in graph.nodes:
                if node.op == "call_function":
                    total += self._flops(node, counter)
        return total // 2

    def _flops(self, node: Node, counter: FlopCounterMode) -> int:
        exported = "val" in node.meta
        if exported and not _may_multiply(node.target):
            return 0
        given = (node.args, dict(node.kwargs))
        key = (node.target, self._described(given))
        if key not in self.known:
            args, kwargs = map_aggregate(given, self._value)
            before = counter.get_total_flops()
            try:
                result = node.target(*args, **kwargs)  # type: ignore[operator]
            except (RuntimeError, NotImplementedError):
                if not exported:
                    raise
                result = None  # it needs data to run: torch's counter has nothing to say of it
            self.known[key] = (counter.get_total_flops() - before, result)
        flops, result = self.known[key]
        if not exported:
            self.values[node] = result
        return flops

    def _described(self, a: Any) -> object:
        """An argument as something to compare."""
        if isinstance(a, Node):
            return self._described(self.values[a] if a in self.values else self._exported(a))
        if isinstance(a, Tensor):
            return (*(tuple(map(self.number, sizes)) for sizes in (a.shape, a.stride())), a.dtype)
        if isinstance(a, list | tuple):
            return tuple(map(self._described, a))
        if isinstance(a, dict):
            return tuple((key, self._described(value)) for key, value in a.items())
        return self.number(a) if isinstance(a, torch.SymInt) else a

    def _exported(self, node: Node) -> Any:
        return node.meta["val"] if "val" in node.meta else self.weights(str(node.target))

    def _value(self, a: Any) -> Any:
        """An argument to call with: tensors of their shape at the example, without data."""
        if not isinstance(a, Node):
            return a
        if a not in self.values:
            self.values[a] = pytree.tree_map(self._emptied, self._exported(a))
        return self.values[a]

    def _emptied(self, x: Any) -> Any:
        if isinstance(x, Tensor):
            shape, strides = (tuple(map(self.number, sizes)) for sizes in (x.shape, x.stride()))
            return torch.empty_strided(shape, strides, dtype=x.dtype, device=x.device)
        return self.number(x) if isinstance(x, torch.SymInt) else x


def _may_multiply(target: Any) -> bool:
    """Does the counter know the call, or may it be composed of such?"""
    if not isinstance(target, OpOverload) or target.overloadpacket in _NEVER_MULTIPLY:
        return False
    return target.overloadpacket in flop_registry or torch._C._dispatch_has_kernel_for_dispatch_key(
        target.name(), torch._C.DispatchKey.CompositeImplicitAutograd
    )
