"""Composite operators as the calls that torch takes them to be: ``hstack`` is a ``cat``, ``diff`` two slices and a
difference. Only affine ones are taken apart, so that nothing else is spelled otherwise than the user did.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch._dispatch.python import enable_python_dispatcher
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.insert import Insert, value
from convfold.frontends.torch.unsure import Unsure

aten = torch.ops.aten

_NAMES = (
    "chain_matmul", "column_stack", "cumulative_trapezoid", "deg2rad", "diff", "divide",
    "dstack", "fliplr", "flipud", "hstack", "linalg_multi_dot", "multiply",
    "negative", "rad2deg", "rot90", "row_stack", "subtract",
    "trapezoid", "trapz", "true_divide", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes", "vstack",
)  # fmt: skip

#: Every overload of affine operators that torch writes in terms of others, but in place.
COMPOSED = frozenset(
    getattr(packet, which)
    for packet in (getattr(aten, name) for name in _NAMES)
    for which in packet.overloads()
    if not getattr(packet, which)._schema.is_mutable
)


def take_apart(node: Node, insert: Insert) -> None:
    """The call as its parts, in place. Raises `Unsure` where torch asks for more than sizes on the way."""
    values = map_arg((node.args, dict(node.kwargs)), lambda n: n.meta["val"])
    leaves, spec = pytree.tree_flatten(values)
    nodes = pytree.tree_leaves((node.args, node.kwargs), is_leaf=lambda x: isinstance(x, Node))
    tensors = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]

    def call(*given: Tensor) -> Any:
        args, kwargs = pytree.tree_unflatten(
            [given[tensors.index(i)] if i in tensors else x for i, x in enumerate(leaves)], spec
        )
        return node.target(*args, **kwargs)  # type: ignore[operator]

    with enable_python_dispatcher(), torch.no_grad():
        graph = make_fx(call, decomposition_table=_table())(*(leaves[i] for i in tensors)).graph
    found: dict[Node, Any] = dict(zip(graph.find_nodes(op="placeholder"), (nodes[i] for i in tensors), strict=True))
    with insert.at(node):
        for part in graph.nodes:
            if part.op == "call_function":
                found[part] = _placed(part, found, insert)
            elif part.op == "get_attr":
                raise Unsure(f"{node.target} holds numbers of its own")
    new: Any = map_arg(graph.output_node().args[0], found.__getitem__)
    if isinstance(new, Node):
        node.replace_all_uses_with(new)
    for user in list(node.users):  # takes one of several
        user.replace_all_uses_with(new[user.args[1]])
        node.graph.erase_node(user)
    node.graph.erase_node(node)


def _placed(part: Node, found: Mapping[Node, Any], insert: Insert) -> Any:
    """A call of the trace in the graph; what asks for sizes is the sizes."""
    args: Any = map_arg(part.args, found.__getitem__)
    if part.target is operator.getitem and not isinstance(args[0], Node):
        return args[0][args[1]]
    if part.target is aten.size.default:
        shape = value(args[0]).shape
        return [insert(aten.sym_size.int, args[0], i) if is_free(n) else int(n) for i, n in enumerate(shape)]
    return insert(part.target, *args, **map_arg(part.kwargs, found.__getitem__))


@cache
def _table() -> dict[Any, Callable[..., Any]]:
    """How torch itself takes those apart that are no compositions below autograd; no other."""
    table = core_aten_decompositions()
    return {target: table[target] for target in COMPOSED if target in table}
