"""Make an exported graph plain before it is lifted: views that take any strides, sizes asked of the inputs alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

from convfold.frontends.torch.free import is_free

aten = torch.ops.aten

_VIEWS = {aten.view.default, aten._unsafe_view.default}
_ASSERTIONS = {aten._assert_tensor_metadata.default}
#: Calls that ask a value for its type and device (and shape) only, and the call that needs no value for it.
_NEW = {
    aten.new_zeros.default: aten.zeros.default,
    aten.new_ones.default: aten.ones.default,
    aten.new_full.default: aten.full.default,
}
_LIKE = {
    aten.zeros_like.default: aten.zeros.default,
    aten.ones_like.default: aten.ones.default,
    aten.full_like.default: aten.full.default,
}


def normalise(graph: Graph) -> None:
    """In place, changing no value.

    Asking a value for its size or type is not using it, nor is asserting it: neither may keep it from being folded.
    """
    sizes = _sizes_of_inputs(graph)
    for node in list(graph.nodes):
        if node.target in _VIEWS:  # a view wants the strides it was traced with; a reshape takes what it is given
            node.target = aten.reshape.default
        elif node.target in _ASSERTIONS:
            graph.erase_node(node)
        elif "val" not in node.meta:  # new, and not known at all sizes
            continue
        elif node.target is aten.expand.default:
            _keeping(node)
        elif node.target is aten.type_as.default:
            _cast(node)
        elif node.target in _NEW:
            _created(node, _NEW[node.target], list(node.args[1:]))
        elif node.target in _LIKE:
            if (shape := _shape(graph, node, sizes)) is not None:
                _created(node, _LIKE[node.target], [shape, *node.args[1:]])
        elif node.target is aten.sym_size.int:
            value = node.meta.get("val")
            source = sizes.get(value.node.expr) if is_free(value) else None
            if source is not None and source[0] is not node.args[0]:
                node.args = source
                _to_front(graph, node)


def _cast(node: Node) -> None:
    """type_as(x, y) → x as y's type, or x itself."""
    x, out = node.args[0], node.meta["val"]
    assert isinstance(x, Node)
    if x.meta["val"].device != out.device:
        return
    if x.meta["val"].dtype == out.dtype:
        node.replace_all_uses_with(x)
    else:
        node.target, node.args, node.kwargs = aten._to_copy.default, (x,), {"dtype": out.dtype}


def _keeping(node: Node) -> None:
    """expand(x, shape) with −1 for every axis that stays as long as it is: it then takes any number of channels."""
    x, sizes = node.args[0], node.args[1]
    assert isinstance(x, Node) and isinstance(sizes, list | tuple)
    before, after = x.meta["val"].shape, node.meta["val"].shape
    if len(before) == len(after):
        kept = [-1 if _same(n, m) else size for n, m, size in zip(before, after, sizes, strict=True)]
        node.args = (x, kept, *node.args[2:])


def _same(n: Any, m: Any) -> bool:
    """Are two sizes equal at every example?"""
    return (n.node.expr if is_free(n) else int(n)) == (m.node.expr if is_free(m) else int(m))


def _created(node: Node, target: Any, args: list[Any]) -> None:
    out = node.meta["val"]
    node.target, node.args, node.kwargs = target, tuple(args), {"dtype": out.dtype, "device": out.device}


def _shape(graph: Graph, node: Node, sizes: dict[Any, tuple[Node, int]]) -> list[Any] | None:
    """A value's shape in numbers and sizes of inputs; None where it takes more than that, or strides matter."""
    out = node.meta["val"]
    if not out.is_contiguous() or any(is_free(n) and n.node.expr not in sizes for n in out.shape):
        return None
    shape: list[Any] = []
    for n in out.shape:
        if is_free(n):
            with graph.inserting_before(node):
                shape.append(graph.call_function(aten.sym_size.int, sizes[n.node.expr]))
            shape[-1].meta["val"] = n
        else:
            shape.append(int(n))
    return shape


def _sizes_of_inputs(graph: Graph) -> dict[Any, tuple[Node, int]]:
    """Symbol → the input and dimension it is the size of."""
    found: dict[Any, tuple[Node, int]] = {}
    for node in graph.nodes:
        if node.op == "placeholder" and isinstance(t := node.meta.get("val"), Tensor):
            for i, n in enumerate(t.shape):
                if is_free(n):
                    found.setdefault(n.node.expr, (node, i))
    return found


def _to_front(graph: Graph, node: Node) -> None:
    """Behind the last placeholder, where everything that may need it follows."""
    last = [n for n in graph.nodes if n.op == "placeholder"][-1]
    if node.prev is not last:
        last.append(node)


def sweep(graph: Graph) -> None:
    """Drop what nothing reads any more."""
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)
