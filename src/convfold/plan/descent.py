"""From one set of decisions to another that no single change makes cheaper.

The search sees what is on its frontier, and of a wide one only so much. Descent changes one thing at a time of a whole
plan: a value materialised or inlined, one reader taking it as it is or through its form, another of its forms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from convfold.algebra.apply import Apply
from convfold.algebra.joins import Sum
from convfold.algebra.layout import Layout, Select, Slice
from convfold.algebra.operation import Move, Operation
from convfold.errors import NotFoldable
from convfold.plan.cost import Cost
from convfold.plan.form import Form
from convfold.plan.search import Decision, Decisions, Search

#: New decisions, by the position of their step; the others stay.
Change = dict[int, Decision]


@dataclass
class Descent:
    """A whole plan, and what each of its materialised values costs."""

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

    def _changes(self, i: int) -> Iterator[Change]:
        now = self.decisions[i]
        if now.materialised:
            for j, k in self.readers[self.steps[i].name]:
                yield {j: self._reading(j, {k: not self.decisions[j].inlined[k]})}
        yield self._turned([i])
        views, made = self._through(i), self._computed_of(i)
        if len(views) > 1:
            yield self._turned(views)
        if len(made) > len(views):
            yield self._turned(made)
        for form in range(self._alternatives(i)):
            if form != now.form:
                yield {i: Decision(now.inlined, form, now.materialised)}

    def _through(self, i: int) -> list[int]:
        """The step and the views of it that are had as it is had: what they move is inlined with it or not at all."""
        found = [i]
        for at in found:  # grows as it goes
            for j, _ in self.readers[self.steps[at].name]:
                view = isinstance(self.steps[j].operation, Layout | Select | Slice)
                if view and j not in found and self.decisions[j].materialised == self.decisions[i].materialised:
                    found.append(j)
        return found

    def _computed_of(self, i: int) -> list[int]:
        """The step and what moves, sums and scales make of it alone, had as it is had: together they may be one map,
        which only what is behind all of them can pass."""
        found, names = [i], {self.steps[i].name}
        for at in found:
            for j, _ in self.readers[self.steps[at].name]:
                step = self.steps[j]
                alike = self.decisions[j].materialised == self.decisions[i].materialised
                if alike and j not in found and _is_linear(step.operation) and names.issuperset(step.inputs):
                    found.append(j)
                    names.add(step.name)
        return found

    def _turned(self, steps: list[int]) -> Change:
        """What is materialised inlined, and the other way round, all readers following; outputs stay materialised."""
        change: Change = {}
        for i in steps:
            name, now = self.steps[i].name, change.get(i) or self.decisions[i]
            if name in self.search.region.outputs or not self.readers[name]:
                continue
            change[i] = Decision(now.inlined, now.form, not now.materialised)
            for j, k in self.readers[name]:
                change[j] = self._reading(j, {k: now.materialised}, change.get(j))
        return change

    def _alternatives(self, i: int) -> int:
        return len(self.search.forms(self.steps[i], self._inputs(i, self.decisions[i], {})))

    def _reading(self, j: int, flips: dict[int, bool], now: Decision | None = None) -> Decision:
        """The decision of step j with some inputs read the other way; the form is the first there is."""
        now = now or self.decisions[j]
        inlined = tuple(flips.get(k, c) for k, c in enumerate(now.inlined))
        return Decision(inlined, 0, now.materialised)

    def _inputs(self, i: int, decision: Decision, forms: dict[str, Form]) -> list[Form]:
        return [
            (forms.get(name) or self.forms[name]) if inlined else self.search.leaf(name)
            for name, inlined in zip(self.steps[i].inputs, decision.inlined, strict=True)
        ]

    def _followed(self, change: Change) -> tuple[dict[str, Form], dict[str, Cost]] | None:
        """Forms that differ after a change, and the costs of those materialised; None where there is no exact form."""
        forms: dict[str, Form] = {}
        costs: dict[str, Cost] = {}
        todo = set(change)
        while todo:
            i = min(todo)
            todo.remove(i)
            node, decision = self.steps[i], change.get(i) or self.decisions[i]
            inputs = self._inputs(i, decision, forms)
            if not all(form.blocks for form in inputs):  # a step without a form is read as it is or not at all
                return None
            try:
                found = self.search.forms(node, inputs)
            except NotFoldable:
                return None
            if decision.form >= len(found) or not (decision.materialised or found[decision.form].blocks):
                return None
            form = found[decision.form]
            if form is not self.forms.get(node.name):
                todo |= {j for j, k in self.readers[node.name] if (change.get(j) or self.decisions[j]).inlined[k]}
            forms[node.name] = form
            if decision.materialised and not self.search.has(node, form):
                return None
            if decision.materialised:
                costs[node.name] = self.search.cost(node, form)
        return forms, costs


def _is_linear(step: Operation | None) -> bool:
    if isinstance(step, Apply):
        return step.operator.geometry.diagonal
    return isinstance(step, Move | Sum)


def descended(search: Search, decisions: Decisions) -> Decisions:
    """The decisions after every change that makes the whole cheaper."""
    return tuple(Descent(search, list(decisions)).run().decisions)
