"""Which calls return a view, how it is read off its base anew, and how the base changes when it is written into."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.insert import Insert, value
from convfold.frontends.torch.respell import DROPOUTS, drops_nothing
from convfold.frontends.torch.unsure import Unsure

aten = torch.ops.aten


@dataclass(frozen=True)
class View:
    """A part of another value, or all of it in another shape."""

    base: Node
    read: Callable[[Insert, Node], Node]  # base → view
    written: Callable[[Insert, Node, Node], Node]  # base, the view's new value → base with that in it


def view(node: Node) -> View | None:
    """None for values of their own, and for views that are not known here."""
    if node.target is operator.getitem:
        return _part(node)
    base = node.args[0] if node.args else None
    if not isinstance(base, Node) or node.target not in _WRITTEN:
        return None
    if node.target in DROPOUTS and not drops_nothing(node):
        return None
    if node.target is aten.reshape.default and storage(value(node)) != storage(value(base)):
        return None  # the example's strides wanted a copy
    return View(base, _again(node), _WRITTEN[node.target](node))


def storage(t: Tensor) -> int:
    """What is the same for two values of a trace that share memory."""
    if t.layout is not torch.strided:
        raise Unsure("a sparse tensor")
    found: int = t.untyped_storage()._cdata
    return found


Written = Callable[[Insert, Node, Node], Node]


def same(base: Node) -> View:
    """All of another value, as it is."""
    return View(base, lambda insert, x: x, lambda insert, x, new: new)


def _again(node: Node) -> Callable[[Insert, Node], Node]:
    target, rest, kwargs = node.target, node.args[1:], node.kwargs
    return lambda insert, x: insert(target, x, *rest, **kwargs)


def _unknown(node: Node) -> Written:
    def refuse(insert: Insert, x: Node, new: Node) -> Node:
        raise Unsure(f"{node.target} is written into")

    return refuse


def _all(node: Node) -> Written:
    return lambda insert, x, new: new


def _reshaped(node: Node) -> Written:
    return lambda insert, x, new: insert(aten.reshape.default, new, insert.sizes(new, value(x).shape))


def _scattered(target: Any) -> Callable[[Node], Written]:
    def rule(node: Node) -> Written:
        rest, kwargs = node.args[1:], node.kwargs
        return lambda insert, x, new: insert(target, x, new, *rest, **kwargs)

    return rule


def _permuted(node: Node) -> Written:
    order = node.args[1]
    assert isinstance(order, list | tuple)
    dims = [int(i) % len(order) for i in order]  # type: ignore[arg-type]
    back = [dims.index(i) for i in range(len(dims))]
    return lambda insert, x, new: insert(aten.permute.default, new, back)


def _transposed(node: Node) -> Written:
    target, rest = node.target, node.args[1:]
    return lambda insert, x, new: insert(target, new, *rest)


def _expanded(node: Node) -> Written:
    base = node.args[0]
    assert isinstance(base, Node)
    return _all(node) if shape(value(base)) == shape(value(node)) else _unknown(node)


def shape(t: Tensor) -> tuple[Any, ...]:
    return tuple(n.node.expr if is_free(n) else int(n) for n in t.shape)


#: By the operator of a view: how its base is written through it.
_WRITTEN: dict[Any, Callable[[Node], Written]] = {
    **dict.fromkeys((aten.alias.default, aten.detach.default, aten.lift_fresh.default, *DROPOUTS), _all),
    **dict.fromkeys(
        (
            aten.view.default,
            aten._unsafe_view.default,
            aten.reshape.default,
            aten.squeeze.default,
            aten.squeeze.dim,
            aten.squeeze.dims,
            aten.unsqueeze.default,
        ),
        _reshaped,
    ),
    aten.select.int: _scattered(aten.select_scatter.default),
    aten.slice.Tensor: _scattered(aten.slice_scatter.default),
    aten.diagonal.default: _scattered(aten.diagonal_scatter.default),
    aten.permute.default: _permuted,
    aten.transpose.int: _transposed,
    aten.t.default: _transposed,
    aten.expand.default: _expanded,
    **dict.fromkeys(
        (
            aten.as_strided.default,
            aten.unfold.default,
            aten.view.dtype,
            aten.view_as_complex.default,
            aten.view_as_real.default,
        ),
        _unknown,
    ),
}


def _part(node: Node) -> View | None:
    """One of the parts a value was split into."""
    whole, i = node.args
    assert isinstance(whole, Node)
    if whole.target not in SPLITS:
        return None
    base = whole.args[0]
    assert isinstance(base, Node) and isinstance(i, int)
    parts = whole.meta["val"]
    dim = whole.args[SPLITS[whole.target]] if len(whole.args) > SPLITS[whole.target] else 0
    i %= len(parts)
    if whole.target is aten.unbind.int:
        target, where = aten.select.int, [dim, i]
    else:
        sizes = [t.shape[dim] for t in parts]
        if any(is_free(n) for n in sizes):
            raise Unsure("a split along a size that may change")
        start = sum(int(n) for n in sizes[:i])
        target, where = aten.slice.Tensor, [dim, start, start + int(sizes[i])]
    scatter = aten.select_scatter.default if target is aten.select.int else aten.slice_scatter.default
    return View(
        base,
        lambda insert, x: insert(target, x, *where),
        lambda insert, x, new: insert(scatter, x, new, *where),
    )


#: Position of the axis among the arguments.
SPLITS = {aten.split.Tensor: 2, aten.split_with_sizes.default: 2, aten.unbind.int: 1}
