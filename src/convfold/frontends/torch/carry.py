"""Which positions of its inputs does a call need for some of its own, and what is it on those alone?

Of a call that is not here all positions are computed, of all that there are.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Node
from torch.fx.node import map_arg

from convfold.algebra.layout import Layout
from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.insert import Insert
from convfold.frontends.torch.sizes import symbol
from convfold.frontends.torch.views import SPLITS

aten = torch.ops.aten

_END = 2**63 - 1

#: Of each axis the positions, None where its length is free.
Ranges = tuple[range | None, ...]
#: Of each axis of an input the axis of the result whose positions are needed of it; None: all its own.
Axes = tuple[int | None, ...]


def whole(node: Node) -> Ranges:
    """All positions of a value; of one that is no tensor none are known."""
    t = node.meta.get("val")
    return tuple(None if is_free(n) else range(int(n)) for n in t.shape) if isinstance(t, Tensor) else ()


@dataclass
class Rule:
    """``given``: the tensors that the call is given, in order; ``cut``: the axes of which it can compute a part.

    ``sizes``: which argument names the sizes of its result, if one does.
    """

    node: Node
    given: tuple[tuple[Node, Axes], ...]
    cut: frozenset[int]
    sizes: int | None = None

    def allowed(self, ranges: Ranges) -> Ranges:
        """The positions that it computes where these are asked for."""
        return tuple(r if i in self.cut else w for i, (r, w) in enumerate(zip(ranges, whole(self.node), strict=True)))

    def inputs(self, ranges: Ranges) -> list[tuple[Node, Ranges]]:
        """What it then needs, in the order of ``given``."""
        return [
            (x, tuple(w if i is None else ranges[i] for i, w in zip(axes, whole(x), strict=True)))
            for x, axes in self.given
        ]

    def again(self, insert: Insert, inputs: Sequence[Node], ranges: Ranges) -> Node:
        """The call on those alone."""
        args, kwargs = self._on(inputs)
        if self.sizes is not None:
            lengths = zip(args[self.sizes], ranges, whole(self.node), strict=True)
            args[self.sizes] = [n if r == w or r is None else len(r) for n, r, w in lengths]
        return insert(self.node.target, *args, **kwargs)

    def _on(self, inputs: Sequence[Node]) -> tuple[list[Any], dict[str, Any]]:
        rest = iter(inputs)
        args, kwargs = map_arg((self.node.args, dict(self.node.kwargs)), lambda x: next(rest) if _is_tensor(x) else x)
        return list(args), kwargs


class _Sliced(Rule):
    """Positions of one axis: slice, select, a part of a split."""

    def __init__(self, node: Node, x: Node, axis: int, at: range, gone: bool = False) -> None:
        dims = range(len(whole(x)))
        axes = tuple(None if gone and i == axis else i - (gone and i > axis) for i in dims)
        super().__init__(node, ((x, axes),), frozenset(range(len(whole(node)))))
        self.axis, self.at, self.gone = axis, at, gone

    def inputs(self, ranges: Ranges) -> list[tuple[Node, Ranges]]:
        ((x, needed),) = super().inputs(ranges)
        asked = None if self.gone else ranges[self.axis]
        at = self.at if asked is None else self.at[asked.start : asked.stop]
        return [(x, tuple(range(at[0], at[-1] + 1) if i == self.axis else r for i, r in enumerate(needed)))]

    def again(self, insert: Insert, inputs: Sequence[Node], ranges: Ranges) -> Node:
        (x,) = inputs
        if self.gone:
            return insert(aten.select.int, x, self.axis, 0)
        return x if self.at.step == 1 else insert(aten.slice.Tensor, x, self.axis, 0, None, self.at.step)


class _Joined(Rule):
    """Parts laid end to end."""

    def __init__(self, node: Node, parts: Sequence[Node], axis: int) -> None:
        axes = tuple(range(len(whole(node))))
        super().__init__(node, tuple((x, axes) for x in parts), frozenset(axes))
        self.axis = axis

    def inputs(self, ranges: Ranges) -> list[tuple[Node, Ranges]]:
        asked, start, found = ranges[self.axis], 0, []
        for x, needed in super().inputs(ranges):
            own = whole(x)[self.axis]
            assert own is not None and asked is not None
            at = range(max(asked.start - start, 0), max(min(asked.stop - start, len(own)), 0))
            start += len(own)
            if at:
                found.append((x, tuple(at if i == self.axis else r for i, r in enumerate(needed))))
        return found

    def again(self, insert: Insert, inputs: Sequence[Node], ranges: Ranges) -> Node:
        return inputs[0] if len(inputs) == 1 else insert(aten.cat.default, list(inputs), self.axis)


class _Grouped(Rule):
    """A convolution in groups: those that hold the channels that are asked for."""

    def __init__(self, node: Node, x: Node, weight: Node, bias: Node | None, groups: int) -> None:
        dims = len(whole(x))
        given: list[tuple[Node, Axes]] = [(x, (0, 1, *(None,) * (dims - 2))), (weight, (1, *(None,) * (dims - 1)))]
        super().__init__(node, (*given, *([(bias, (1,))] if bias is not None else ())), frozenset((0, 1)))
        out, width = whole(node)[1], whole(x)[1]
        assert out is not None and width is not None
        self.out, self.width = len(out) // groups, len(width) // groups

    def allowed(self, ranges: Ranges) -> Ranges:
        n, channels, *space = super().allowed(ranges)
        assert channels is not None
        start, stop = channels.start // self.out, -(-channels.stop // self.out)
        return (n, range(start * self.out, stop * self.out), *space)

    def inputs(self, ranges: Ranges) -> list[tuple[Node, Ranges]]:
        (x, (n, _, *space)), *weights = super().inputs(ranges)
        channels = ranges[1]
        assert channels is not None
        first, last = channels.start // self.out, channels.stop // self.out
        return [(x, (n, range(first * self.width, last * self.width), *space)), *weights]

    def again(self, insert: Insert, inputs: Sequence[Node], ranges: Ranges) -> Node:
        args, kwargs = self._on(inputs)
        channels = ranges[1]
        assert channels is not None
        names = [a.name for a in self.node.target._schema.arguments]  # type: ignore[union-attr]
        groups = len(channels) // self.out
        if len(args) > (i := names.index("groups")):
            args[i] = groups
        else:
            kwargs["groups"] = groups
        return insert(self.node.target, *args, **kwargs)


def rule_of(node: Node) -> Rule | None:
    """None where it is not known, or what it gives is no tensor."""
    if node.op != "call_function" or not _is_tensor(node):
        return None
    if node.target is operator.getitem:
        return _part(node)
    if not isinstance(node.target, OpOverload) or node.target._schema.is_mutable:
        return None
    make = _RULES.get(node.target) or _RULES.get(node.target.overloadpacket)
    if make is not None:
        return make(node, _arguments(node))
    tags = node.target.tags
    if torch.Tag.pointwise in tags and torch.Tag.nondeterministic_seeded not in tags:
        return _pointwise(node, _arguments(node))
    return None


def _is_tensor(node: Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def _arguments(node: Node) -> dict[str, Any]:
    """By name as they are given, then those that are not."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    found: dict[str, Any] = dict(zip((a.name for a in schema), node.args, strict=False))
    found |= node.kwargs
    return found | {a.name: a.default_value for a in schema if a.name not in found and a.has_default_value()}


