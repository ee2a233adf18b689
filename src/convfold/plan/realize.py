"""From chosen forms back to a region: each materialised value becomes the steps that compute it."""

from __future__ import annotations

from convfold.algebra.joins import Sum
from convfold.algebra.layout import Slice
from convfold.plan.evaluation import Computed
from convfold.plan.form import Form
from convfold.plan.rules.siblings import Siblings
from convfold.plan.search import Search
from convfold.region import Node, Region


def realize(search: Search, materialised: dict[str, Form], together: list[Siblings]) -> Region:
    """The region that computes the materialised values, each from the others, some of them together.

    A value whose form is its own step on its own inputs stays the node it was, origin and all.
    """
    region = search.region
    builder = _Builder(region)
    groups = {name: group for group in together for name in group.names}
    for name, form in materialised.items():
        node = region.by_name[name]
        if name in groups:
            builder.add_sibling(name, groups[name])
        else:
            builder.add(node, search.computed(node, form))
    done = Region((*region.inputs, *builder.nodes), region.outputs)
    return Region((*region.inputs, *done.needed(region.outputs)), region.outputs)  # a form may read none of what it did


class _Builder:
    def __init__(self, region: Region) -> None:
        self.region = region
        self.nodes: list[Node] = []
        self.taken = {n.name for n in region.nodes}
        self.wholes: dict[int, str] = {}  # of siblings, what they are slices of
        self.done: dict[int, str] = {}  # what several steps of one value read is computed once

    def add(self, node: Node, value: Computed) -> None:
        if _is_own(node, value):
            self.nodes.append(node)
        elif value.operation is None:  # the value is another value: a sum of one
            assert value.name is not None
            self.nodes.append(Node(node.name, Sum(), (value.name,), node.signal))
        else:
            self.done = {}
            self._steps(value, node.name)

    def add_sibling(self, name: str, group: Siblings) -> None:
        """A slice of the operator the group shares, which comes before the first of them."""
        if name == group.names[0]:
            self.wholes[id(group)] = self._fresh(f"{name}.all")
        whole = self.wholes[id(group)]
        if name == group.names[0]:
            assert group.together.operation is not None
            inputs = tuple(i.name or "" for i in group.together.inputs)
            self.nodes.append(Node(whole, group.together.operation, inputs, group.together.signal))
        rows = group.rows[group.names.index(name)]
        cut = Slice(group.axis, rows.start, rows.stop)
        self.nodes.append(Node(name, cut, (whole,), self.region.by_name[name].signal))

    def _steps(self, value: Computed, name: str) -> str:
        """Every step of a value, the last called ``name``, those before it after it."""
        if value.operation is None:
            assert value.name is not None
            return value.name
        if id(value) in self.done:
            return self.done[id(value)]
        many = len(value.inputs) > 1
        inputs = tuple(
            self._steps(v, self._fresh(f"{name}.{i}" if many else f"{name}.s")) for i, v in enumerate(value.inputs)
        )
        self.nodes.append(Node(name, value.operation, inputs, value.signal))
        self.done[id(value)] = name
        return name

    def _fresh(self, name: str) -> str:
        """A name no other value has; a region that is planned again has such names already."""
        while name in self.taken:
            name = f"{name}.s"
        self.taken.add(name)
        return name


def _is_own(node: Node, value: Computed) -> bool:
    """Its own step, read off its own inputs: nothing was inlined into it."""
    return value.operation is node.operation and [v.name for v in value.inputs] == list(node.inputs)
