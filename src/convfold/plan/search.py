"""Which values to compute, and which to carry into those that read them.

A value read by a later step is either *kept* (computed, then read) or *carried* (its form is substituted, so that the
reader composes with it); with several readers each may choose. The search walks the region once in topological order.
Its state is what the readers still to come can see: the forms of the values on the frontier. States that show the
same frontier are one; the cheapest survives. On a chain that is exact dynamic programming over where to cut, O(n²)
compositions of geometry; on a graph it is exact as long as no more than ``BEAM`` frontiers compete, and best-first
beyond. The original (everything kept) is always among the candidates, so the plan is never dearer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from convfold.algebra.operation import Apply, Concat
from convfold.errors import NotFoldable
from convfold.plan.cost import Cost, view_cost
from convfold.plan.form import Form
from convfold.plan.recipe import Uniform, is_move
from convfold.plan.rules import carry
from convfold.region import Node, Region, Signal

BEAM = 64


@dataclass(frozen=True, slots=True)
class Seen:
    """How a value on the frontier can be read: kept, carried as ``form``, or either."""

    kept: bool
    form: Form | None
    keep_cost: Cost  # what keeping it would cost now; the estimate for a form still to be paid for

    def readings(self, leaf: Form) -> list[Form]:
        """The forms a reader may take it in."""
        return [leaf] * self.kept + ([] if self.form is None else [self.form])

    @property
    def key(self) -> tuple[bool, int]:
        return (self.kept, id(self.form) if self.form is not None else 0)


@dataclass(frozen=True, slots=True)
class Decision:
    """For one step: which inputs it reads carried, and whether its own value is kept."""

    carried: tuple[bool, ...]
    kept: bool


#: One decision a step, in the region's order: all there is to a plan, and good for every region of the same shape.
Decisions = tuple[Decision, ...]


class Trail(NamedTuple):
    """Decisions, newest first."""

    before: Trail | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class State:
    cost: Cost
    frontier: dict[str, Seen]
    trail: Trail | None

    @property
    def key(self) -> tuple[tuple[str, tuple[bool, int]], ...]:
        return tuple((name, seen.key) for name, seen in self.frontier.items())

    @property
    def estimate(self) -> Cost:
        total = self.cost
        for seen in self.frontier.values():
            if not seen.kept:
                total += seen.keep_cost
        return total


class Search:
    def __init__(self, region: Region, beam: int = BEAM) -> None:
        self.region, self.beam = region, beam
        self.signals: dict[str, Signal] = {n.name: n.signal for n in region.nodes}
        self.consumers = region.consumers()
        self._forms: dict[tuple[object, ...], Form | NotFoldable] = {}
        self._costs: dict[int, Cost] = {}
        self._leaves = {n.name: Form.leaf(n.name) for n in region.nodes}
        self._absorbed = {n.name for n in region.steps if self._is_absorbed(n)}

    def run(self) -> tuple[Cost, Decisions]:
        """The cheapest cost found and the decisions that lead to it."""
        last_use = {name: i for i, step in enumerate(self.region.steps) for name in step.inputs}
        kept_input = Seen(True, None, Cost())
        states = [State(Cost(), {n.name: kept_input for n in self.region.inputs}, None)]
        for i, node in enumerate(self.region.steps):
            gone = {name for name, last in last_use.items() if last == i}
            best: dict[object, State] = {}
            for state in states:
                for new in self._step(state, node, gone):
                    if new.key not in best or new.cost < best[new.key].cost:
                        best[new.key] = new
            states = list(best.values())
            if len(states) > self.beam:
                states = sorted(states, key=lambda s: s.estimate)[: self.beam]
        winner = min(states, key=lambda s: s.cost)
        before = self.original_cost()
        if winner.cost < before:
            return winner.cost, _decisions(winner)
        return before, tuple(Decision((False,) * len(n.inputs), True) for n in self.region.steps)

    def leaf(self, name: str) -> Form:
        """A value as a kept one is seen."""
        return self._leaves[name]

    def original_cost(self) -> Cost:
        """Everything kept, as the model has it."""
        return sum((self.cost(n, self.form(n, [self._leaves[i] for i in n.inputs])) for n in self.region.steps), Cost())

    def kept_forms(self, decisions: Decisions) -> dict[str, Form]:
        """The kept values and their forms, following decisions already made."""
        forms: dict[str, Form] = {}
        kept: dict[str, Form] = {}
        for node, decision in zip(self.region.steps, decisions, strict=True):
            inputs = [
                forms[i] if carried else self._leaves[i]
                for i, carried in zip(node.inputs, decision.carried, strict=True)
            ]
            forms[node.name] = self.form(node, inputs)
            if decision.kept:
                kept[node.name] = forms[node.name]
        return kept

    def _is_absorbed(self, node: Node) -> bool:
        """An operator read only by one scale and shift of its channels: carrying is exact and never costs more.

        The scale leaves the operator's geometry what it is, and whatever reads the pair may still keep or carry it.
        """
        readers = self.consumers[node.name]
        if len(readers) != 1 or node.name in self.region.outputs:
            return False
        a, b = node.operation, self.region.by_name[readers[0]].operation
        if not isinstance(a, Apply) or not isinstance(b, Apply):
            return False
        if a.axis != b.axis and not isinstance(b.operator, Uniform):
            return False
        return b.operator.geometry.diagonal and not is_move(a)  # scaled, a move would start to multiply

    def form(self, node: Node, inputs: list[Form]) -> Form:
        """The form of a node over given forms of its inputs; memoised, refusals too."""
        key = (node.name, *map(id, inputs))
        if key not in self._forms:
            try:
                self._forms[key] = self._form(node, inputs)
            except NotFoldable as refusal:
                on_leaves = all(f is self._leaves[i] for f, i in zip(inputs, node.inputs, strict=True))
                self._forms[key] = Form.opaque() if on_leaves else refusal
        found = self._forms[key]
        if isinstance(found, NotFoldable):
            raise found
        return found

    def _form(self, node: Node, inputs: list[Form]) -> Form:
        assert node.operation is not None
        axis = node.operation.axis if isinstance(node.operation, Concat) else 0
        lengths = [self.signals[i].shape[axis] for i in node.inputs]
        return carry(node.operation, inputs, self.signals, lengths)

    def cost(self, node: Node, form: Form) -> Cost:
        """What keeping a node in this form costs."""
        if not form.blocks:
            return view_cost()
        if id(form) not in self._costs:  # forms live as long as the search: ids stay theirs
            self._costs[id(form)] = form.stacked(self.signals).cost(self.signals, node.signal)
        return self._costs[id(form)]

    def _step(self, state: State, node: Node, gone: set[str]) -> Iterable[State]:
        readings = [state.frontier[i].readings(self._leaves[i]) for i in node.inputs]
        must_keep = node.name in self.region.outputs
        readers = len(self.consumers[node.name])
        rest = {name: seen for name, seen in state.frontier.items() if name not in gone}
        for inputs in product(*readings):
            try:
                form = self.form(node, list(inputs))
            except NotFoldable:
                continue
            cost = self.cost(node, form)
            carried = tuple(f is not self._leaves[i] for f, i in zip(inputs, node.inputs, strict=True))
            keep, leave = (Trail(state.trail, Decision(carried, k)) for k in (True, False))
            paid = state.cost + cost
            if node.name not in self._absorbed:
                yield State(paid, rest | {node.name: Seen(True, None, cost)} if readers else rest, keep)
            if not form.blocks or not readers:
                continue
            if not must_keep:
                yield State(state.cost, rest | {node.name: Seen(False, form, cost)}, leave)
            if readers > 1 or must_keep:
                yield State(paid, rest | {node.name: Seen(True, form, cost)}, keep)


def _decisions(state: State) -> Decisions:
    found: list[Decision] = []
    trail = state.trail
    while trail is not None:
        found.append(trail.decision)
        trail = trail.before
    return tuple(reversed(found))
