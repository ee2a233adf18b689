"""Batch norms and scales a folded graph could still lose: an independent check, by the rule below and nothing else.

A *scale* is an eval-mode batch norm, or ``mul, div, add, sub, addcmul`` of a signal with constants that differ along
at most one axis, its channels. It is *legal* where it could be absorbed exactly, at no cost, by a neighbour:

- into its producer: a convolution, linear or scale that it alone reads (the rows of that weight and its bias), or
- into its readers: all of them are convolutions or linears (the columns of their weights). A shift passes only where
  none of them pads and none is transposed: next to zeros it would not be one bias a channel.

Between the two there may be views and permutes that keep the channel axis whole. Constants are parameters, buffers,
numbers and what is computed from them, a tensor of ones included. Sums with another signal, activations and everything
else stop the walk. A call of constants alone is counted as *constant*: it gives the same in every run.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

aten = torch.ops.aten

_CONVOLUTIONS = {
    aten.conv1d, aten.conv2d, aten.conv3d, aten.convolution,
    aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d,
}  # fmt: skip
_TRANSPOSED = {aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d}
_LAYERS = {*_CONVOLUTIONS, aten.linear}
_NORMS = {aten.batch_norm, aten._native_batch_norm_legit_no_training, aten._batch_norm_no_update}
_ARITHMETIC = {aten.mul: False, aten.div: False, aten.add: True, aten.sub: True, aten.addcmul: True}  # does it shift?
_LAYOUTS = {
    aten.view, aten.reshape, aten._unsafe_view, aten.permute, aten.transpose, aten.t, aten.flatten, aten.unflatten,
    aten.squeeze, aten.unsqueeze, aten.clone, aten.contiguous,
}  # fmt: skip


@dataclass(frozen=True)
class Leftover:
    """Names of the calls, by what is left of them."""

    norms: tuple[str, ...]  # legal batch norms
    scales: tuple[str, ...]  # legal arithmetic
    constant: tuple[str, ...]


def leftover(module: GraphModule, args: tuple[Any, ...]) -> Leftover:
    """What could still go, at these inputs' sizes."""
    graph = _Graph(module, args)
    legal = [n for n in module.graph.nodes if graph.is_legal(n)]
    norms = tuple(n.name for n in legal if _packet(n) in _NORMS)
    scales = tuple(n.name for n in legal if _packet(n) not in _NORMS)
    return Leftover(norms, scales, tuple(n.name for n in graph.constant if n.op == "call_function"))


