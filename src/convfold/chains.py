"""Is an exported block a chain of convolutions, or a sum of such chains? Then which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node as FxNode

from convfold.algebra import series
from convfold.algebra.convolution import Convolution
from convfold.algebra.operation import Apply, Move, Slice, Spatial
from convfold.errors import GHOSTS, NotFoldable
from convfold.graph.exported import Graph
from convfold.graph.lift import path_of
from convfold.graph.measure import packet
from convfold.layers.links import WAYS, Link
from convfold.layers.padding import zero_padding
from convfold.plan import Prices
from convfold.plan.form import Context, Form, Term
from convfold.plan.recipe import Recipe, Uniform, identity, lifted
from convfold.plan.rules import carry
from convfold.region import Node, Region

#: Of forms of one value, so many are looked at: a pool is a move and a convolution.
FORMS = 16

Path = tuple[Convolution, ...]


class Reading:
    """A graph of one input (N, C, *space), every size but C free, as links of a chain."""

    def __init__(self, graph: Graph, shape: Sequence[int], differentiable: bool) -> None:
        self.graph, self.lifted = graph, graph.lift(differentiable)
        self.channels, self.dims = shape[1], len(shape) - 2

    def links(self) -> list[Link]:
        """Raises NotFoldable, with the reason and the module it is about, where it is none."""
        nodes = self.graph.calls.graph.nodes
        (x,) = (n for n in nodes if n.op == "placeholder")
        (returned,) = (n for n in nodes if n.op == "output")
        (y,) = returned.args[0]
        if y is x:
            return [Link(((self._value(identity(self.channels)),),))]
        region = next((r for r in self.lifted.regions if y.name in r.outputs), None)
        if region is None or [n.name for n in region.inputs] != [x.name]:
            raise self._reason(y, region)
        return self._row(region, y.name) or [self._sum(region, x.name, y.name)]

    # --- a block that is no stretch of steps ---------------------------------------------------------------------

    def _reason(self, y: FxNode, region: Region | None) -> NotFoldable:
        """Why some call before the output is no step."""
        for n in region.inputs if region is not None else ():
            if n.name in self.lifted.bare:
                node = self.lifted.bare[n.name][0]
                return NotFoldable("not-affine", f"{_name(node.target)} divides by what it reads", _path(node))
        steps = {n.name for region in self.lifted.regions for n in region.steps}
        before, todo = set[FxNode](), [y]
        while todo:
            node = todo.pop()
            if node not in before and node not in self.graph.constants:
                before.add(node)
                todo += node.all_input_nodes
        for node in self.graph.calls.graph.nodes:
            if node in before and node.op == "call_function" and node.name not in steps:
                if (e := self.lifted.opaque.get(node.name)) is not None:
                    return NotFoldable(e.code, f"{_name(node.target)}: {e.detail}", _path(node))
                if isinstance(node.meta.get("val"), Tensor):
                    return NotFoldable("not-affine", f"{_name(node.target)} is not affine", _path(node))
        return NotFoldable("not-affine", "its output does not depend on its input alone")

    # --- steps in a row ------------------------------------------------------------------------------------------

    def _row(self, region: Region, y: str) -> list[Link] | None:
        """Steps each read by the next alone: together they may be one where two of them are not."""
        found, now, channels = list[Link](), region.nodes[0].name, self.channels
        for node in region.steps:
            link = self._link(node, channels) if node.inputs == (now,) else None
            if link is None:
                return None
            found.append(link)
            now, channels = node.name, link.c_out
        return found if now == y else None

    def _link(self, node: Node, channels: int) -> Link | None:
        match node.operation:
            case Apply(operator=Uniform() as operator):
                return Link(((self._value(operator.over(channels)),),))
            case Apply(operator=Recipe() as operator, axis=1):
                return Link(((self._value(operator),),))
            case Spatial(convolution=Recipe() as operator, axis=1):
                return Link(((self._value(operator),),))
            case Spatial() as step:
                return _copies(step, channels, self.dims)
            case _:
                return None

    def _value(self, operator: Recipe) -> Convolution:
        return lifted(operator, self.dims).value.lifted(self.dims)

    # --- branches ------------------------------------------------------------------------------------------------

    def _sum(self, region: Region, x: str, y: str) -> Link:
        """Everything carried from the input to the output, by the planner's laws."""
        context = Context({n.name: n.signal for n in region.nodes}, Prices("macs"))
        forms: dict[str, list[Form]] = {x: [Form.leaf(x)]}
        for node in region.steps:
            forms[node.name] = self._carried(node, [forms[i] for i in node.inputs], context)
        return _first(self._gathered, forms[y])

    def _carried(self, node: Node, inputs: list[list[Form]], context: Context) -> list[Form]:
        found, reason = list[Form](), None
        for given in product(*inputs):
            try:
                found += carry(node, given, context)
            except NotFoldable as e:
                reason = reason or e
        if reason is not None and not found:
            call = self.lifted.nodes.get(node.name)
            raise NotFoldable(reason.code, reason.detail, _path(call) if call is not None else "")
        return sorted(found, key=_length)[:FORMS]

    def _gathered(self, form: Form) -> Link:
        """Paths that are one convolution as one, the others as they are."""
        one, rest = None, list[Path]()
        for path in self._paths(form):
            try:
                value = series.chain(path)
            except NotFoldable as e:
                if e.code not in GHOSTS:
                    raise
                rest.append(path)
            else:
                one = value if one is None else one + value
        if len(rest) > WAYS:
            raise NotFoldable("too-large", f"more than {WAYS} ways through its branches")
        return Link((*([] if one is None else [(one,)]), *rest))

    def _paths(self, form: Form) -> Iterator[Path]:
        """Of every block of channels, put at its place among them."""
        if len(form.blocks) > 1 and form.axis != 1:
            raise NotFoldable("layout-mixes-channels", "a concat along another axis than the channels")
        total, start = sum(form.sizes), 0
        for terms, size in zip(form.blocks, form.sizes or (0,), strict=True):
            placed: Path = ()
            if len(form.blocks) > 1:
                placed = (self._matrix(torch.eye(total, dtype=torch.float64)[:, start : start + size]),)
            for term in terms:
                yield from ((*path, *placed) for path in self._ways(term))
            start += size

    def _ways(self, term: Term) -> Iterator[Path]:
        """The operator, or the chains it stands for, between moves that are convolutions: slices of channels."""
        shapes = [(0, self.channels), *((0, m.signal.shape[1]) for m in term.route)]
        moves = [self._move(m.move, before) for m, (_, before) in zip(term.route, shapes, strict=False)]
        before, after = tuple(moves[: term.at]), tuple(moves[term.at :])
        if term.operator is None or isinstance(term.operator, Uniform):
            channels = shapes[term.at][1]
            operator = identity(channels) if term.operator is None else term.operator.over(channels)
            yield (*before, self._value(operator), *after)
            return
        if term.axis != 1:
            raise NotFoldable("layout-mixes-channels", f"works along axis {term.axis}, not on the channels")
        for way in term.ways:
            yield (*before, *(self._value(step) for step in way), *after)

    def _move(self, move: Move, channels: int) -> Convolution:
        if isinstance(move, Slice) and move.axis == 1:
            return self._matrix(torch.eye(channels, dtype=torch.float64)[move.start : move.stop])
        name = _name(move.target) if isinstance(move, Spatial) else type(move).__name__.lower()
        raise NotFoldable("not-affine", f"{name} is no convolution")

    def _matrix(self, matrix: Tensor) -> Convolution:
        return Convolution(matrix).lifted(self.dims)


def _length(form: Form) -> int:
    return sum(len(t.ways) + len(t.route) for terms in form.blocks for t in terms)


def _first(make: Any, forms: Sequence[Form]) -> Link:
    """Of the first form of which it can be made; else the first reason why not."""
    reasons = []
    for form in forms:
        try:
            return make(form)  # type: ignore[no-any-return]
        except NotFoldable as e:
            reasons.append(e)
    raise reasons[0]


def _copies(step: Spatial, channels: int, dims: int) -> Link | None:
    """A pad that copies data; None where it is none."""
    arguments = dict(step.arguments)
    mode = arguments.get("mode")
    if step.reason is None or step.reason.code != "padding-mode" or mode not in ("reflect", "replicate", "circular"):
        return None
    pads = arguments["pad"]
    return Link(((zero_padding(channels, pads, dims),),), mode)


def _name(target: Any) -> str:
    return str(packet(target)).rpartition(".")[2]


def _path(node: FxNode) -> str:
    return path_of(node).removeprefix("block").removeprefix(".")
