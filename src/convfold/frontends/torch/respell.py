"""Composite operators in terms of the few that the rest understands, as tracing below autograd would spell them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._ops import OpOverload
from torch.fx import Graph, Node

from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.insert import Insert, value
from convfold.frontends.torch.parts import COMPOSED, take_apart
from convfold.frontends.torch.unsure import Unsure

aten = torch.ops.aten

DROPOUTS = {
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.alpha_dropout.default,
    aten.feature_alpha_dropout.default,
}
_IN_PLACE_DROPOUTS = {
    aten.dropout_.default: aten.dropout.default,
    aten.feature_dropout_.default: aten.feature_dropout.default,
    aten.alpha_dropout_.default: aten.alpha_dropout.default,
    aten.feature_alpha_dropout_.default: aten.feature_alpha_dropout.default,
}
#: Composite, and understood or left alone as they are.
_KEPT = {aten.reshape.default}


def respell(node: Node, insert: Insert) -> None:
    """Write a call otherwise, in place. Raises `Unsure` for a composite operator that is not known here."""
    if node.target in _SPELLINGS:
        with insert.at(node):
            _SPELLINGS[node.target](node, insert)
    elif node.target in COMPOSED:
        take_apart(node, insert)
    elif node.target not in _KEPT and _may_be_view(node.target):
        raise Unsure(f"{node.target} may return a view")


def without_dropout(graph: Graph) -> None:
    """Dropout that drops nothing returns its input."""
    for node in list(graph.nodes):
        if node.target in DROPOUTS and drops_nothing(node):
            _replace(node, node.args[0])


def drops_nothing(node: Node) -> bool:
    _, probability, training = node.args
    return training is False or (isinstance(probability, int | float) and probability == 0)


def _may_be_view(target: Any) -> bool:
    return (
        isinstance(target, OpOverload)
        and any(a.alias_info is not None for a in target._schema.arguments)
        and not target._schema.is_mutable
        and target.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd)
    )


def _replace(node: Node, new: Any) -> None:
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)


def _become(node: Node, target: Any, *args: Any, **kwargs: Any) -> None:
    node.target, node.args, node.kwargs = target, args, kwargs


def _asserted(node: Node, insert: Insert) -> None:
    node.graph.erase_node(node)


def _copied(node: Node, insert: Insert) -> None:
    _become(node, aten.clone.default, node.args[0])


def _dropped(node: Node, insert: Insert) -> None:
    if not drops_nothing(node):
        raise Unsure("dropout in training mode, in place")
    node.target = _IN_PLACE_DROPOUTS[node.target]  # type: ignore[index]


def _contiguous(node: Node, insert: Insert) -> None:
    x = node.args[0]
    assert isinstance(x, Node)
    layout: Any = node.kwargs.get("memory_format", torch.contiguous_format)
    if value(x).is_contiguous(memory_format=layout):
        _replace(node, x)
    else:
        _become(node, aten.clone.default, x, memory_format=layout)


def _to(node: Node, insert: Insert) -> None:
    """x itself where it has the type and device already, as long as no copy is asked for."""
    x, target = node.args[0], node.target
    assert isinstance(x, Node) and isinstance(target, OpOverload)
    given = dict(zip([a.name for a in target._schema.arguments], node.args, strict=False)) | node.kwargs
    before, after = value(x), value(node)
    layout = given.get("memory_format") or torch.preserve_format
    same = before.dtype == after.dtype and before.device == after.device and before.layout == after.layout
    if given.get("pin_memory") or layout is not torch.preserve_format:
        raise Unsure(f"{target} into another memory format")
    if same and not given.get("copy"):
        _replace(node, x)
        return
    changed = {"dtype": before.dtype != after.dtype, "device": before.device != after.device}
    _become(node, aten._to_copy.default, x, **{name: getattr(after, name) for name, it in changed.items() if it})


def _positive(node: Node, insert: Insert) -> None:
    if value(node).is_complex():
        raise Unsure(f"{node.target} of complex numbers")
    _replace(node, node.args[0])


def _reshape(node: Node, insert: Insert) -> None:
    x = node.args[0]
    assert isinstance(x, Node)
    _become(node, aten.reshape.default, x, insert.sizes(x, value(node).shape))


def _expand(node: Node, insert: Insert) -> None:
    """To another's sizes, or to those given."""
    other = node.args[1]
    sizes = [
        insert(aten.sym_size.int, other, i) if is_free(n) else int(n) for i, n in enumerate(value(other).shape)
    ] if isinstance(other, Node) else other  # fmt: skip
    _become(node, aten.expand.default, node.args[0], sizes)


def _transpose(node: Node, insert: Insert) -> None:
    _become(node, aten.transpose.int, *node.args)


def _transpose_last(node: Node, insert: Insert) -> None:
    if value(node).is_complex():
        raise Unsure(f"{node.target} of complex numbers")
    _become(node, aten.transpose.int, node.args[0], -2, -1)


