"""From one set of decisions to another that no single change makes cheaper.

The search sees what is on its frontier, and of a wide one only so much. Descent changes one thing at a time of a whole
plan: a value kept or carried, one reader taking it as it is or through its form, another of its forms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from convfold.errors import NotFoldable
from convfold.plan.cost import Cost
from convfold.plan.form import Form
from convfold.plan.search import Decision, Decisions, Search
from convfold.region import Node

#: A form of more terms than this is not carried further by :func:`lean`: residuals of residuals have 2^n.
WIDE = 64


@dataclass(frozen=True, slots=True)
class Change:
    """New decisions, by the position of their step; the others stay."""

    decisions: dict[int, Decision]


@dataclass
class Descent:
    """A whole plan, and what each of its kept values costs."""

    search: Search
    decisions: list[Decision]
    forms: dict[str, Form] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = self.search.region.steps
        self.place = {n.name: i for i, n in enumerate(self.steps)}
        self.readers: dict[str, list[tuple[int, int]]] = {n.name: [] for n in self.search.region.nodes}
        for i, n in enumerate(self.steps):
            for k, name in enumerate(n.inputs):
                self.readers[name].append((i, k))
        found = self._followed(dict(enumerate(self.decisions)))
        assert found is not None  # decisions that were made have forms
        self.forms, self.costs = found

    @property
    def cost(self) -> Cost:
        return sum(self.costs.values(), Cost())

    def run(self) -> Descent:
        """Down to where no change helps; each pass looks at every step once, until one finds nothing."""
        while any([self._improve(i) for i in range(len(self.steps))]):
            pass
        return self

    def _improve(self, i: int) -> bool:
        """Take the best change at one step, if there is one that makes the whole cheaper."""
        best, gain = None, Cost()
        for change in self._changes(i):
            if (found := self._followed(change)) is None:
                continue
            forms, costs = found
            change_of_cost = sum(costs.values(), Cost()) - sum((self.costs.get(name, Cost()) for name in forms), Cost())
            if change_of_cost < gain:
                best, gain = (change, forms, costs), change_of_cost
        if best is None:
            return False
        change, forms, costs = best
        for j, decision in change.items():
            self.decisions[j] = decision
        self.forms |= forms
        for name in forms:
            self.costs.pop(name, None)
        self.costs |= costs
        return True

    def _changes(self, i: int) -> Iterator[dict[int, Decision]]:
        node, now = self.steps[i], self.decisions[i]
        readers = self.readers[node.name]
        if now.kept:
            for j, k in readers:
                yield {j: self._reading(j, {k: not self.decisions[j].carried[k]})}
        if readers and node.name not in self.search.region.outputs:
            by_reader: dict[int, dict[int, bool]] = {}
            for j, k in readers:
                by_reader.setdefault(j, {})[k] = now.kept  # carried from now on, or read as it is
            changed = {j: self._reading(j, flips) for j, flips in by_reader.items()}
            yield {i: Decision(now.carried, now.form, not now.kept), **changed}
        for form in range(self._alternatives(i)):
            if form != now.form:
                yield {i: Decision(now.carried, form, now.kept)}

    def _alternatives(self, i: int) -> int:
        return len(self.search.forms(self.steps[i], self._inputs(i, self.decisions[i], {})))

    def _reading(self, j: int, flips: dict[int, bool]) -> Decision:
        """The decision of step j with some inputs read the other way; the form is the first there is."""
        now = self.decisions[j]
        carried = tuple(flips.get(k, c) for k, c in enumerate(now.carried))
        return Decision(carried, 0, now.kept)

    def _inputs(self, i: int, decision: Decision, forms: dict[str, Form]) -> list[Form]:
        return [
            (forms.get(name) or self.forms[name]) if carried else self.search.leaf(name)
            for name, carried in zip(self.steps[i].inputs, decision.carried, strict=True)
        ]

    def _followed(self, change: dict[int, Decision]) -> tuple[dict[str, Form], dict[str, Cost]] | None:
        """The forms that differ after a change, and the costs of those kept; None where it has no exact form."""
        forms: dict[str, Form] = {}
        costs: dict[str, Cost] = {}
        todo = set(change)
        while todo:
            i = min(todo)
            todo.remove(i)
            node, decision = self.steps[i], change.get(i) or self.decisions[i]
            try:
                found = self.search.forms(node, self._inputs(i, decision, forms))
            except NotFoldable:
                return None
            if decision.form >= len(found) or not (decision.kept or found[decision.form].blocks):
                return None
            form = found[decision.form]
            if form is not self.forms.get(node.name):
                todo |= {j for j, k in self.readers[node.name] if (change.get(j) or self.decisions[j]).carried[k]}
            forms[node.name] = form
            if decision.kept:
                costs[node.name] = self.search.cost(node, form)
        return forms, costs


def kept(search: Search) -> Decisions:
    """Everything as the model has it."""
    return tuple(Decision((False,) * len(n.inputs), 0, True) for n in search.region.steps)


def lean(search: Search) -> Decisions:
    """Everything carried that can be, and nothing kept that need not be."""
    region = search.region
    forms: dict[str, Form] = {}
    wanted: set[str] = set(region.outputs)
    carried: dict[str, tuple[bool, ...]] = {}

    def read(node: Node) -> None:
        """Its form with as many inputs carried as there is one for: those given up are kept."""
        flags = [i in forms and _terms(forms[i]) <= WIDE for i in node.inputs]
        while True:
            inputs = [forms[i] if c else search.leaf(i) for i, c in zip(node.inputs, flags, strict=True)]
            try:
                form = search.forms(node, inputs)[0]
            except NotFoldable:
                flags[flags.index(True)] = False  # read as they are, every step has a form
                continue
            break
        carried[node.name] = tuple(flags)
        wanted.update(i for i, c in zip(node.inputs, flags, strict=True) if not c)
        if form.blocks:
            forms[node.name] = form
        else:
            wanted.add(node.name)

    for node in region.steps:
        read(node)
    return tuple(Decision(carried[n.name], 0, n.name in wanted or not search.consumers[n.name]) for n in region.steps)


def _terms(form: Form) -> int:
    return sum(map(len, form.blocks))
