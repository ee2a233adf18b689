"""A planned region → ATen calls in the graph, each on the fastest operation that computes its value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain, count, takewhile
from operator import floordiv, getitem, mul, sub
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node as FxNode

from convfold.algebra.border import Piece
from convfold.algebra.convolution import Convolution, transposed_weight
from convfold.algebra.operation import Apply, Concat, Correct, Layout, Resample, Slice, Spatial, Spread, Sum
from convfold.algebra.structure import recovered
from convfold.graph.lift import Lifted, path_of
from convfold.graph.unlift import Calls
from convfold.layers.module import pad_arguments, transposed_arguments
from convfold.layers.shuffle import pixel_unshuffle
from convfold.plan.border import Border
from convfold.plan.recipe import Given, Recipe
from convfold.region import Node, Region, shared_out

aten = torch.ops.aten

#: Makes a parameter of a tensor and gives the node that reads it.
Parameter = Callable[[str, Tensor], FxNode]
_END = 2**63 - 1
_CONV = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}
#: Calls that do the same to a part of the signal: none of their arguments is a size.
_ANY_SIZE = {
    aten.pixel_shuffle.default,
    aten.pixel_unshuffle.default,
    aten.channel_shuffle.default,
    aten.constant_pad_nd.default,
}
_TRANSPOSE = {
    1: aten.conv_transpose1d.default,
    2: aten.conv_transpose2d.input,
    3: aten.conv_transpose3d.input,
}


@dataclass
class NewParameter:
    """A weight the plan computed, read by ``node``; it gets its name when the old ones are gone."""

    node: FxNode
    paths: list[str]  # where it would like to live, best first
    kind: str  # weight or bias
    mark: str = ""  # what it means: see `graph.mark`


class Lowering:
    """Writes planned regions into a graph; values it replaces are left for the sweep."""

    def __init__(self, calls: Calls, lifted: Lifted) -> None:
        self.calls, self.graph, self.lifted = calls, calls.graph, lifted
        self.values = dict(lifted.nodes)  # region value → graph node, kept current
        self.parameters: list[NewParameter] = []
        self.parts: dict[str, tuple[tuple[Slice, ...], int]] = {}  # slices that share out a value
        self.splits: dict[FxNode, FxNode] = {}
        self.replaced: set[FxNode] = set()  # calls that nothing will read
        self.made: dict[object, FxNode] | None = None  # weights that several calls read, while they are written

    def write(self, before: Region, after: Region) -> None:
        """Replace ``before`` by ``after``; nodes that stayed what they were keep their calls."""
        unchanged = self._unchanged(before, after)
        self.parts = shared_out(after)
        for node in after.steps:
            if node.name in unchanged:
                continue
            base = node.name
            while base not in self.lifted.nodes:  # parts of a value are named after it
                base = base.rpartition(".")[0]
            at = self.lifted.nodes[base]
            with self.graph.inserting_before(at):
                new = self._emit(node, at)
            self.values[node.name] = new
            if node.name in self.lifted.nodes:
                old = self.lifted.nodes[node.name]
                if "val" not in new.meta:  # newly made, not a value that was there already
                    new.meta = dict(old.meta)
                old.replace_all_uses_with(new)
        for node in after.steps:
            match node.operation:
                case Apply(operator=Recipe() as recipe):
                    recipe.forget()
                case Correct(border=Border() as border):
                    border.forget()
        self.replaced.update(self.lifted.nodes[n.name] for n in before.steps if n.name in self.lifted.nodes)
        self.replaced.difference_update(self.lifted.nodes[name] for name in unchanged if name in self.lifted.nodes)

    def evaluate(self, weight: FxNode, source: str, content: Tensor) -> None:
        """Put in place of calls on weights alone what they compute."""
        like = weight.meta["val"]
        path = f"_new_{len(self.parameters)}"
        own = content.detach().to(like.dtype).contiguous()
        trains = source in self.lifted.training
        self.calls.weights[path] = nn.Parameter(own, requires_grad=trains) if own.is_floating_point() else own
        with self.graph.inserting_before(weight):
            node = self.graph.get_attr(path)
        node.meta = dict(weight.meta)
        self.parameters.append(NewParameter(node, [source], "weight"))
        weight.replace_all_uses_with(node)

    def _unchanged(self, before: Region, after: Region) -> set[str]:
        """Values whose calls can stay: same operation, and so for the unnamed steps inside the same call."""
        same: set[str] = set()
        inner: dict[str, bool] = {}
        for node in after.steps:
            original = before.by_name.get(node.name)
            kept = original is node and all(
                i in inner and inner[i]
                for i in node.inputs
                if before.by_name[i].operation is not None and i not in self.lifted.nodes
            )
            inner[node.name] = kept
            if kept:
                same.add(node.name)
        # An unnamed step (the negation inside a subtraction) has no call of its own: it stays only with its owner.
        readers = after.consumers()
        return {name for name in same if name in self.lifted.nodes or all(reader in same for reader in readers[name])}

    def _input(self, name: str) -> FxNode:
        if name not in self.values:
            norm, replaced = self.lifted.bare[name]
            with self.graph.inserting_before(norm):
                self.values[name] = self._bare(norm, replaced)
        return self.values[name]

    def _bare(self, norm: FxNode, replaced: dict[str, Any]) -> FxNode:
        args, kwargs = list(norm.args), dict(norm.kwargs)
        for i, argument in enumerate(norm.target._schema.arguments):  # type: ignore[union-attr]
            if argument.name in replaced:
                if i < len(args):
                    args[i] = replaced[argument.name]
                else:
                    kwargs.pop(argument.name, None)
        new = self._call(norm.target, *args, **kwargs)
        new.meta = dict(norm.meta)
        return new

    def _call(self, target: Any, *args: Any, **kwargs: Any) -> FxNode:
        return self.graph.call_function(target, args, kwargs)

    def _reshape(self, x: FxNode, shape: list[int]) -> FxNode:
        return self._call(aten.reshape.default, x, shape)

    def _permute(self, x: FxNode, order: list[int]) -> FxNode:
        return self._call(aten.permute.default, x, order)

    def _emit(self, node: Node, at: FxNode) -> FxNode:
        inputs = [self._input(i) for i in node.inputs]
        match node.operation:
            case Apply(operator=Given(call=str(name))):  # a shuffle stays a shuffle, wherever it is applied
                return self._again(name, inputs[0])
            case Apply(operator=operator, axis=axis):
                assert isinstance(operator, Recipe)
                return self._apply(operator, axis, inputs[0], len(node.signal.shape), at.meta["val"])
            case Sum():
                total = inputs[0]
                for x in inputs[1:]:
                    total = self._call(aten.add.Tensor, total, x)
                return total
            case Concat(axis=axis):
                return self._call(aten.cat.default, inputs, axis)
            case Slice() if node.name in self.parts:
                return self._part(*self.parts[node.name], inputs[0])
            case Slice(axis=axis, start=start, stop=stop):
                return self._call(aten.slice.Tensor, inputs[0], axis, start, stop)
            case Layout() as layout:
                return self._layout(layout, inputs[0])
            case Spatial(origin=str(name)):
                return self._again(name, inputs[0])
            case Spatial(target=target, arguments=arguments):  # new: the plan made it, of known sizes
                return self._call(target, inputs[0], *(list(v) if isinstance(v, tuple) else v for _, v in arguments))
            case Correct() as correct:
                return self._correct(correct, inputs[0], inputs[-1], at)
            case Resample() as resample:
                return self._resample(resample, inputs, node, at)
            case Spread() as spread:
                return self._spread(spread, inputs[0], node.signal.shape[spread.spatial.axis], at)
            case _:
                raise AssertionError(f"{node.name}: nothing to write")

    def _part(self, slices: tuple[Slice, ...], i: int, x: FxNode) -> FxNode:
        """One of the parts of one split."""
        if x not in self.splits:
            self.splits[x] = self._call(
                aten.split_with_sizes.default, x, [s.stop - s.start for s in slices], slices[0].axis
            )
        return self._call(getitem, self.splits[x], i)

    def _again(self, name: str, x: FxNode) -> FxNode:
        """The model's call on another value: its other arguments do not depend on how many channels there are."""
        call = self.lifted.nodes[name]
        return self._call(call.target, x, *call.args[1:], **call.kwargs)

    def _spread(self, spread: Spread, x: FxNode, channels: int, at: FxNode) -> FxNode:
        like = at.meta["val"]
        *rows, columns = [m.to(like.dtype).to(like.device) for m in spread.matrices]
        matrices = [self._constant(m, at) for m in (*rows, columns.t())]  # the last multiplies from the right

        def product(a: FxNode, m: FxNode, last: bool) -> FxNode:
            return self._call(aten.matmul.default, a, m) if last else self._call(aten.matmul.default, m, a)

        y: FxNode = spread.apply(x, channels, matrices, self._reshape, self._permute, product)
        return y

    def _correct(self, correct: Correct, y: FxNode, x: FxNode, at: FxNode) -> FxNode:
        """Written into the border of ``y``, which nothing else reads, or added as a map."""
        border, axis = correct.border, correct.axis
        assert isinstance(border, Border)
        match correct.way:
            case "hoisted":
                return y
            case "map":
                return self._call(aten.add.Tensor, y, self._constant(border.map().to(at.meta["val"]), at, "border"))
            case "constants":
                for box, values in border.constants():
                    added = self._constant(values.to(at.meta["val"]), at, "border")
                    self._call(aten.add_.Tensor, self._part_of(y, box, axis), added)
            case "kernels":
                for piece in border.pieces():
                    added = self._piece(piece, border, x, axis, at)
                    self._call(aten.add_.Tensor, self._part_of(y, piece.rows, axis), added)
            case "ones":
                return self._with_ones(border, y, x, axis, at)
            case "steps":
                self._stepped(border, y, x, axis, at)
        return y

    def _part_of(self, x: FxNode, spans: tuple[range | None, ...], axis: int) -> FxNode:
        for i, span in enumerate(spans):
            if span is not None:
                x = self._call(aten.slice.Tensor, x, axis + 1 + i, span.start, span.stop)
        return x

    def _piece(self, piece: Piece, border: Border, x: FxNode, axis: int, at: FxNode) -> FxNode:
        like = at.meta["val"]
        if not piece.linear:
            return self._constant(piece.constants().to(like), at, "border")
        value = piece.operator.to(like.dtype, like.device)
        parameter = self._parameters(border.parts, border.sources, value.dims, "border_")
        y = self._convolve(value, self._part_of(x, piece.reads, axis), parameter)

        def narrow(a: FxNode, dim: int, start: int, length: int) -> FxNode:
            return self._call(aten.slice.Tensor, a, dim, start, start + length)

        laid_out: FxNode = piece.laid_out(y, [-1] * axis, self._reshape, self._permute, narrow)
        return laid_out

    def _with_ones(self, border: Border, y: FxNode, x: FxNode, axis: int, at: FxNode) -> FxNode:
        like = at.meta["val"]
        for dim in range(axis + 1):
            x = self._call(aten.slice.Tensor, x, dim, 0, 1)
        ones = self._call(aten.ones_like.default, x)
        for steps in border.ones():
            missing = ones
            for op in steps:
                parameter = self._parameters(border.parts, border.sources, op.dims, "border_")
                missing = self._convolve(op.to(like.dtype, like.device), missing, parameter)
            y = self._call(aten.add.Tensor, y, missing)
        return y

    def _stepped(self, border: Border, y: FxNode, x: FxNode, axis: int, at: FxNode) -> None:
        """The original steps on strips of the input; a strip cut from a smaller one is all of it."""
        like = at.meta["val"]
        self.made = {}
        for i, strip, high in border.strips():
            dim, total = axis + 1 + i, None
            part = self._end(x, dim, strip.inputs, strip.step, high)
            for path in border.paths:
                value = part
                for step in path:
                    value = self._step(step, axis, value, like)
                total = value if total is None else self._call(aten.add.Tensor, total, value)
            assert total is not None
            exact = self._end(total, dim, strip.rows, 1, high)
            self._call(aten.copy_.default, self._end(y, dim, strip.rows, 1, high), exact)
        self.made = None

    def _end(self, x: FxNode, dim: int, n: int, step: int, high: bool) -> FxNode:
        """The first or last n positions, or all there are; the last from a multiple of ``step`` on."""
        if not high:
            return self._call(aten.slice.Tensor, x, dim, 0, n)
        if step == 1:
            return self._call(aten.slice.Tensor, x, dim, -n, _END)
        size = self._call(aten.sym_size.int, x, dim)
        first = self._call(torch.sym_max, self._call(sub, size, n), 0)
        first = self._call(mul, self._call(floordiv, first, step), step)
        return self._call(aten.slice.Tensor, x, dim, first, _END)

    def _step(self, step: Recipe, axis: int, x: FxNode, like: Tensor) -> FxNode:
        if isinstance(step, Given) and step.call is not None and self.lifted.nodes[step.call].target in _ANY_SIZE:
            return self._again(step.call, x)
        return self._apply(step, axis, x, like.dim(), like) if not step.identity else x

    def _resample(self, resample: Resample, xs: list[FxNode], node: Node, at: FxNode) -> FxNode:
        channels = node.signal.shape[1]
        parts = [
            self._call(aten.reshape.default, x, [-1, channels, rows])
            for x, rows in zip(xs, resample.rows(), strict=True)
        ]
        long = parts[0] if len(parts) == 1 else self._call(aten.cat.default, parts, 2)
        matrix = self._constant(resample.matrix.t().to(at.meta["val"]), at)
        y = self._call(aten.matmul.default, long, matrix)
        return self._call(aten.reshape.default, y, [-1, channels, *resample.after])

    def _constant(self, content: Tensor, at: FxNode, kind: str = "resize") -> FxNode:
        """Numbers that are no weights: a buffer."""
        node = self.graph.get_attr(path := f"_new_{len(self.parameters)}")
        self.calls.weights[path] = content.contiguous()
        self.parameters.append(NewParameter(node, [path_of(at)], kind))
        return node

    def _layout(self, layout: Layout, x: FxNode) -> FxNode:
        if layout.order is not None:
            return self._call(aten.permute.default, x, list(layout.order))
        assert layout.shape is not None and layout.origin is not None
        call = self.lifted.nodes[layout.origin]
        if call.target is not aten.reshape.default:  # squeeze, unsqueeze: indifferent to how long the channels are
            return self._call(call.target, x, *call.args[1:], **call.kwargs)
        # Free sizes stay the nodes they were; only the carried axis may have another length now.
        before, asked = call.meta["val"].shape, call.args[1]
        assert isinstance(asked, list | tuple)
        shape = [m if isinstance(n, int) and n != m else a for n, m, a in zip(before, layout.shape, asked, strict=True)]
        return self._call(aten.reshape.default, x, shape)

    def _apply(self, recipe: Recipe, axis: int, x: FxNode, rank: int, like: Tensor) -> FxNode:
        value = recipe.value if isinstance(recipe, Given) else recovered(recipe.value)
        value = value.to(like.dtype, like.device)
        parameter = self._parameters([recipe], list(dict.fromkeys(recipe.sources)), value.dims)
        if value.geometry.diagonal:
            return self._scale(value, axis, x, rank, parameter)
        if value.dims == 0:
            return self._linear(value, axis, x, rank, parameter)
        if value.geometry.widens and any(g.scatters for g in recipe.given):
            return self._transpose(value, x, parameter)
        return self._convolve(value, x, parameter)

    def _parameters(self, recipes: Iterable[Recipe], sources: list[str], dims: int, prefix: str = "") -> Parameter:
        """Makes the weights of an operator composed of these recipes; the same again for the same recipe."""
        recipes = list(recipes)
        given = [g for recipe in recipes for g in recipe.given]
        paths = [p for p in (_common_path(sources), *sources[:1]) if p] or [""]
        trains = any(s in self.lifted.training for s in sources)
        channels_last = _channels_last(given, dims)

        def parameter(kind: str, tensor: Tensor) -> FxNode:
            key = (recipes[0], kind, tensor.shape)
            if self.made is not None and key in self.made:
                return self.made[key]
            data = tensor.detach().contiguous()
            if channels_last is not None and data.dim() == dims + 2:
                data = data.contiguous(memory_format=channels_last)
            own = nn.Parameter(data, requires_grad=trains)
            node = self.graph.get_attr(path := f"_new_{len(self.parameters)}")
            self.calls.weights[path] = own
            self.parameters.append(NewParameter(node, paths, prefix + kind))
            if self.made is not None:
                self.made[key] = node
            return node

        return parameter

    def _scale(self, value: Convolution, axis: int, x: FxNode, rank: int, parameter: Parameter) -> FxNode:
        """One number a channel: a broadcast multiply, add, or both at once."""
        shape = [-1] + [1] * (rank - 1 - axis)
        if value.bias is None:
            return self._call(aten.mul.Tensor, x, parameter("weight", value.kernel.reshape(shape)))
        bias = parameter("bias", value.bias.reshape(shape))
        if bool((value.kernel == 1).all()):
            return self._call(aten.add.Tensor, x, bias)
        return self._call(aten.addcmul.default, bias, x, parameter("weight", value.kernel.reshape(shape)))

    def _linear(self, value: Convolution, axis: int, x: FxNode, rank: int, parameter: Parameter) -> FxNode:
        """No space axis: a linear layer on the last axis, or a pointwise convolution on axis 1."""
        if axis == rank - 1 and value.groups == 1:
            bias = None if value.bias is None else parameter("bias", value.bias)
            return self._call(aten.linear.default, x, parameter("weight", value.kernel), bias)
        dims = rank - 2
        if axis == 1 and 1 <= dims <= 3:
            return self._convolve(value.lifted(dims), x, parameter)
        order = [i for i in range(rank) if i != axis] + [axis]
        moved = self._call(aten.permute.default, x, order)
        y = self._linear(value.ungrouped(), rank - 1, moved, rank, parameter)
        return self._call(aten.permute.default, y, [order.index(i) for i in range(rank)])

    def _convolve(self, value: Convolution, x: FxNode, parameter: Parameter) -> FxNode:
        if value.geometry.upsamples:
            if (r := value.geometry.phased) is not None:
                return self._shuffled(_phases(value, r), r, value, x, parameter)
            return self._transpose(value, x, parameter)
        padding, before = zip(*map(pad_arguments, value.windows), strict=True)
        x = self._pad(x, before)
        weight = parameter("weight", value.kernel)
        bias = None if value.bias is None else parameter("bias", value.bias)
        stride, dilation = [w.stride for w in value.windows], [w.dilation for w in value.windows]
        return self._call(_CONV[value.dims], x, weight, bias, stride, list(padding), dilation, value.groups)

    def _shuffled(self, conv: Convolution, r: int, value: Convolution, x: FxNode, parameter: Parameter) -> FxNode:
        """All phases by one convolution, then interleaved: the periodic bias is a plain one there."""
        y = self._call(aten.pixel_shuffle.default, self._convolve(conv, x, parameter), r)
        for i, w in enumerate(value.windows):
            if extra := -(w.slack + 1) % r:  # the output's size is this much short of whole phases
                y = self._call(aten.slice.Tensor, y, i + 2, 0, -extra)
        return y

    def _transpose(self, value: Convolution, x: FxNode, parameter: Parameter) -> FxNode:
        windows, dims = value.windows, value.dims
        padding, extra, after = zip(*map(transposed_arguments, windows), strict=True)
        strided = any(w.stride > 1 for w in windows)
        # The bias goes in last where it is not one number a channel, or where positions are added after the fact.
        late = value.bias is not None and (value.geometry.periodic or any(n > 0 for pair in after for n in pair))
        weight = parameter("weight", transposed_weight(value.kernel, value.groups))
        bias = None if value.bias is None or late else parameter("bias", value.bias)
        up, dilation = [w.upsample for w in windows], [w.dilation for w in windows]
        y = self._call(_TRANSPOSE[dims], x, weight, bias, up, list(padding), list(extra), value.groups, dilation)
        y = self._pad(y, after)
        for i, w in enumerate(windows):
            if strided and w.stride > 1:
                y = self._call(aten.slice.Tensor, y, i + 2, 0, _END, w.stride)
        return self._add_periodic(y, value, parameter) if late else y

    def _add_periodic(self, y: FxNode, value: Convolution, parameter: Parameter) -> FxNode:
        """y + bias[n mod period]: the bias laid out over a size that may only be known at run time."""
        tensor = value.periodic_bias()
        bias = parameter("bias", tensor)
        for i, period in enumerate(tensor.shape[1:], start=1):
            if period > 1:
                n = self._call(aten.sym_size.int, y, i + 1)
                index = self._call(aten.arange.default, n, device=tensor.device)
                index = self._call(aten.remainder.Scalar, index, period)
                bias = self._call(aten.index_select.default, bias, i, index)
        return self._call(aten.add.Tensor, y, bias)

    def _pad(self, x: FxNode, pairs: Any) -> FxNode:
        for sign in (1, -1):  # pads before crops: a crop may eat into the zeros
            flat = [sign * max(sign * n, 0) for pair in reversed(pairs) for n in pair]
            if any(flat):
                x = self._call(aten.constant_pad_nd.default, x, flat)
        return x

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
            p.node.name = self.graph._graph_namespace.create_name(path.replace(".", "_"), None)


