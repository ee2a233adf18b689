"""Is an exported block a chain of convolutions, or of sums of such chains? Then which."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from convfold.algebra import parallel
from convfold.algebra.apply import Apply
from convfold.algebra.convolution import Convolution
from convfold.algebra.joins import Concat, Sum
from convfold.algebra.layout import Layout, Slice
from convfold.algebra.spatial import Pad, Spatial
from convfold.errors import NotFoldable
from convfold.frontends.torch.exported import Graph
from convfold.layers.links import WAYS, Link
from convfold.layers.padding import zero_padding
from convfold.plan.deferred import Deferred, Uniform, lifted
from convfold.region import Node, Region

#: Convolutions in turn; none: the input as it is.
Path = tuple[Convolution, ...]

_MIXED = "layout-mixes-channels"


@dataclass(frozen=True, eq=False)
class _Value:
    """A sum of paths from the input (N, C, *space), as it lies.

    ``axes``: of each axis, which of N, C and space (0, 1, 2 …) it holds; a view may have joined some. ``sizes``: of
    those, as symbols, where a view has said them.
    """

    paths: tuple[Path, ...]
    axes: tuple[tuple[int, ...], ...]
    sizes: tuple[tuple[int, Hashable], ...] = ()

    @property
    def plain(self) -> bool:
        return all(axis == (i,) for i, axis in enumerate(self.axes))

    def channels(self, c_in: int) -> int:
        return self.paths[0][-1].c_out if self.paths[0] else c_in

    def then(self, step: Convolution) -> _Value:
        """B∘Σ A_i = Σ B∘A_i, with the bias of B once; as one convolution wherever that is exact."""
        linear = Convolution(step.kernel, None, step.groups, step.windows)
        return replace(self, paths=_gathered([_longer(p, linear if i else step) for i, p in enumerate(self.paths)]))


def _longer(path: Path, step: Convolution) -> Path:
    if not path:
        return (step,)
    try:
        return (*path[:-1], step @ path[-1])
    except NotFoldable:
        return (*path, step)


def _gathered(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Those that are one convolution, as one; the others as they are."""
    one, rest = [p[0] for p in paths if len(p) == 1], [p for p in paths if len(p) != 1]
    if len(rest) > WAYS:
        raise NotFoldable("too-large", f"more than {WAYS} ways through its branches")
    return (*([(reduce(parallel.parallel, one),)] if one else []), *rest)


