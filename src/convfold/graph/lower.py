"""A planned region → ATen calls in the graph: each step as the plan has decided."""

from __future__ import annotations

from itertools import chain, count
from operator import getitem
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node as FxNode

from convfold.algebra.layout import Slice
from convfold.graph.lift import Lifted, path_of
from convfold.graph.operators import Aten, Written
from convfold.graph.unlift import Calls
from convfold.region import Node, Region, shared_out

aten = torch.ops.aten


class Lowering:
    """Writes planned regions into a graph; values it replaces are left for the sweep."""

    def __init__(self, calls: Calls, lifted: Lifted) -> None:
        self.calls, self.graph, self.lifted = calls, calls.graph, lifted
        self.values = dict(lifted.nodes)  # region value → graph node, kept current
        self.written = Written(calls, lifted.training)
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
            if node.operation is not None:
                node.operation.forget()
        self.replaced.update(self.lifted.nodes[n.name] for n in before.steps if n.name in self.lifted.nodes)
        self.replaced.difference_update(self.lifted.nodes[name] for name in unchanged if name in self.lifted.nodes)

    def evaluate(self, weight: FxNode, source: str, content: Tensor) -> None:
        """Put in place of calls on weights alone what they compute."""
        like = weight.meta["val"]
        with self.graph.inserting_before(weight):
            node = self.written.weight(content.to(like.dtype), source)
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
        new = self.graph.call_function(norm.target, tuple(args), kwargs)  # type: ignore[arg-type]
        new.meta = dict(norm.meta)
        return new

    def _emit(self, node: Node, at: FxNode) -> FxNode:
        inputs = [self._input(i) for i in node.inputs]
        if node.name in self.parts:
            return self._part(*self.parts[node.name], inputs[0])
        assert node.operation is not None
        return node.operation.lower(self._at(at), inputs, node.signal.shape)

    def _at(self, at: FxNode) -> Aten:
        return Aten(self.written, self.lifted.nodes, at.meta["val"], path_of(at))

    def _part(self, slices: tuple[Slice, ...], i: int, x: FxNode) -> FxNode:
        """One of the parts of one split."""
        if x not in self.splits:
            sizes = [s.stop - s.start for s in slices]
            self.splits[x] = self.graph.call_function(aten.split_with_sizes.default, (x, sizes, slices[0].axis))
        return self.graph.call_function(getitem, (self.splits[x], i))

    def name_parameters(self) -> None:
        """Call the new parameters after the longest common module path of what they came from; after the sweep.

        No weight of the original has such a name, nor has one that means something else: a state dict of another
        model then never fits by accident.
        """
        weights = self.calls.weights
        taken = set(weights)
        inside = {path.rpartition(".")[0] for path in taken}
        for p in self.written.parameters:
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
