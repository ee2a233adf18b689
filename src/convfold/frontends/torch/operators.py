"""The operations of the algebra as ATen calls in a graph, on parameters of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, takewhile
from operator import add, floordiv, getitem, mul, sub
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node as FxNode
from torch.overrides import handle_torch_function, has_torch_function_unary

from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.unlift import Calls
from convfold.ops import Ends, Ints, Part, Weights
from convfold.plan.deferred import Deferred, Given

aten = torch.ops.aten

END = 2**63 - 1
_CONV = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}
_TRANSPOSE = {
    1: aten.conv_transpose1d.default,
    2: aten.conv_transpose2d.input,
    3: aten.conv_transpose3d.input,
}


#: The factors of a resize, by axis.
_SCALES = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}


@dataclass
class NewParameter:
    """A weight the plan computed, read by ``node``; it gets its name when the old ones are gone."""

    node: FxNode
    paths: list[str]  # where it would like to live, best first
    kind: str  # weight or bias
    mark: str = ""  # what it means: see `frontends.torch.mark`
    made_of: tuple[str, ...] = ()  # the weights that the calls read which it was composed of


class Written:
    """The weights that have been written into a graph; ``training``: sources that have one that trains; ``sources``:
    which weights each reads."""

    def __init__(
        self, calls: Calls, training: set[str], sources: Mapping[str, set[str]] = MappingProxyType({})
    ) -> None:
        self.calls, self.training, self.sources = calls, training, sources
        self.parameters: list[NewParameter] = []

    def weight(self, content: Tensor, source: str, trains: bool) -> FxNode:
        """A weight that was computed from weights, of which one trains or none."""
        own = content.detach().contiguous()
        return self.new(parameter(own, trains) if own.is_floating_point() else own, [source], "weight", [source])

    def new(self, content: Tensor, paths: list[str], kind: str, sources: Iterable[str] = ()) -> FxNode:
        node = self.calls.graph.get_attr(path := f"_new_{len(self.parameters)}")
        self.calls.weights[path] = content
        made_of = dict.fromkeys(name for source in sources for name in sorted(self.sources.get(source, ())))
        self.parameters.append(NewParameter(node, paths, kind, made_of=tuple(made_of)))
        return node

    def name_parameters(self) -> None:
        """Call the new parameters after the longest common module path of what they came from; after the sweep.

        No weight of the original has such a name, nor has one that means something else: a state dict of another
        model then never fits by accident.
        """
        weights = self.calls.weights
        taken = set(weights)
        inside = {path.rpartition(".")[0] for path in taken}
        for p in self.parameters:
            if not p.node.users:
                continue
            leaf = "_".join(filter(None, ("folded", p.kind, p.mark)))
            wanted = [f"{path}.{leaf}" if path else leaf for path in p.paths]
            numbered = (f"{wanted[-1]}_{i}" for i in count(1))
            path = next(name for name in chain(wanted, numbered) if name not in taken and name not in inside)
            taken.add(path)
            weights[path] = weights.pop(str(p.node.target))
            p.node.target = path
            p.node.name = self.calls.graph._graph_namespace.create_name(path.replace(".", "_"), None)


@dataclass(frozen=True, slots=True)
class Aten:
    """Writes where the graph is being inserted into.

    ``path``: the module that numbers belong to which are no weights; ``nodes``: the model's calls, by the names that
    regions know them by; ``origin``: what the calls know of the line they come from.
    """

    written: Written
    nodes: dict[str, FxNode]
    like: Tensor
    path: str = ""
    origin: dict[str, Any] = field(default_factory=dict)

    def call(self, target: Any, *args: Any, **kwargs: Any) -> FxNode:
        node = self.written.calls.graph.call_function(target, args, kwargs)
        node.meta.update(self.origin)
        return node

    def constant(self, kind: str, content: Tensor) -> FxNode:
        """A buffer."""
        return self.written.new(content.to(self.like).contiguous(), [self.path], kind)

    def weights(self, of: Sequence[Deferred] = (), prefix: str = "") -> Weights[FxNode]:
        """Called after the modules they come from, laid out in memory as theirs are."""
        given = [g for operator in of for g in operator.given]
        sources = list(dict.fromkeys(source for operator in of for source in operator.sources))
        paths = [p for p in (_common_path(sources), *sources[:1]) if p] or [""]
        trains = any(s in self.written.training for s in sources)
        made: dict[tuple[str, torch.Size], FxNode] = {}

        def weight(kind: str, content: Tensor) -> FxNode:
            key = (kind, content.shape)
            if key not in made:
                data = content.detach().contiguous()
                if (fmt := _channels_last(given, data.dim() - 2)) is not None:
                    data = data.contiguous(memory_format=fmt)
                made[key] = self.written.new(parameter(data, trains), paths, prefix + kind, sources)
            return made[key]

        return weight

    def again(self, call: str, operator: Callable[[Tensor], Tensor], x: FxNode, at: int = 0) -> FxNode:
        """Its other arguments do not depend on how many channels there are."""
        node = self.nodes[call]
        return self.call(node.target, *node.args[:at], x, *node.args[at + 1 :], **node.kwargs)

    def along(self, call: str, operator: Callable[[Tensor], Tensor], x: FxNode, axis: int) -> FxNode:
        """Other axes are asked to be as long as they are, by factors of one."""
        node, i = self.nodes[call], axis - 2
        names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
        given = dict(zip(names, node.args, strict=False)) | node.kwargs
        dims = self.nodes[call].meta["val"].dim() - 2
        if isinstance(sizes := given["output_size"], list | tuple):
            given["output_size"] = [
                n if j == i else self.call(aten.sym_size.int, x, 2 + j) for j, n in enumerate(sizes)
            ]
        for name, value in given.items():
            if name == "scale_factors" and isinstance(value, list | tuple):
                given[name] = [n if j == i else 1.0 for j, n in enumerate(value)]
            elif name.startswith("scales") and value is not None and name != _SCALES[dims][i]:
                given[name] = 1.0
        return self.call(node.target, x, *(given.get(name) for name in names[1:]))

    def conv(
        self,
        x: FxNode,
        weight: FxNode,
        bias: FxNode | None,
        stride: Ints,
        padding: Ends,
        dilation: Ints,
        groups: int,
    ) -> FxNode:
        numbers = list(stride), [lo for lo, _ in padding], list(dilation)
        return self.call(_CONV[len(stride)], x, weight, bias, *numbers, groups)

    def conv_transpose(
        self,
        x: FxNode,
        weight: FxNode,
        bias: FxNode | None,
        stride: Ints,
        padding: Ends,
        extra: Ints,
        groups: int,
        dilation: Ints,
    ) -> FxNode:
        numbers = list(stride), [lo for lo, _ in padding], list(extra)
        return self.call(_TRANSPOSE[len(stride)], x, weight, bias, *numbers, groups, list(dilation))

    def linear(self, x: FxNode, weight: FxNode, bias: FxNode | None) -> FxNode:
        return self.call(aten.linear.default, x, weight, bias)

    def matmul(self, a: FxNode, b: FxNode) -> FxNode:
        return self.call(aten.matmul.default, a, b)

    def add(self, a: FxNode, b: FxNode) -> FxNode:
        return self.call(aten.add.Tensor, a, b)

    def sub(self, a: FxNode, b: FxNode) -> FxNode:
        return self.call(aten.sub.Tensor, a, b)

    def neg(self, a: FxNode) -> FxNode:
        return self.call(aten.neg.default, a)

    def mul(self, a: FxNode, b: FxNode) -> FxNode:
        return self.call(aten.mul.Tensor, a, b)

    def muladd(self, a: FxNode, b: FxNode, c: FxNode) -> FxNode:
        return self.call(aten.addcmul.default, c, a, b)

    def pad(self, x: FxNode, flat: Ints, mode: str = "constant") -> FxNode:
        if mode == "constant":
            return self.call(aten.constant_pad_nd.default, x, list(flat))
        return self.call(aten.pad.default, x, list(flat), mode)

    def wrapped(self, x: FxNode, axis: int, lo: int, hi: int) -> FxNode:
        n = self.call(aten.sym_size.int, x, axis)
        index = self.call(aten.arange.start, -lo, self.call(add, n, hi), device=self.like.device)
        return self.call(aten.index_select.default, x, axis, self.call(aten.remainder.Scalar, index, n))

    def slice(self, x: FxNode, axis: int, start: int, stop: int | None, step: int = 1) -> FxNode:
        return self.call(
            aten.slice.Tensor, x, axis, start, END if stop is None else stop, *([step] if step > 1 else ())
        )

    def select(self, x: FxNode, axis: int, index: int) -> FxNode:
        return self.call(aten.select.int, x, axis, index)

    def end(self, x: FxNode, axis: int, n: int, step: int = 1, high: bool = True) -> FxNode:
        """What is said in sizes holds at all of them for torch.export, too: a plain slice has to be long enough."""
        size = self.call(aten.sym_size.int, x, axis)
        length = self.call(torch.sym_min, size, n)
        if not high:
            return self.call(aten.slice.Tensor, x, axis, 0, length)
        first = self.call(sub, size, length)
        if step > 1:
            first = self.call(mul, self.call(floordiv, first, step), step)
        return self.call(aten.slice.Tensor, x, axis, first, END)

    def filled(self, x: FxNode, axis: int, rank: int, n: int, high: bool) -> FxNode:
        """A copy of the part: of a slice torch.export asks whether it is all, and keeps the answer."""
        size = self.call(aten.sym_size.int, x, axis)
        length = self.call(torch.sym_min, size, n)
        first, last = (self.call(sub, size, length), size) if high else (0, length)
        index = self.call(aten.arange.start, first, last, device=self.like.device)
        x = self.call(aten.index_select.default, x, axis, index)
        more = self.call(sub, n, length)
        behind = [0, 0] * (rank - 1 - axis)
        return self.call(aten.constant_pad_nd.default, x, [*behind, *((more, 0) if high else (0, more))])

    def reshape(self, x: FxNode, shape: Ints, call: str | None = None) -> FxNode:
        node = None if call is None else self.nodes[call]
        if node is None:
            return self.call(aten.reshape.default, x, list(shape))
        if node.target is aten.stack.default:  # of each part, before they are laid end to end
            return self.call(aten.unsqueeze.default, x, node.args[1] if len(node.args) > 1 else 0)
        if node.target is not aten.reshape.default:  # squeeze, unsqueeze: indifferent to how long the channels are
            return self.call(node.target, x, *node.args[1:], **node.kwargs)
        # Free sizes stay the nodes they were; only the carried axis may have another length now.
        before, asked = node.meta["val"].shape, node.args[1]
        assert isinstance(asked, list | tuple)
        now = [m if not is_free(n) and n != m else a for n, m, a in zip(before, shape, asked, strict=True)]
        return self.call(aten.reshape.default, x, now)

    def expand(self, x: FxNode, shape: Ints) -> FxNode:
        return self.call(aten.expand.default, x, list(shape))

    def unflatten(self, x: FxNode, axis: int, sizes: Ints) -> FxNode:
        return self.call(aten.unflatten.int, x, axis, list(sizes))

    def flatten(self, x: FxNode, axis: int) -> FxNode:
        return self.call(aten.flatten.using_ints, x, axis, axis + 1)

    def permute(self, x: FxNode, order: Ints) -> FxNode:
        return self.call(aten.permute.default, x, list(order))

    def concat(self, xs: Sequence[FxNode], axis: int) -> FxNode:
        return self.call(aten.cat.default, list(xs), axis)

    def split(self, x: FxNode, sizes: Ints, axis: int) -> Sequence[FxNode]:
        parts = self.call(aten.split_with_sizes.default, x, list(sizes), axis)
        return [self.call(getitem, parts, i) for i in range(len(sizes))]

    def pixel_shuffle(self, x: FxNode, rate: int) -> FxNode:
        return self.call(aten.pixel_shuffle.default, x, rate)

    def ones_like(self, x: FxNode) -> FxNode:
        return self.call(aten.ones_like.default, x)

    def added_to(self, y: FxNode, axis: int, parts: Sequence[Part[FxNode]]) -> FxNode:
        for part in parts:
            place, value = y, part.value
            for i, span in enumerate(part.spans, start=axis):
                if span is not None and i in part.short:
                    place = self.end(place, i, len(span), high=span.start < 0)
                    n = self.call(aten.sym_size.int, place, i)
                    first = self.call(sub, len(span), n) if span.start < 0 else 0
                    value = self.call(aten.slice.Tensor, value, i, first, END if span.start < 0 else n)
                elif span is not None:
                    place = self.slice(place, i, span.start, span.stop or None)
            self.call(aten.add_.Tensor, place, value)
        return y

    def put_into(self, y: FxNode, axis: int, n: int, high: bool, part: FxNode) -> FxNode:
        self.call(aten.copy_.default, self.end(y, axis, n, high=high), part)
        return y

    def periodic(self, values: FxNode, axis: int, period: int, y: FxNode) -> FxNode:
        n = self.call(aten.sym_size.int, y, axis + 1)
        index = self.call(aten.arange.default, n, device=self.like.device)
        index = self.call(aten.remainder.Scalar, index, period)
        return self.call(aten.index_select.default, values, axis, index)


def _channels_last(given: Sequence[Given], dims: int) -> torch.memory_format | None:
    """The format of the kernels it was composed of, if they agree that channels come last."""
    fmt = {2: torch.channels_last, 3: torch.channels_last_3d}.get(dims)
    kernels = [g.operator.kernel for g in given if g.operator.dims == dims and g.operator.kernel.shape[1] > 1]
    if fmt is None or not kernels:
        return None
    last = all(k.is_contiguous(memory_format=fmt) for k in kernels)
    return fmt if last and not all(k.is_contiguous() for k in kernels) else None  # a single tap is both


def parameter(t: Tensor, trains: bool) -> Tensor:
    """`nn.Parameter`, made by a call that a mode can see: see `collapsed.recorded`."""
    if has_torch_function_unary(t):
        return handle_torch_function(parameter, (t,), t, trains)
    return nn.Parameter(t.detach(), trains)


def _common_path(sources: list[str]) -> str:
    parts = [s.split(".") for s in sources]
    return ".".join(a[0] for a in takewhile(lambda a: len(set(a)) == 1, zip(*parts, strict=False)))