class _Graph:
    def __init__(self, module: GraphModule, args: tuple[Any, ...]) -> None:
        self.shapes = _Shapes(module)
        with torch.no_grad():
            self.shapes.run(*args)
        self.constant: dict[Node, None] = {}
        for n in module.graph.nodes:
            if n.op == "get_attr" or (n.op == "call_function" and all(a in self.constant for a in n.all_input_nodes)):
                self.constant[n] = None

    def is_legal(self, node: Node) -> bool:
        if node in self.constant or (signal := self._scaled(node)) is None:
            return False
        axis = self._axis(node)
        return self._into_producer(node, signal, axis) or self._into_readers(node, axis)

    def _shape(self, node: Node) -> tuple[int, ...]:
        return self.shapes.of.get(node, ())

    def _scaled(self, node: Node) -> Node | None:
        """The signal a call scales, if it is a scale."""
        if _packet(node) in _NORMS:
            return node.args[0]  # type: ignore[return-value]
        if _packet(node) not in _ARITHMETIC:
            return None
        signals = [a for a in node.all_input_nodes if a not in self.constant]
        if len(signals) != 1 or self._axes_of_constants(node) is None or self._shape(signals[0]) != self._shape(node):
            return None
        if _packet(node) is aten.div and node.args[0] is not signals[0]:
            return None
        return signals[0] if sum(a is signals[0] for a in node.args) == 1 else None

    def _axes_of_constants(self, node: Node) -> set[int] | None:
        """Axes along which the constants differ; None for more than one."""
        rank = len(self._shape(node))
        axes = {
            i + rank - len(self._shape(a))
            for a in node.all_input_nodes if a in self.constant
            for i, n in enumerate(self._shape(a)) if n > 1
        }  # fmt: skip
        return axes if len(axes) <= 1 else None

    def _axis(self, node: Node) -> int | None:
        """The axis a scale's constants run along; None where it is one number for all."""
        if _packet(node) in _NORMS:
            return 1
        return next(iter(self._axes_of_constants(node) or ()), None)

    def _channels(self, layer: Node) -> int:
        """The channel axis of a convolution or linear, the same in its input and output."""
        return 1 if _packet(layer) in _CONVOLUTIONS else len(self._shape(layer)) - 1

    def _into_producer(self, node: Node, at: Node, axis: int | None) -> bool:
        reader = node
        while True:
            if set(at.users) != {reader}:
                return False
            if _packet(at) in _LAYERS:
                return axis in (None, self._channels(at))
            if at.target is operator.getitem:
                pass
            elif self._scaled(at) is not None:
                return axis is None or self._axis(at) in (None, axis)
            elif _packet(at) in _LAYOUTS:
                before = self._shape(at.all_input_nodes[0])
                if axis is not None and (axis := _moved(at, self._shape(at), before, axis)) is None:
                    return False
            else:
                return False
            reader, at = at, at.all_input_nodes[0]

    def _into_readers(self, node: Node, axis: int | None) -> bool:
        shifts = _packet(node) in _NORMS or _ARITHMETIC[_packet(node)]
        found = list(self._readers(node, axis))
        return bool(found) and all(r is not None and not (shifts and _pads(r)) for r in found)

    def _readers(self, node: Node, axis: int | None) -> Iterator[Node | None]:
        """Convolutions and linears behind it; None for anything else."""
        for user in node.users:
            if user.target is operator.getitem:
                yield from self._readers(user, axis)
            elif _packet(user) in _LAYOUTS:
                ahead = None
                if axis is not None:
                    ahead = _ahead(user, self._shape(node), self._shape(user), axis)
                    if ahead is None:
                        yield None
                        continue
                yield from self._readers(user, ahead)
            elif _packet(user) in _LAYERS and user.args[0] is node and axis in (None, self._channels(user)):
                yield user
            else:
                yield None


class _Shapes(Interpreter):
    """Runs the module and keeps the shape of every tensor."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.of: dict[Node, tuple[int, ...]] = {}

    def run_node(self, n: Node) -> Any:
        y = super().run_node(n)
        if isinstance(y, Tensor):
            self.of[n] = tuple(y.shape)
        elif isinstance(y, tuple | list) and y and isinstance(y[0], Tensor):
            self.of[n] = tuple(y[0].shape)
        return y


def _packet(node: Node) -> Any:
    return getattr(node.target, "overloadpacket", node.target)


def _pads(node: Node) -> bool:
    """Does it read zeros beside its input, or is it transposed?"""
    if _packet(node) is aten.linear:
        return False
    if _packet(node) in _TRANSPOSED or (_packet(node) is aten.convolution and node.args[6]):
        return True
    padding: Any = node.args[4] if len(node.args) > 4 else 0
    return any(padding) if isinstance(padding, list | tuple) else bool(padding)


def _moved(layout: Node, after: tuple[int, ...], before: tuple[int, ...], axis: int) -> int | None:
    """Where the axis ``axis`` behind a layout comes from; None if it is not one whole axis there."""
    if (order := _order(layout, len(before))) is not None:
        return order[axis]
    return _same(after, before, axis)


def _ahead(layout: Node, before: tuple[int, ...], after: tuple[int, ...], axis: int) -> int | None:
    """Where an axis goes."""
    if (order := _order(layout, len(before))) is not None:
        return order.index(axis)
    return _same(before, after, axis)


def _order(layout: Node, rank: int) -> list[int] | None:
    """Which axis each axis behind it was; None for a view."""
    order = list(range(rank))
    match _packet(layout), layout.args[1:]:
        case aten.permute, (given,):
            return [i % rank for i in given]  # type: ignore[union-attr,operator,misc]
        case aten.transpose, (a, b):
            order[a], order[b] = order[b], order[a]  # type: ignore[index]
            return order
        case aten.t, ():
            return order[::-1]
    return None


def _same(here: tuple[int, ...], there: tuple[int, ...], axis: int) -> int | None:
    """The axis of the same length with as many elements before it; others split or join it."""
    for i, n in enumerate(there):
        if n == here[axis] and prod(there[:i]) == prod(here[:axis]):
            return i
    return None
