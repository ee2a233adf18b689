"""New calls in an exported graph, each with what it computes at the example, as if it had been traced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.unsure import Unsure

aten = torch.ops.aten

#: What else a call knows of the line it comes from.
_ORIGIN = ("nn_module_stack", "stack_trace", "torch_fn", "source_fn_stack", "custom")


def origin(node: Node) -> dict[str, Any]:
    """What a call in place of another one takes over from it."""
    return {key: node.meta[key] for key in _ORIGIN if key in node.meta}


class Insert:
    """Calls written where, and in the name of, another one: ``with insert.at(node): insert(target, x)``."""

    def __init__(self, graph: Graph, mode: FakeTensorMode | None) -> None:
        self.graph, self.mode = graph, mode
        self.origin: dict[str, Any] = {}

    @classmethod
    def of(cls, graph: Graph) -> Insert:
        """In the mode that a traced graph's values are of."""
        vals = (node.meta.get("val") for node in graph.nodes)
        return cls(graph, next((val.fake_mode for val in vals if isinstance(val, FakeTensor)), None))

    @contextmanager
    def at(self, node: Node) -> Iterator[None]:
        self.origin = origin(node)
        with self.graph.inserting_before(node):
            yield

    def __call__(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        found = self.computed(target, args, kwargs)
        node = self.graph.call_function(target, args, kwargs)
        node.meta.update(self.origin, val=found)
        return node

    def computed(self, target: Any, args: Any, kwargs: Any) -> Any:
        """What a call computes at the example. Raises `Unsure` where that is not known."""
        if self.mode is None:
            raise Unsure("the program has no values to infer others from")
        given = map_arg((args, kwargs), _known)
        try:
            with self.mode, enable_python_dispatcher(), torch.no_grad():  # else some pin sizes that are free
                return target(*given[0], **given[1])
        except RuntimeError as e:  # sizes that are known at run time only
            raise Unsure(f"{target} at the example: {e}") from e

    def sizes(self, of: Node, shape: Sequence[Any]) -> list[int | Node]:
        """A shape as what a reshape of a value takes: numbers, one −1 where one size is free, else sizes it asks for.

        Raises `Unsure` where several sizes are free and one is not among the value's own.
        """
        free = [i for i, n in enumerate(shape) if is_free(n)]
        if len(free) == 1 and 0 not in [n for n in shape if not is_free(n)]:
            return [-1 if is_free(n) else int(n) for n in shape]
        return [self._size(of, n) if is_free(n) else int(n) for n in shape]

    def _size(self, of: Node, n: torch.SymInt) -> Node:
        for i, m in enumerate(value(of).shape):
            if is_free(m) and m.node.expr == n.node.expr:
                return self(aten.sym_size.int, of, i)
        raise Unsure(f"size {n} is not among those of {of.name}")


def _known(node: Node) -> Any:
    if "val" not in node.meta:
        raise Unsure(f"{node.name} is not known")
    return node.meta["val"]


def value(node: Node) -> Tensor:
    found = node.meta.get("val")
    if not isinstance(found, Tensor):
        raise Unsure(f"{node.name} is no tensor")
    return found