class Chains:
    """A graph of one input (N, C, *space), every size but C free, as links of a chain."""

    def __init__(self, graph: Graph, shape: Sequence[int], differentiable: bool) -> None:
        self.stretches, self.program = graph.lift(differentiable), graph.program
        self.channels, self.dims = shape[1], len(shape) - 2

    def links(self) -> list[Link]:
        """Raises NotFoldable, with the reason and the module it is about, where it is none."""
        (x,), (y,) = self.program.given, self.program.returned
        if y == x:
            return [Link(((self._identity(self.channels),),))]
        region = next((r for r in self.stretches.regions if y in r.outputs), None)
        if region is None or [n.name for n in region.inputs] != [x]:
            raise self._reason(y, region)
        return self._chain(region, x, y)

    def _reason(self, y: str, region: Region | None) -> NotFoldable:
        """Why some call before the output is no step."""
        program = self.program
        for n in region.inputs if region is not None else ():
            if n.name in self.stretches.bare:
                call, _ = self.stretches.bare[n.name]
                return NotFoldable("not-affine", f"{program.word(call)} divides by what it reads", self._path(call))
        steps = {n.name for region in self.stretches.regions for n in region.steps}
        for call in program.before_value(y):
            if call not in steps:
                if (e := self.stretches.opaque.get(call)) is not None:
                    return NotFoldable(e.code, f"{program.word(call)}: {e.detail}", self._path(call))
                if program.is_tensor(call):
                    return NotFoldable("not-affine", f"{program.word(call)} is not affine", self._path(call))
        return NotFoldable("not-affine", "its output does not depend on its input alone")

    def _path(self, call: str) -> str:
        return self.program.path(call).removeprefix("block").removeprefix(".")

    def _chain(self, region: Region, x: str, y: str) -> list[Link]:
        """A link ends wherever all that follows reads a single value."""
        steps = region.needed([y])
        last_read = {name: i for i, node in enumerate(steps) for name in node.inputs}
        start = _Value(((),), tuple((i,) for i in range(self.dims + 2)))
        found, channels, values = list[Link](), self.channels, {x: start}
        for i, node in enumerate(steps):
            alone = all(last_read[name] <= i for name in values)
            inputs = [values[name] for name in node.inputs]
            if alone and (pad := self._copies(node, inputs[0], channels)) is not None:
                found.append(pad)
                values = {node.name: start}
                continue
            try:
                value = self._value(node, inputs, channels)
            except NotFoldable as e:
                path = self._path(node.name) if self.program.has(node.name) else ""
                raise NotFoldable(e.code, e.detail, path) from None
            if alone and value.plain:
                found.append(Link(tuple(path or (self._identity(channels),) for path in value.paths)))
                channels, value = value.channels(channels), start
                values = {}
            values[node.name] = value
        if values[y] is not start:
            raise NotFoldable(_MIXED, "its output lies otherwise than its input")
        return found

    def _copies(self, node: Node, x: _Value, channels: int) -> Link | None:
        """A pad that copies data, at the beginning of a link; None where it is none."""
        step = node.operation
        if not isinstance(step, Pad) or not step.copies or not x.plain or x.paths != ((),):
            return None
        return Link(((zero_padding(channels, step.pads, self.dims),),), step.mode)

    def _value(self, node: Node, inputs: list[_Value], c_in: int) -> _Value:
        x, *others = inputs
        match node.operation:
            case Apply(operator=Uniform() as operator):
                return x.then(self._lifted(operator.over(x.channels(c_in))))
            case Apply(operator=Deferred() as operator, axis=axis):
                return x.then(self._on_channels(x, axis, operator))
            case Spatial(convolution=Deferred() as operator, axis=axis):
                return x.then(self._on_channels(x, axis, operator))
            case Spatial() as step:
                raise step.reason or NotFoldable("not-affine", f"{step.label} is no convolution")
            case Layout() as layout:
                return _laid_out(layout, x)
            case Slice(axis=axis) as cut if x.axes[axis] == (1,):
                channels = x.channels(c_in)
                return x.then(self._matrix(torch.eye(channels, dtype=torch.float64)[list(cut.positions(channels))]))
            case Concat(axis=axis) if all(v.axes == x.axes for v in others) and x.axes[axis] == (1,):
                return self._concat(inputs, c_in)
            case Sum(signs=signs) if all(v.axes == x.axes for v in others):
                signed = zip(signs or (1,) * len(inputs), inputs, strict=True)
                return self._sum([v if sign > 0 else self._negated(v, c_in) for sign, v in signed], c_in)
            case _:
                raise NotFoldable(_MIXED, "joined, added or cut along another axis than the channels")

    def _on_channels(self, x: _Value, axis: int, operator: Deferred) -> Convolution:
        """The operator, if the axis it is on holds the channels, and those behind it what it wants there."""
        wanted = [(1,)] if operator.geometry.pointwise else [(i + 1,) for i in range(self.dims + 1)]
        if list(x.axes[axis : axis + len(wanted)]) != wanted:
            raise NotFoldable(_MIXED, "works on axes that do not hold the channels and all of space")
        return self._lifted(operator)

    def _sum(self, values: Sequence[_Value], c_in: int) -> _Value:
        paths = [path or (self._identity(c_in),) for v in values for path in v.paths]
        return replace(values[0], paths=_gathered(paths))

    def _negated(self, x: _Value, c_in: int) -> _Value:
        return x.then(-self._identity(x.channels(c_in)))

    def _concat(self, values: Sequence[_Value], c_in: int) -> _Value:
        """Each part put at its place among the channels, and added."""
        sizes = [v.channels(c_in) for v in values]
        places = torch.eye(sum(sizes), dtype=torch.float64).split(sizes, 1)
        return self._sum([v.then(self._matrix(place)) for v, place in zip(values, places, strict=True)], c_in)

    def _matrix(self, matrix: Tensor) -> Convolution:
        return Convolution(matrix).lifted(self.dims)

    def _lifted(self, operator: Deferred) -> Convolution:
        return lifted(operator, self.dims).value.lifted(self.dims)

    def _identity(self, channels: int) -> Convolution:
        return Convolution.identity(channels, self.dims).to(torch.float64)


def _laid_out(layout: Layout, x: _Value) -> _Value:
    """A permute, or a view that joins axes or takes apart what one has joined."""
    if layout.order is not None:
        return replace(x, axes=tuple(x.axes[i] for i in layout.order))
    before, after = layout.symbols
    sizes = dict(x.sizes) | {axis[0]: n for axis, n in zip(x.axes, before, strict=True) if len(axis) == 1}
    left, axes = [i for axis in x.axes for i in axis], list[tuple[int, ...]]()
    for n in after:
        joined, length = list[int](), 1
        while left and (length != n or (n == 1 and not joined and sizes.get(left[0]) == 1)):
            length *= sizes[left[0]]  # type: ignore[operator]
            joined.append(left.pop(0))
        if length != n:
            raise NotFoldable(_MIXED, "a view takes an axis apart")
        axes.append(tuple(joined))
    return replace(x, axes=tuple(axes), sizes=tuple(sizes.items()))
