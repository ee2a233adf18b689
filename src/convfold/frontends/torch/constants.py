"""Values of a graph that do not depend on its inputs: weights, and whatever is computed from weights alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from convfold.errors import NotFoldable
from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.running.precision import cast, computing_in
from convfold.frontends.torch.sizes import symbol
from convfold.frontends.torch.unlift import Calls

#: Calls that fill a tensor with one number: that number, or where from the end it stands among the arguments.
_FILLED = {
    "zeros": 0, "zeros_like": 0, "new_zeros": 0, "ones": 1, "ones_like": 1, "new_ones": 1,
    "full": -1, "full_like": -1, "new_full": -1,
}  # fmt: skip


class Constants:
    """Which nodes are constant, and their content; computed ones are evaluated in float64, on demand, once.

    Weight standardisation, parametrisations and LoRA products are such; so is a frozen batch norm's scale.
    """

    def __init__(self, calls: Calls, differentiable: bool = False) -> None:
        self.weights, self.differentiable = calls.weights, differentiable
        self._content: dict[Node, Any] = {}
        self._constant: set[Node] = set()
        written = {node.args[0] for node in calls.graph.nodes if node.op == "call_function" and writes(node)}
        for node in calls.graph.nodes:
            if (node.op == "get_attr" and node not in written) or (
                node.op == "call_function"
                and all(a in self._constant for a in node.all_input_nodes)
                and not writes(node)
                and not _varies(node)
            ):
                self._constant.add(node)
        self._broadcast: dict[Node, Callable[[], Tensor]] = {}
        for node in calls.graph.nodes:
            if (content := self._broadcast_by(node)) is not None:
                self._broadcast[node] = content

    def __contains__(self, node: object) -> bool:
        return node in self._constant

    def __getitem__(self, node: Node) -> Tensor:
        """What a constant is. Raises `NotFoldable` where that is not to be computed: quantised, sparse."""
        if node not in self._content:
            if node.op == "get_attr":
                self._content[node] = self.weights[str(node.target)]
            else:
                _refuse_quantised(node)
                self._content[node] = self._evaluated(node)
        content = self._content[node]
        if isinstance(content, Tensor) and content.layout is not torch.strided:
            raise NotFoldable("not-affine", f"{node.name} is a sparse tensor")
        return content  # type: ignore[no-any-return]

    def broadcast(self, node: Node) -> Callable[[], Tensor] | None:
        """What a constant is; of one of floating point as large as sizes that are free say, one along those axes.

        So are expanded, repeated, permuted and cut ones, those that are one number everywhere, and what is computed of
        them number by number. None of what is not constant.
        """
        return (lambda: self[node]) if node in self else self._broadcast.get(node)

    def _broadcast_by(self, node: Node) -> Callable[[], Tensor] | None:
        """By its call, of inputs that are known to be such or not."""
        if node in self:
            return None
        t = node.meta.get("val")
        if node.op != "call_function" or not isinstance(t, Tensor) or not t.dtype.is_floating_point:
            return None
        name = str(node.target).removeprefix("aten.").rpartition(".")[0]
        if name in _FILLED:
            at = _FILLED[name]
            number: Any = node.args[at] if at < 0 else at
            return None if isinstance(number, Node) else lambda: torch.tensor(number, dtype=t.dtype, device=t.device)
        if torch.Tag.pointwise in getattr(node.target, "tags", ()) and not _varies(node):
            parts = {a: self.broadcast(a) for a in node.all_input_nodes}
            known = all(part is not None for part in parts.values())
            return (lambda: self._evaluated(node, lambda a: parts[a]())) if known else None  # type: ignore[misc]
        if name not in ("expand", "repeat", "to", "_to_copy", "transpose", "permute", "slice"):
            return None
        x, sizes = node.args[0], node.args[1] if len(node.args) > 1 else ()
        assert isinstance(x, Node)
        content = self.broadcast(x)
        if name in ("expand", "to", "_to_copy") or content is None:
            return content
        before = [1 if is_free(n) else int(n) for n in x.meta["val"].shape]
        if name == "slice" and is_free(t.shape[axis := _axis(node)]):
            return content if symbol(t.shape[axis]) == symbol(x.meta["val"].shape[axis]) else None
        if name == "slice" and len(node.all_input_nodes) > 1:
            return None
        if name != "repeat":
            return lambda: node.target(content().expand(before), *node.args[1:])  # type: ignore[operator]
        assert isinstance(sizes, Sequence)
        lengths = [*(1,) * (len(sizes) - len(before)), *before]
        if any(n != 1 and not isinstance(times, int) for n, times in zip(lengths, sizes, strict=True)):
            return None
        times = [n if isinstance(n, int) else 1 for n in sizes]
        return lambda: content().expand(before).repeat(times)

    def _evaluated(self, node: Node, content: Callable[[Node], Any] | None = None) -> Any:
        # Cast before autograd sees them: below it, backward would be given another type than it has kept.
        args, kwargs = cast(map_arg((node.args, dict(node.kwargs)), content or self.__getitem__), torch.float64)
        try:
            with torch.set_grad_enabled(self.differentiable), computing_in(torch.float64):
                return node.target(*args, **kwargs)  # type: ignore[operator]
        except (RuntimeError, TypeError) as e:  # NotImplementedError is a RuntimeError
            why = str(e).strip().partition("\n")[0][:100]
            raise NotFoldable("not-affine", f"{node.target} on weights does not run in float64: {why}") from e

    def read_by(self, node: Node) -> dict[str, Tensor]:
        """The weights by name that the constant inputs of a call are, or are computed from."""
        found: dict[str, Tensor] = {}
        todo, seen = [a for a in node.all_input_nodes if a in self._constant], set[Node]()
        while todo:
            a = todo.pop()
            if a not in seen:  # what weights are computed from may be shared, 2^n times
                seen.add(a)
                if a.op == "get_attr":
                    found[str(a.target)] = self.weights[str(a.target)]
                todo.extend(a.all_input_nodes)
        return found

    def requires_grad(self, node: Node) -> bool:
        """Does any weight it is computed from require a gradient?"""
        if node.op == "get_attr":
            return bool(getattr(self[node], "requires_grad", False))
        return any(self.requires_grad(a) for a in node.all_input_nodes)


def _axis(node: Node) -> int:
    """That a slice is along."""
    axis = node.args[1] if len(node.args) > 1 else 0
    assert isinstance(axis, int)
    return axis


def _refuse_quantised(node: Node) -> None:
    """A weight stored in eight bits and widened where it is used: composed with others it would be stored wide."""
    out = node.meta.get("val")
    if not isinstance(out, Tensor) or not out.is_floating_point() or out.itemsize == 1:
        return
    for a in node.all_input_nodes:
        t = a.meta.get("val")
        if isinstance(t, Tensor) and t.itemsize == 1 and t.dtype != torch.bool:
            raise NotFoldable("quantised", f"{a.name} is stored as {str(t.dtype)[6:]}")


def writes(node: Node) -> bool:
    """Does it write into an argument? A buffer that every call updates is no constant."""
    schema = getattr(node.target, "_schema", None)
    return bool(schema and schema.is_mutable)


def _varies(node: Node) -> bool:
    """Random numbers, or memory as it is found: not the same every time."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) or "empty" in str(node.target)
