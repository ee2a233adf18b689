"""A mended border → ATen calls: constants, kernels or the original steps, written into the outermost outputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import floordiv, mul, sub

import torch
from torch import Tensor
from torch.fx import Node as FxNode

from convfold.algebra.border import Piece
from convfold.algebra.margins import Spans
from convfold.algebra.realisation import OwnCall, Realisation
from convfold.graph.operators import END, Operators, Parameter
from convfold.plan.border import Border, Stepped
from convfold.plan.mending import Constants, Hoisted, Kernels, Map, Mending, Ones, Steps
from convfold.plan.recipe import Given, Recipe

aten = torch.ops.aten

#: The model's call of this name, on another value.
Again = Callable[[str, FxNode], FxNode]


class Mender:
    """Writes what mends a border into a graph; ``path`` is where the numbers belong, ``like`` what they are like."""

    def __init__(self, operators: Operators, again: Again, axis: int, rank: int, path: str, like: Tensor) -> None:
        self.operators, self.again, self.axis, self.rank = operators, again, axis, rank
        self.path, self.like = path, like

    def __call__(self, mending: Mending, y: FxNode, x: FxNode) -> FxNode:
        """Into ``y``, which nothing else reads and which was computed from ``x``, or added to it."""
        match mending:
            case Hoisted():
                return y
            case Map(values=values):
                return self.operators.call(aten.add.Tensor, y, self._constant(values))
            case Constants(parts=parts):
                for box, values in parts:
                    self._add(y, box, self._constant(values))
            case Kernels(border=border, pieces=pieces):
                for piece, how in pieces:
                    self._add(y, piece.rows, self._piece(piece, how, border, x))
            case Ones():
                return self._with_ones(mending, y, x)
            case Steps(paths=paths, strips=strips):
                parameters = cache(self._parameter)  # weights that several strips read
                for stepped in strips:
                    self._stepped(stepped, paths, parameters, y, x)
        return y

    def _constant(self, values: Tensor) -> FxNode:
        return self.operators.constant(values.to(self.like), self.path, "border")

    def _add(self, y: FxNode, spans: Spans, added: FxNode) -> None:
        self.operators.call(aten.add_.Tensor, self._part_of(y, spans), added)

    def _part_of(self, x: FxNode, spans: Spans) -> FxNode:
        for i, span in enumerate(spans):
            if span is not None:
                x = self.operators.span(x, self.axis + 1 + i, span.start, span.stop)
        return x

    def _piece(self, piece: Piece, how: Realisation | None, border: Border, x: FxNode) -> FxNode:
        write = self.operators
        if how is None:
            return self._constant(piece.constants())
        value = piece.operator.to(self.like.dtype, self.like.device)
        parameter = write.parameter(border.parts, border.sources, value.dims, "border_")
        y = write.apply(value, how, self.axis, self._part_of(x, piece.reads), self.rank, parameter)

        def narrow(a: FxNode, dim: int, start: int, length: int) -> FxNode:
            return write.span(a, dim, start, start + length)

        laid_out: FxNode = piece.laid_out(y, [-1] * self.axis, write.reshape, write.permute, narrow)
        return laid_out

    def _with_ones(self, mending: Ones, y: FxNode, x: FxNode) -> FxNode:
        write, border = self.operators, mending.border
        for dim in range(self.axis + 1):
            x = write.span(x, dim, 0, 1)
        ones = write.call(aten.ones_like.default, x)
        for chain in mending.chains:
            missing = ones
            for op, how in chain:
                parameter = write.parameter(border.parts, border.sources, op.dims, "border_")
                value = op.to(self.like.dtype, self.like.device)
                missing = write.apply(value, how, self.axis, missing, self.rank, parameter)
            y = write.call(aten.add.Tensor, y, missing)
        return y

    def _stepped(
        self,
        stepped: Stepped,
        paths: tuple[tuple[Recipe, ...], ...],
        parameters: Callable[[Recipe], Parameter],
        y: FxNode,
        x: FxNode,
    ) -> None:
        """The original steps on a strip of the input; a strip cut from a smaller one is all of it."""
        write, dim, strip, high = self.operators, self.axis + 1 + stepped.axis, stepped.strip, stepped.high
        part, total = self._end(x, dim, strip.inputs, strip.step, high), None
        for path, hows in zip(paths, stepped.hows, strict=True):
            value = part
            for step, how in zip(path, hows, strict=True):
                if isinstance(how, OwnCall):
                    assert isinstance(step, Given) and step.call is not None
                    value = self.again(step.call, value)
                elif not step.identity:
                    own = step.value.to(self.like.dtype, self.like.device)
                    value = write.apply(own, how, self.axis, value, self.rank, parameters(step))
            total = value if total is None else write.call(aten.add.Tensor, total, value)
        assert total is not None
        exact = self._end(total, dim, strip.rows, 1, high)
        write.call(aten.copy_.default, self._end(y, dim, strip.rows, 1, high), exact)

    def _parameter(self, step: Recipe) -> Parameter:
        """Makes the weights of one step, each once."""
        new = self.operators.parameter([step], list(dict.fromkeys(step.sources)), step.geometry.dims)
        made: dict[tuple[str, torch.Size], FxNode] = {}

        def parameter(kind: str, tensor: Tensor) -> FxNode:
            key = (kind, tensor.shape)
            if key not in made:
                made[key] = new(kind, tensor)
            return made[key]

        return parameter

    def _end(self, x: FxNode, dim: int, n: int, step: int, high: bool) -> FxNode:
        """The first or last n positions, or all there are; the last from a multiple of ``step`` on."""
        call = self.operators.call
        if not high:
            return call(aten.slice.Tensor, x, dim, 0, n)
        if step == 1:
            return call(aten.slice.Tensor, x, dim, -n, END)
        size = call(aten.sym_size.int, x, dim)
        first = call(torch.sym_max, call(sub, size, n), 0)
        first = call(mul, call(floordiv, first, step), step)
        return call(aten.slice.Tensor, x, dim, first, END)