def _mapped(node: Node, axes: Mapping[str, Axes], cut: Iterable[int], sizes: int | None = None) -> Rule | None:
    """``axes`` of the tensor arguments by name; None where there are others."""
    given = [(name, x) for name, x in _arguments(node).items() if isinstance(x, Node) and _is_tensor(x)]
    tensors = {x for x in node.all_input_nodes if _is_tensor(x)}
    if tensors != {x for _, x in given} or not axes.keys() >= {name for name, _ in given}:
        return None
    known = frozenset(i for i in cut if whole(node)[i] is not None)
    return Rule(node, tuple((x, axes[name]) for name, x in given), known, sizes)


def _aligned(x: Node, node: Node) -> Axes:
    """As broadcasting has it: from the last axis on."""
    mine, theirs = whole(x), whole(node)
    offset = len(theirs) - len(mine)
    return tuple(i + offset if n == theirs[i + offset] else None for i, n in enumerate(mine))


def _pointwise(node: Node, given: Mapping[str, Any]) -> Rule | None:
    axes = {name: _aligned(x, node) for name, x in given.items() if isinstance(x, Node) and _is_tensor(x)}
    return _mapped(node, axes, range(len(whole(node))))


def _alike_but(*names: str, first: str) -> Callable[[Node, Mapping[str, Any]], Rule | None]:
    """All axes but those that an argument names."""

    def make(node: Node, given: Mapping[str, Any]) -> Rule | None:
        rank = len(whole(node))
        named = next((given[name] for name in names if given.get(name) is not None), None)
        if not isinstance(named, int | list | tuple) or len(whole(given[first])) != rank:
            return None
        gone = {int(i) % rank for i in ([named] if isinstance(named, int) else named)}
        kept = tuple(None if i in gone else i for i in range(rank))
        return _mapped(node, {first: kept}, set(range(rank)) - gone)

    return make


