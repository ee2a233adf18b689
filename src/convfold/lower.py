"""Planned regions → a framework's calls: each step as the plan has decided, in place of what it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from convfold.algebra.joins import Sum
from convfold.algebra.layout import Slice
from convfold.algebra.spatial import Expand
from convfold.lift import Stretches
from convfold.ops import Ops
from convfold.program import Program
from convfold.region import Node, Region, shared_out

T = TypeVar("T")


class Lowering(Generic[T]):
    """Writes planned regions into a program; calls they replace are left for the sweep."""

    def __init__(self, program: Program[T], stretches: Stretches) -> None:
        self.program, self.bare = program, stretches.bare
        steps = [n for region in stretches.regions for n in region.nodes]
        self.own = {n.name for n in steps if program.has(n.name)}  # values that are the model's
        self.values: dict[str, T] = {}  # that are written
        self.splits: dict[str, Sequence[T]] = {}

    def write(self, before: Region, after: Region) -> None:
        """Replace ``before`` by ``after``; nodes that stayed what they were keep their calls."""
        unchanged = self._unchanged(before, after)
        parts = shared_out(after)
        split = {n.inputs for n in before.steps if n.name in unchanged and n.name in parts}  # by a call that stays
        own = [n for n in before.steps if n.inputs in split and _own_cut(n, self.own)]
        cuts = {(n.operation, n.inputs): n.name for n in reversed(own)}  # of two alike the first, which all come after
        implied = {n.name: n.inputs[0] for n in after.steps if _is_implied(n, after)}
        for node in after.steps:
            if node.name in unchanged or node.name in implied:
                continue
            if node.name in parts and (cut := cuts.get((node.operation, node.inputs), node.name)) != node.name:
                self.values[node.name] = self.program.node(cut)
                continue
            at = node.name
            while at not in self.own:  # parts of a value are named after it
                at = at.rpartition(".")[0]
            with self.program.before(at) as ops:
                new = self._written(node, [implied.get(i, i) for i in node.inputs], ops, parts.get(node.name))
            self.values[node.name] = new
            if node.name in self.own:
                self.program.replace(node.name, new)
        for node in after.steps:
            if node.operation is not None:
                node.operation.forget()
        self.program.gone([n.name for n in before.steps if n.name in self.own and n.name not in unchanged])

    def _written(
        self, node: Node, inputs_: Sequence[str], ops: Ops[T], part: tuple[tuple[Slice, ...], int] | None
    ) -> T:
        inputs = [self._input(i) for i in inputs_]
        if part is None:
            assert node.operation is not None
            return node.operation.lower(ops, inputs, node.signal.shape)
        slices, i = part  # one of the parts of one split
        whole = node.inputs[0]
        if whole not in self.splits:
            self.splits[whole] = ops.split(inputs[0], [(s.stop or 0) - s.start for s in slices], slices[0].axis)
        return self.splits[whole][i]

    def _input(self, name: str) -> T:
        if name not in self.values and name in self.own:
            return self.program.node(name)
        if name not in self.values:
            call, replaced = self.bare[name]
            self.values[name] = self.program.bare(call, replaced)
        return self.values[name]

    def _unchanged(self, before: Region, after: Region) -> set[str]:
        """Values whose calls can stay: same operation, and so for the unnamed steps inside the same call."""
        same: set[str] = set()
        inner: dict[str, bool] = {}
        for node in after.steps:
            original = before.by_name.get(node.name)
            kept = original is node and all(inner.get(i, False) for i in self._inner(node, before))
            inner[node.name] = kept
            if kept:
                same.add(node.name)
        # An unnamed step (the negation inside a subtraction) has no call of its own: it stays only with its owner, and
        # where it is computed anyway, for another, so does not its owner's call.
        readers = after.consumers()

        def stays(name: str) -> bool:
            others = self._inner(after.by_name[name], after) + ([] if name in self.own else readers[name])
            return all(other in same for other in others)

        while (fewer := set(filter(stays, same))) != same:
            same = fewer
        return same

    def _inner(self, node: Node, region: Region) -> list[str]:
        """The unnamed steps that a step reads."""
        return [i for i in node.inputs if region.by_name[i].operation is not None and i not in self.own]


def _is_implied(node: Node, region: Region) -> bool:
    """Is it repeated by the sums that read it, beside something that is as large as they are?"""
    if not isinstance(node.operation, Expand) or not node.operation.implied or node.name in region.outputs:
        return False
    readers = [region.by_name[name] for name in region.consumers()[node.name]]
    whole = [[i for i in n.inputs if not isinstance(region.by_name[i].operation, Expand)] for n in readers]
    return all(isinstance(n.operation, Sum) for n in readers) and all(whole)


def _own_cut(node: Node, own: set[str]) -> bool:
    return node.name in own and isinstance(node.operation, Slice)