def _reverse(node: Node, insert: Insert) -> None:
    _become(node, aten.permute.default, node.args[0], list(range(value(node).dim()))[::-1])


def _move(node: Node, insert: Insert) -> None:
    x, source, target = node.args
    dims = value(node).dim()
    a, b = ([int(i) % dims for i in (d if isinstance(d, list | tuple) else [d])] for d in (source, target))  # type: ignore[arg-type]
    rest = iter(i for i in range(dims) if i not in a)
    order = [a[b.index(i)] if i in b else next(rest) for i in range(dims)]
    _become(node, aten.permute.default, x, order)


def _narrow(node: Node, insert: Insert) -> None:
    x, dim, start, length = node.args
    assert isinstance(x, Node) and isinstance(dim, int)
    n = value(x).shape[dim]
    if not isinstance(start, int) or not isinstance(length, int) or (start < 0 and is_free(n)):
        raise Unsure("narrow to where that may change")
    first = start if start >= 0 else start + int(n)
    _become(node, aten.slice.Tensor, x, dim, first, first + length)


def _chunk(node: Node, insert: Insert) -> None:
    x, chunks, dim = (*node.args, 0)[:3]
    assert isinstance(x, Node) and isinstance(chunks, int) and isinstance(dim, int)
    n = value(x).shape[dim]
    if is_free(n) or n == 0:
        raise Unsure("chunk of a size that may change")
    _become(node, aten.split.Tensor, x, -(-int(n) // chunks), dim)


def _parts(axis: Callable[[Node], int]) -> Callable[[Node, Insert], None]:
    def split(node: Node, insert: Insert) -> None:
        dim = axis(node)
        sizes = [t.shape[dim] for t in node.meta["val"]]
        if any(is_free(n) for n in sizes):
            raise Unsure("split of a size that may change")
        _become(node, aten.split_with_sizes.default, node.args[0], [int(n) for n in sizes], dim)

    return split


def _given_axis(node: Node) -> int:
    dim = node.args[2] if len(node.args) > 2 else 0
    assert isinstance(dim, int)
    return dim


def _second_axis(node: Node) -> int:
    t: Tensor = node.meta["val"][0]
    return min(1, t.dim() - 1)


#: Other names of calls that write in place.
_ALIASES = {"multiply_": "mul_", "subtract_": "sub_", "divide_": "div_", "true_divide_": "div_", "negative_": "neg_"}


def _named(other: OpOverload) -> Callable[[Node, Insert], None]:
    def rename(node: Node, insert: Insert) -> None:
        node.target = other

    return rename


_SPELLINGS: dict[Any, Callable[[Node, Insert], None]] = {
    aten._assert_tensor_metadata.default: _asserted,
    aten.lift_fresh_copy.default: _copied,
    **dict.fromkeys(_IN_PLACE_DROPOUTS, _dropped),
    **{
        getattr(getattr(aten, alias), which): _named(getattr(getattr(aten, name), which))
        for alias, name in _ALIASES.items() for which in getattr(aten, alias).overloads()
    },
    aten.contiguous.default: _contiguous,
    aten.to.dtype: _to,
    aten.to.device: _to,
    aten.to.dtype_layout: _to,
    aten.to.other: _to,
    **dict.fromkeys((aten.positive.default, aten.conj.default, aten.resolve_conj.default), _positive),
    aten.flatten.using_ints: _reshape,
    aten.unflatten.int: _reshape,
    aten.ravel.default: _reshape,
    aten.reshape_as.default: _reshape,
    aten.view_as.default: _reshape,
    aten.expand_as.default: _expand,
    aten.broadcast_to.default: _expand,
    aten.swapaxes.default: _transpose,
    aten.swapdims.default: _transpose,
    aten.mT.default: _transpose_last,
    aten.adjoint.default: _transpose_last,
    aten.numpy_T.default: _reverse,
    **dict.fromkeys(
        (aten.movedim.int, aten.movedim.intlist, aten.moveaxis.int, aten.moveaxis.intlist), _move
    ),
    aten.native_channel_shuffle.default: _named(aten.channel_shuffle.default),
    aten.narrow.default: _narrow,
    aten.chunk.default: _chunk,
    aten.split.sizes: _parts(_given_axis),
    aten.tensor_split.sections: _parts(_given_axis),
    aten.tensor_split.indices: _parts(_given_axis),
    aten.hsplit.int: _parts(_second_axis),
    aten.hsplit.array: _parts(_second_axis),
    aten.vsplit.int: _parts(lambda node: 0),
    aten.vsplit.array: _parts(lambda node: 0),
    aten.dsplit.int: _parts(lambda node: 2),
    aten.dsplit.array: _parts(lambda node: 2),
}  # fmt: skip