def _reduced(node: Node, given: Mapping[str, Any]) -> Rule | None:
    x, named = given["self"], given["dim"]
    rank = len(whole(x))
    if not isinstance(named, int | list | tuple) or named == []:
        return None
    gone = {int(i) % rank for i in ([named] if isinstance(named, int) else named)}
    kept = [i for i in range(rank) if i not in gone]
    place = {i: i if given["keepdim"] else k for k, i in enumerate(kept)}
    return _mapped(node, {"self": tuple(place.get(i) for i in range(rank))}, place.values())


def _normed(node: Node, given: Mapping[str, Any]) -> Rule | None:
    """Of the last axes, each position of the others by itself."""
    rank, last = len(whole(node)), len(given["normalized_shape"])
    axes: dict[str, Axes] = {"weight": (None,) * last, "bias": (None,) * last}
    axes["input"] = tuple(i if i < rank - last else None for i in range(rank))
    return _mapped(node, axes, range(rank - last))


def _batch_normed(node: Node, given: Mapping[str, Any]) -> Rule | None:
    rank = len(whole(node))
    if given["training"] or given["running_mean"] is None or rank < 2:
        return None
    one: dict[str, Axes] = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (1,))
    return _mapped(node, {"input": tuple(range(rank)), **one}, range(rank))


def _group_normed(node: Node, given: Mapping[str, Any]) -> Rule | None:
    """Each item by itself."""
    rest = (None,) * (len(whole(node)) - 1)
    return _mapped(node, {"input": (0, *rest), "weight": (None,), "bias": (None,)}, (0,))


def _of_items(name: str, dims: int) -> Callable[[Node, Mapping[str, Any]], Rule | None]:
    """Of ``dims`` axes of space, each channel of each item by itself."""

    def make(node: Node, given: Mapping[str, Any]) -> Rule | None:
        rank = len(whole(node))
        return _mapped(node, {name: (*range(rank - dims), *(None,) * dims)}, range(rank - dims))

    return make


def _padded(node: Node, given: Mapping[str, Any]) -> Rule | None:
    rank, pads = len(whole(node)), given["pad"]
    same = [i for i in range(rank) if not any(pads[2 * (rank - 1 - i) : 2 * (rank - i)])]
    return _mapped(node, {"self": tuple(i if i in same else None for i in range(rank))}, same)


def _linear(node: Node, given: Mapping[str, Any]) -> Rule | None:
    last = len(whole(node)) - 1
    if len(whole(given["weight"])) != 2:
        return None
    axes: dict[str, Axes] = {"input": (*range(last), None), "weight": (last, None), "bias": (last,)}
    return _mapped(node, axes, range(last + 1))


