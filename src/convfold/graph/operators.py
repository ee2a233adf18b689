"""One operator of a plan → the ATen calls of its realisation, on parameters of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node as FxNode

from convfold.algebra import phases
from convfold.algebra.convolution import Convolution, transposed_weight
from convfold.algebra.realisation import (
    Convolve,
    Linear,
    Realisation,
    Scale,
    Shuffle,
    Transpose,
    adds,
    flat_pads,
    pad_arguments,
    transposed_arguments,
)
from convfold.graph.unlift import Calls
from convfold.plan.recipe import Given, Recipe

aten = torch.ops.aten

#: Makes a parameter of a tensor and gives the node that reads it.
Parameter = Callable[[str, Tensor], FxNode]
END = 2**63 - 1
_CONV = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}
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


class Operators:
    """Writes operators into a graph, where it is being inserted into."""

    def __init__(self, calls: Calls, training: set[str]) -> None:
        self.calls, self.graph, self.training = calls, calls.graph, training
        self.parameters: list[NewParameter] = []

    def call(self, target: Any, *args: Any, **kwargs: Any) -> FxNode:
        return self.graph.call_function(target, args, kwargs)

    def reshape(self, x: FxNode, shape: list[int]) -> FxNode:
        return self.call(aten.reshape.default, x, shape)

    def permute(self, x: FxNode, order: list[int]) -> FxNode:
        return self.call(aten.permute.default, x, order)

    def span(self, x: FxNode, axis: int, start: int, stop: int) -> FxNode:
        return self.call(aten.slice.Tensor, x, axis, start, stop)

    def constant(self, content: Tensor, path: str, kind: str = "resize") -> FxNode:
        """Numbers that are no weights: a buffer."""
        return self._new(content.contiguous(), [path], kind)

    def weight(self, content: Tensor, source: str) -> FxNode:
        """A weight that was computed from weights."""
        own = content.detach().contiguous()
        trains = source in self.training
        return self._new(nn.Parameter(own, trains) if own.is_floating_point() else own, [source], "weight")

    def parameter(self, recipes: Iterable[Recipe], sources: list[str], dims: int, prefix: str = "") -> Parameter:
        """Makes the weights of an operator composed of these recipes."""
        given = [g for recipe in recipes for g in recipe.given]
        paths = [p for p in (_common_path(sources), *sources[:1]) if p] or [""]
        trains = any(s in self.training for s in sources)
        channels_last = _channels_last(given, dims)

        def parameter(kind: str, tensor: Tensor) -> FxNode:
            data = tensor.detach().contiguous()
            if channels_last is not None and data.dim() == dims + 2:
                data = data.contiguous(memory_format=channels_last)
            return self._new(nn.Parameter(data, requires_grad=trains), paths, prefix + kind)

        return parameter

    def _new(self, content: Tensor, paths: list[str], kind: str) -> FxNode:
        node = self.graph.get_attr(path := f"_new_{len(self.parameters)}")
        self.calls.weights[path] = content
        self.parameters.append(NewParameter(node, paths, kind))
        return node

    def recipe(self, recipe: Recipe, how: Realisation, axis: int, x: FxNode, rank: int, like: Tensor) -> FxNode:
        """An operator of the plan, named after what it was composed of, in the type and on the device of ``like``."""
        value = recipe.value.to(like.dtype, like.device)
        parameter = self.parameter([recipe], list(dict.fromkeys(recipe.sources)), value.dims)
        return self.apply(value, how, axis, x, rank, parameter)

    def apply(
        self, value: Convolution, how: Realisation, axis: int, x: FxNode, rank: int, parameter: Parameter
    ) -> FxNode:
        """An operator on channel axis ``axis`` of a signal of ``rank`` axes."""
        match how:
            case Scale():
                return self._scale(value, axis, x, rank, parameter)
            case Linear():
                return self._linear(value.ungrouped(), axis, x, rank, parameter)
            case Convolve():
                return self._convolve(value.lifted(rank - 1 - axis), x, parameter)
            case Transpose():
                return self._transpose(value, x, parameter)
            case Shuffle(rate=rate):
                return self._shuffled(value, rate, x, parameter)
            case _:
                raise AssertionError(f"{how} cannot be written anew")

    def _scale(self, value: Convolution, axis: int, x: FxNode, rank: int, parameter: Parameter) -> FxNode:
        """One number a channel: a broadcast multiply, add, or both at once."""
        shape = [-1] + [1] * (rank - 1 - axis)
        if value.bias is None:
            return self.call(aten.mul.Tensor, x, parameter("weight", value.kernel.reshape(shape)))
        bias = parameter("bias", value.bias.reshape(shape))
        if bool((value.kernel == 1).all()):
            return self.call(aten.add.Tensor, x, bias)
        return self.call(aten.addcmul.default, bias, x, parameter("weight", value.kernel.reshape(shape)))

    def _linear(self, value: Convolution, axis: int, x: FxNode, rank: int, parameter: Parameter) -> FxNode:
        """A linear layer on the last axis, to which the channels are brought."""
        order = [i for i in range(rank) if i != axis] + [axis]
        moved = axis != rank - 1
        if moved:
            x = self.permute(x, order)
        bias = None if value.bias is None else parameter("bias", value.bias)
        y = self.call(aten.linear.default, x, parameter("weight", value.kernel), bias)
        return self.permute(y, [order.index(i) for i in range(rank)]) if moved else y

    def _convolve(self, value: Convolution, x: FxNode, parameter: Parameter) -> FxNode:
        padding, before = zip(*map(pad_arguments, value.windows), strict=True)
        x = self._pad(x, before)
        late = value.geometry.periodic
        weight = parameter("weight", value.kernel)
        bias = None if value.bias is None or late else parameter("bias", value.bias)
        stride, dilation = [w.stride for w in value.windows], [w.dilation for w in value.windows]
        y = self.call(_CONV[value.dims], x, weight, bias, stride, list(padding), dilation, value.groups)
        return self._add_periodic(y, value, parameter) if late else y

    def _shuffled(self, value: Convolution, rate: int, x: FxNode, parameter: Parameter) -> FxNode:
        """All phases by one convolution, then interleaved: the periodic bias is a plain one there."""
        y = self.call(aten.pixel_shuffle.default, self._convolve(phases.split(value, rate), x, parameter), rate)
        for i, w in enumerate(value.windows):
            if extra := phases.excess(w, rate):
                y = self.span(y, i + 2, 0, -extra)
        return y

    def _transpose(self, value: Convolution, x: FxNode, parameter: Parameter) -> FxNode:
        windows, dims = value.windows, value.dims
        padding, extra, after = zip(*map(transposed_arguments, windows), strict=True)
        # The bias goes in last where it is not one number a channel, or where positions are added after the fact.
        late = value.bias is not None and (value.geometry.periodic or adds(after))
        weight = parameter("weight", transposed_weight(value.kernel, value.groups))
        bias = None if value.bias is None or late else parameter("bias", value.bias)
        up, dilation = [w.upsample for w in windows], [w.dilation for w in windows]
        y = self.call(_TRANSPOSE[dims], x, weight, bias, up, list(padding), list(extra), value.groups, dilation)
        y = self._pad(y, after)
        for i, w in enumerate(windows):
            if w.stride > 1:
                y = self.call(aten.slice.Tensor, y, i + 2, 0, END, w.stride)
        return self._add_periodic(y, value, parameter) if late else y

    def _add_periodic(self, y: FxNode, value: Convolution, parameter: Parameter) -> FxNode:
        """y + bias[n mod period]: the bias laid out over a size that may only be known at run time."""
        tensor = value.periodic_bias()
        bias = parameter("bias", tensor)
        for i, period in enumerate(tensor.shape[1:], start=1):
            if period > 1:
                n = self.call(aten.sym_size.int, y, i + 1)
                index = self.call(aten.arange.default, n, device=tensor.device)
                index = self.call(aten.remainder.Scalar, index, period)
                bias = self.call(aten.index_select.default, bias, i, index)
        return self.call(aten.add.Tensor, y, bias)

    def _pad(self, x: FxNode, pairs: Iterable[tuple[int, int]]) -> FxNode:
        for flat in flat_pads(pairs):
            x = self.call(aten.constant_pad_nd.default, x, flat)
        return x


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
