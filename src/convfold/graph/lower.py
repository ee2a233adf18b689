"""A planned region → ATen calls in the graph: each step as the plan has decided."""

from __future__ import annotations

from itertools import chain, count
from operator import getitem
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node as FxNode

from convfold.algebra.operation import Apply, Concat, Correct, Layout, Resample, Slice, Spatial, Spread, Sum
from convfold.algebra.realisation import OwnCall
from convfold.graph.lift import Lifted, path_of
from convfold.graph.mend import Mender
from convfold.graph.operators import Operators
from convfold.graph.unlift import Calls
from convfold.plan.border import Border
from convfold.plan.mending import Mending
from convfold.plan.recipe import Given, Recipe
from convfold.region import Node, Region, shared_out

aten = torch.ops.aten


class Lowering:
    """Writes planned regions into a graph; values it replaces are left for the sweep."""

    def __init__(self, calls: Calls, lifted: Lifted) -> None:
        self.calls, self.graph, self.lifted = calls, calls.graph, lifted
        self.values = dict(lifted.nodes)  # region value → graph node, kept current
        self.operators = Operators(calls, lifted.training)
        self.parts: dict[str, tuple[tuple[Slice, ...], int]] = {}  # slices that share out a value
        self.splits: dict[FxNode, FxNode] = {}
        self.replaced: set[FxNode] = set()  # calls that nothing will read

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
        with self.graph.inserting_before(weight):
            node = self.operators.weight(content.to(like.dtype), source)
        node.meta = dict(weight.meta)
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
        new = self.operators.call(norm.target, *args, **kwargs)
        new.meta = dict(norm.meta)
        return new

    def _emit(self, node: Node, at: FxNode) -> FxNode:
        inputs = [self._input(i) for i in node.inputs]
        match node.operation:
            case Apply(operator=Given(call=str(name)), how=OwnCall()):  # a shuffle stays one, wherever it is applied
                return self._again(name, inputs[0])
            case Apply(operator=Recipe() as recipe, axis=axis, how=how):
                assert how is not None
                return self.operators.recipe(recipe, how, axis, inputs[0], len(node.signal.shape), at.meta["val"])
            case Sum() as step:
                return self._sum(step, inputs)
            case Concat(axis=axis):
                return self.operators.call(aten.cat.default, inputs, axis)
            case Slice() if node.name in self.parts:
                return self._part(*self.parts[node.name], inputs[0])
            case Slice(axis=axis, start=start, stop=stop):
                return self.operators.call(aten.slice.Tensor, inputs[0], axis, start, stop)
            case Layout() as layout:
                return self._layout(layout, inputs[0])
            case Spatial(origin=str(name)):
                return self._again(name, inputs[0])
            case Spatial(target=target, arguments=arguments):  # new: the plan made it, of known sizes
                rest = (list(v) if isinstance(v, tuple) else v for _, v in arguments)
                return self.operators.call(target, inputs[0], *rest)
            case Correct(axis=axis, written=Mending() as mending):
                mend = Mender(self.operators, self._again, axis, len(node.signal.shape), path_of(at), at.meta["val"])
                return mend(mending, inputs[0], inputs[-1])
            case Resample() as resample:
                return self._resample(resample, inputs, node, at)
            case Spread() as spread:
                return self._spread(spread, inputs[0], node.signal.shape[spread.spatial.axis], at)
            case _:
                raise AssertionError(f"{node.name}: nothing to write")

    def _sum(self, step: Sum, inputs: list[FxNode]) -> FxNode:
        (sign, total), *rest = step.signed(inputs)
        total = total if sign > 0 else self.operators.call(aten.neg.default, total)
        for sign, x in rest:
            total = self.operators.call(aten.add.Tensor if sign > 0 else aten.sub.Tensor, total, x)
        return total

    def _part(self, slices: tuple[Slice, ...], i: int, x: FxNode) -> FxNode:
        """One of the parts of one split."""
        if x not in self.splits:
            self.splits[x] = self.operators.call(
                aten.split_with_sizes.default, x, [s.stop - s.start for s in slices], slices[0].axis
            )
        return self.operators.call(getitem, self.splits[x], i)

    def _again(self, name: str, x: FxNode) -> FxNode:
        """The model's call on another value: its other arguments do not depend on how many channels there are."""
        call = self.lifted.nodes[name]
        return self.operators.call(call.target, x, *call.args[1:], **call.kwargs)

    def _spread(self, spread: Spread, x: FxNode, channels: int, at: FxNode) -> FxNode:
        write, like = self.operators, at.meta["val"]
        *rows, columns = [m.to(like.dtype).to(like.device) for m in spread.matrices]
        # The last multiplies from the right.
        matrices = [write.constant(m, path_of(at)) for m in (*rows, columns.t())]

        def product(a: FxNode, m: FxNode, last: bool) -> FxNode:
            return write.call(aten.matmul.default, *((a, m) if last else (m, a)))

        y: FxNode = spread.apply(x, channels, matrices, write.reshape, write.permute, product)
        return y

    def _resample(self, resample: Resample, xs: list[FxNode], node: Node, at: FxNode) -> FxNode:
        channels = node.signal.shape[1]
        parts = [
            self.operators.call(aten.reshape.default, x, [-1, channels, rows])
            for x, rows in zip(xs, resample.rows(), strict=True)
        ]
        long = parts[0] if len(parts) == 1 else self.operators.call(aten.cat.default, parts, 2)
        matrix = self.operators.constant(resample.matrix.t().to(at.meta["val"]), path_of(at))
        y = self.operators.call(aten.matmul.default, long, matrix)
        return self.operators.call(aten.reshape.default, y, [-1, channels, *resample.after])

    def _layout(self, layout: Layout, x: FxNode) -> FxNode:
        if layout.order is not None:
            return self.operators.call(aten.permute.default, x, list(layout.order))
        assert layout.shape is not None and layout.origin is not None
        call = self.lifted.nodes[layout.origin]
        if call.target is not aten.reshape.default:  # squeeze, unsqueeze: indifferent to how long the channels are
            return self.operators.call(call.target, x, *call.args[1:], **call.kwargs)
        # Free sizes stay the nodes they were; only the carried axis may have another length now.
        before, asked = call.meta["val"].shape, call.args[1]
        assert isinstance(asked, list | tuple)
        shape = [m if isinstance(n, int) and n != m else a for n, m, a in zip(before, layout.shape, asked, strict=True)]
        return self.operators.call(aten.reshape.default, x, shape)

    def name_parameters(self) -> None:
        """Call the new parameters after the longest common module path of what they came from; after the sweep.

        No weight of the original has such a name, nor has one that means something else: a state dict of another
        model then never fits by accident.
        """
        weights = self.calls.weights
        taken = set(weights)
        inside = {path.rpartition(".")[0] for path in taken}
        for p in self.operators.parameters:
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