def _added_product(node: Node, given: Mapping[str, Any]) -> Rule | None:
    axes: dict[str, Axes] = {"self": _aligned(given["self"], node), "mat1": (0, None), "mat2": (None, 1)}
    return _mapped(node, axes, (0, 1))


def _product(node: Node, given: Mapping[str, Any]) -> Rule | None:
    """a @ b: rows of one, columns of the other, each item of a batch by itself."""
    (first, a), (second, b) = [(name, x) for name, x in given.items() if isinstance(x, Node)]
    rank = len(whole(node))
    if min(len(whole(a)), len(whole(b))) < 2:
        return None
    batches = [
        tuple(i if n == whole(node)[i] else None for i, n in enumerate(whole(x)[:-2], rank - len(whole(x))))
        for x in (a, b)
    ]
    return _mapped(node, {first: (*batches[0], rank - 2, None), second: (*batches[1], None, rank - 1)}, range(rank))


def _attended(node: Node, given: Mapping[str, Any]) -> Rule | None:
    """Every query by itself, where none is kept from what follows it."""
    rank = len(whole(node))
    if given["is_causal"]:
        return None
    axes: dict[str, Axes] = {name: (None,) * rank for name in ("key", "value")}
    axes["query"] = (*(None,) * (rank - 2), rank - 2, None)
    if (mask := given["attn_mask"]) is not None:
        axes["attn_mask"] = tuple(i if i == rank - 2 else None for i in _aligned(mask, node))
    return _mapped(node, axes, (rank - 2,))


def _convolved(node: Node, given: Mapping[str, Any]) -> Rule | None:
    x, weight, bias, groups = (given[name] for name in ("input", "weight", "bias", "groups"))
    dims = len(whole(weight))
    if len(whole(x)) != dims or whole(node)[1] is None or given.get("transposed"):  # whose weight is turned
        return None
    if groups > 1:
        return None if whole(x)[1] is None else _Grouped(node, x, weight, bias, groups)
    rest = (None,) * (dims - 1)
    return _mapped(node, {"input": (0, *rest), "weight": (1, *rest), "bias": (1,)}, (0, 1))


def _permuted(node: Node, given: Mapping[str, Any]) -> Rule | None:
    rank = len(whole(node))
    if "dims" in given:
        order = [i % rank for i in given["dims"]]
    else:
        order, (a, b) = list(range(rank)), (given.get("dim0", 0), given.get("dim1", -1))
        order[a], order[b] = order[b], order[a]
    return _mapped(node, {"self": tuple(order.index(i) for i in range(rank))}, range(rank))


def _viewed(node: Node, given: Mapping[str, Any]) -> Rule | None:
    """Axes that a view carries whole."""
    x = given["self"]
    before, after = ([symbol(n) for n in v.meta["val"].shape] for v in (x, node))
    carried = dict(Layout.view(before, after, [0] * len(after)).carried)
    sizes = 1 if node.target is aten.reshape.default else None
    named = given.get("dim")
    squeezed = [named] if isinstance(named, int) else named or []
    if len(after) < len(before) and sizes is None and any(before[i] != 1 for i in squeezed):
        return None  # an axis that stays, unless it is cut to one position
    return _mapped(node, {"self": tuple(carried.get(i) for i in range(len(before)))}, carried.values(), sizes)


def _expanded(node: Node, given: Mapping[str, Any]) -> Rule | None:
    return _mapped(node, {"self": _aligned(given["self"], node)}, range(len(whole(node))), sizes=1)


def _slice(node: Node, given: Mapping[str, Any]) -> Rule | None:
    x, axis = given["self"], given["dim"] % len(whole(given["self"]))
    bounds = given["start"], given["end"], given["step"]
    n = whole(x)[axis]
    if n is None:  # all of it, as `x[:]` says
        return _pointwise(node, given) if bounds in ((0, _END, 1), (None, None, 1)) else None
    if any(isinstance(b, Node) for b in bounds) or not (at := n[slice(*bounds)]):
        return None
    return _Sliced(node, x, axis, at)


