"""How the folded model is kept and copied: a graph module pickled as its calls, hooks and all."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_aggregate


class Folded(GraphModule):
    """A `GraphModule` that comes back from pickle and copy as it went in.

    A plain one is pickled as code and traced again when it is read, which fails where a call takes the size of another
    value in a list (``zeros([2, n, 4])``, as recurrent layers have it); and pickle and deep copy alike drop its forward
    hooks, which check the inputs, and forget which of its own buffers are not saved.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (), (self._state(), _written(self.graph))

    def __setstate__(self, saved: tuple[dict[str, Any], Any]) -> None:
        state, calls = saved
        self.__dict__.update(state)
        self.graph = _read(calls)

    def __copy__(self) -> Folded:
        new = _blank()
        new.__dict__.update(self._state())
        new.graph = self.graph
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Folded:
        new = memo[id(self)] = _blank()  # known before its hooks are copied: they refer to it
        new.__dict__.update(copy.deepcopy(self._state(), memo))
        new.graph = copy.deepcopy(self.graph)
        return new

    def _apply(self, fn: Any, recurse: bool = True) -> Folded:
        """Calls that make a tensor where the weights were make it where they are now: an index, a mask."""
        before = self._device()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        after = self._device()
        if before != after:
            for node in self.graph.nodes:
                if before is not None and node.kwargs.get("device") == before:
                    node.kwargs = {**node.kwargs, "device": after}
            self.recompile()
        return self

    def _device(self) -> torch.device | None:
        return next((t.device for t in (*self.parameters(), *self.buffers())), None)

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_graph"}


def _blank() -> Folded:
    new = Folded.__new__(Folded)
    type(new).__name__ = "Folded"  # every graph module has a class of its own
    return new


@dataclass(frozen=True)
class _Reference:
    """The value of an earlier call, by its place."""

    place: int


@dataclass(frozen=True)
class _Operator:
    """An operator by name: ``aten::conv2d``, ``default``; a higher-order one has no overload."""

    name: str
    overload: str | None

    def find(self) -> Any:
        namespace, _, name = self.name.rpartition("::")
        found = getattr(getattr(torch.ops, namespace), name)
        return found if self.overload is None else getattr(found, self.overload)


def _written(graph: Graph) -> tuple[list[Any], Any]:
    """The calls as plain data; what they would compute at the example (``meta``) is left behind."""
    places = {node: _Reference(i) for i, node in enumerate(graph.nodes)}

    def plain(a: Any) -> Any:
        return places[a] if isinstance(a, Node) else a

    rows = [
        (node.op, _named(node.target), map_aggregate(node.args, plain), map_aggregate(node.kwargs, plain), node.name)
        for node in graph.nodes
    ]
    return rows, graph._codegen


def _read(calls: tuple[list[Any], Any]) -> Graph:
    graph, nodes = Graph(), list[Node]()

    def known(a: Any) -> Any:
        return nodes[a.place] if isinstance(a, _Reference) else a

    rows, codegen = calls
    for op, target, args, kwargs, name in rows:
        found = target.find() if isinstance(target, _Operator) else target
        nodes.append(graph.create_node(op, found, map_aggregate(args, known), map_aggregate(kwargs, known), name))
    graph._codegen = codegen
    return graph


def _named(target: Any) -> Any:
    if isinstance(target, OpOverload):
        return _Operator(target._schema.name, target._overloadname)
    if isinstance(target, HigherOrderOperator):
        return _Operator(f"{target.namespace}::{target._name}", None)
    return target