def _phases(value: Convolution, r: int) -> Convolution:
    """The convolution that computes every phase of an upsampling by r as a channel of its own: unshuffle ∘ value.

    The law of series does it: stride r after upsample r divides out.
    """
    whole = tuple(replace(w, hi=w.hi + -(w.slack + 1) % r) for w in value.windows)
    extended = Convolution(value.kernel, value.bias, value.groups, whole)
    return pixel_unshuffle(value.c_out, r).to(value.kernel.dtype, value.kernel.device) @ extended


def _channels_last(given: list[Given], dims: int) -> torch.memory_format | None:
    """The format of the kernels it was composed of, if they agree that channels come last."""
    fmt = {2: torch.channels_last, 3: torch.channels_last_3d}.get(dims)
    kernels = [g.operator.kernel for g in given if g.operator.dims == dims and g.operator.kernel.shape[1] > 1]
    if fmt is None or not kernels:
        return None
    last = all(k.is_contiguous(memory_format=fmt) for k in kernels)
    return fmt if last and not all(k.is_contiguous() for k in kernels) else None  # a single tap is both


def _common_path(sources: list[str]) -> str:
    parts = [s.split(".") for s in sources]
    return ".".join(a[0] for a in takewhile(lambda a: len(set(a)) == 1, zip(*parts, strict=False)))