def _select(node: Node, given: Mapping[str, Any]) -> Rule | None:
    x, axis, i = given["self"], given["dim"] % len(whole(given["self"])), given["index"]
    n = whole(x)[axis]
    if n is None or not isinstance(i, int):
        return None
    return _Sliced(node, x, axis, range(i % len(n), i % len(n) + 1), gone=True)


def _concatenated(node: Node, given: Mapping[str, Any]) -> Rule | None:
    parts, axis = given["tensors"], given["dim"] % len(whole(node))
    if any(len(whole(x)) != len(whole(node)) or whole(x)[axis] is None for x in (node, *parts)):
        return None
    return _Joined(node, parts, axis)


def _part(node: Node) -> Rule | None:
    """Of a split: a slice of what is split."""
    split, i = node.args
    if not isinstance(split, Node) or split.target not in SPLITS or not isinstance(i, int):
        return None
    x, parts = split.args[0], split.meta["val"]
    at = SPLITS[split.target]
    axis = (split.args[at] if len(split.args) > at else split.kwargs.get("dim", 0)) % len(whole(x))  # type: ignore
    i %= len(parts)
    if whole(x)[axis] is None:  # type: ignore[arg-type]
        return None
    if split.target is aten.unbind.int:
        return _Sliced(node, x, axis, range(i, i + 1), gone=True)  # type: ignore[arg-type]
    start = sum(int(t.shape[axis]) for t in parts[:i])
    if not parts[i].shape[axis]:
        return None
    return _Sliced(node, x, axis, range(start, start + int(parts[i].shape[axis])))  # type: ignore[arg-type]


_Make = Callable[[Node, Mapping[str, Any]], Rule | None]

_RULES: dict[Any, _Make] = {
    **dict.fromkeys(
        (
            aten.clone, aten.alias, aten.detach, aten.contiguous, aten.dropout, aten.feature_dropout, aten._to_copy,
            aten.to,
        ),
        _pointwise,
    ),
    **dict.fromkeys((aten.permute, aten.transpose, aten.t), _permuted),
    **dict.fromkeys((aten.reshape, aten.unsqueeze, aten.squeeze.dim, aten.squeeze.dims), _viewed),
    aten.expand: _expanded,
    aten.slice: _slice,
    aten.select: _select,
    aten.cat: _concatenated,
    **dict.fromkeys((aten.layer_norm, aten.rms_norm), _normed),
    aten.batch_norm: _batch_normed,
    aten.group_norm: _group_normed,
    **dict.fromkeys((aten.softmax, aten.log_softmax, aten._softmax, aten.cumsum), _alike_but("dim", first="self")),
    **dict.fromkeys(
        (aten.mean.dim, aten.sum.dim_IntList, aten.amax, aten.amin, aten.linalg_vector_norm), _reduced
    ),
    **{
        packet: _of_items(name, dims)
        for dims in (1, 2, 3)
        for kind, name in (
            ("avg_pool{}d", "self"),
            ("max_pool{}d", "self"),
            ("adaptive_avg_pool{}d", "self"),
            ("upsample_nearest{}d", "input"),
        )
        if (packet := getattr(aten, kind.format(dims), None)) is not None
    },
    **dict.fromkeys((aten.upsample_bilinear2d, aten.upsample_bicubic2d), _of_items("input", 2)),
    **dict.fromkeys((aten.constant_pad_nd, aten.pad), _padded),
    aten.linear: _linear,
    aten.addmm: _added_product,
    **dict.fromkeys((aten.mm, aten.bmm, aten.matmul), _product),
    aten.scaled_dot_product_attention: _attended,
    **dict.fromkeys((aten.conv1d, aten.conv2d, aten.conv3d, aten.convolution), _convolved),
}  # fmt: skip
