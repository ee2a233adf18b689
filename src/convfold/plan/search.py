"""Which values to materialise, and which to inline into those that read them.

A value read by a later step is either *materialised* (computed, then read) or *inlined* (its form is substituted, so
that the reader composes with it); with several readers each may choose. A step may have several forms: a pool is a move
and a convolution. The search walks the region once in topological order.
Its state is what the readers still to come can see: the forms of the values on the frontier. States that show the
same frontier are one; the cheapest survives. On a chain that is exact dynamic programming over where to cut, O(n²)
compositions of geometry; on a graph it is exact as long as no more frontiers compete than there are places, and
best-first beyond. The original (everything materialised) is always among the candidates, so the plan is never dearer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Protocol

from convfold.algebra.apply import Apply
from convfold.algebra.layout import Layout
from convfold.errors import NotFoldable
from convfold.plan.border import ALLOWED
from convfold.plan.composition import priced
from convfold.plan.constants import Known
from convfold.plan.cost import Cost, Prices
from convfold.plan.deferred import Uniform, is_move
from convfold.plan.evaluation import FREE, Computed, computed
from convfold.plan.form import Context, Form
from convfold.plan.rules import carry
from convfold.region import Node, Region, shared_out

#: Frontiers that compete: many in small regions, where that finds the best plan there is; in large ones few, for what
#: they miss `plan.descent` finds, and in a fraction of the time.
MANY, FEW, STATES = 64, 16, 960
#: Of forms with more terms than this, fewer still: each costs as much more.
TERMS = 10


@dataclass(frozen=True, slots=True)
class Seen:
    """How a value on the frontier can be read: materialised, inlined as ``form``, or either."""

    materialised: bool
    form: Form | None
    price: Cost  # what materialising it would cost now; the estimate for a form still to be paid for

    def readings(self, leaf: Form) -> list[Form]:
        """The forms a reader may take it in."""
        return [leaf] * self.materialised + ([] if self.form is None else [self.form])

    @property
    def terms(self) -> int:
        return sum(map(len, self.form.blocks)) if self.form is not None else 1

    def key(self, name: str) -> int:
        return hash((name, self.materialised, id(self.form)))


@dataclass(frozen=True, slots=True)
class Decision:
    """For one step: which inputs it reads inlined, which of its forms it takes, and is its own value materialised?"""

    inlined: tuple[bool, ...]
    form: int
    materialised: bool


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
    key: int = 0  # of what the frontier shows: the sum of its parts' hashes (two that clash lose a state, no more)
    pending: Cost = FREE  # what materialising all that is inlined would cost now
    materialised: int = 0  # how many are: of states that cost the same, that with fewer has more left to choose
    safe: bool = True  # everything is, as the model has it: whatever comes can read it
    open: bool = True  # nothing is that is read once: many parts may save something only all together

    @property
    def rank(self) -> tuple[bool, tuple[int, int], int]:
        return not self.safe, (self.cost + self.pending).rank, self.materialised

    def after(
        self, node: Node, gone: Sequence[str], paid: Cost, decision: Decision, seen: Seen | None, once: bool
    ) -> State:
        """One step on: values read for the last time leave the frontier, the step's own joins it.

        ``once``: is it read once?
        """
        frontier, key, pending = dict(self.frontier), self.key, self.pending
        for name in gone:
            old = frontier.pop(name)
            key -= old.key(name)
            if not old.materialised:
                pending -= old.price
        if seen is not None:
            frontier[node.name] = seen
            key += seen.key(node.name)
            if not seen.materialised:
                pending += seen.price
        plain = decision.materialised and not any(decision.inlined) and (seen is None or seen.form is None)
        materialised = self.materialised + decision.materialised
        trail, is_open = Trail(self.trail, decision), self.open and not (once and decision.materialised)
        return State(self.cost + paid, frontier, trail, key, pending, materialised, self.safe and plain, is_open)


class Watch(Protocol):
    """Looks on while a search walks: is told of all it sees, and asked what of it may be taken."""

    def refused(self, node: Node, inlined: Sequence[bool], reason: NotFoldable) -> None:
        """A law has: which of the step's inputs were to be read inlined, and why that has no form."""

    def seen(self, node: Node, form: Form, cost: Cost) -> tuple[bool, bool]:
        """A form of a step, and the cost of all up to there: may it be materialised, and may it be left to readers?"""


class Search:
    def __init__(
        self,
        region: Region,
        prices: Prices | None = None,
        beam: int | None = None,
        border: str = "exact",
        watch: Watch | None = None,
    ) -> None:
        self.region, self.watch = region, watch
        self.beam = beam or min(MANY, max(STATES // max(len(region.steps), 1), FEW))
        self.context = Context({n.name: n.signal for n in region.nodes}, prices or Prices(), ALLOWED[border])
        self.consumers = region.consumers()
        self._forms: dict[tuple[object, ...], list[Form] | NotFoldable] = {}
        self._costs: dict[int, Cost] = {}
        self._leaves = {n.name: _leaf(n) for n in region.nodes}
        # One call makes all the slices that share out a value: the first pays for it.
        self._parts = {name for name, (_, i) in shared_out(region).items() if i > 0}
        self._absorbed = {n.name for n in region.steps if self._is_absorbed(n)}

    def run(self) -> tuple[Cost, Decisions]:
        """The cheapest cost found and the decisions that lead to it."""
        winner = self.walked()
        assert winner is not None  # everything materialised is a plan
        before = self.original_cost()
        if winner.cost < before:
            return winner.cost, decisions_of(winner)
        return before, self.materialised()

    def walked(self) -> State | None:
        """The cheapest state at the region's end; None where a watch has allowed none to get there."""
        last_use = {name: i for i, step in enumerate(self.region.steps) for name in step.inputs}
        input_value = Seen(True, None, Cost())
        states = [State(Cost(), {n.name: input_value for n in self.region.inputs}, None)]
        for i, node in enumerate(self.region.steps):
            gone = [name for name in dict.fromkeys(node.inputs) if last_use[name] == i]
            best: dict[object, State] = {}
            for state in states:
                for new in self._step(state, node, gone):
                    key = (new.key, new.safe)
                    if key not in best or new.cost < best[key].cost:
                        best[key] = new
            states = list(best.values())
            heaviest = max((s.frontier[node.name].terms for s in states if node.name in s.frontier), default=1)
            beam = max(self.beam * TERMS // max(heaviest, TERMS), 8)
            if len(states) > beam:
                states.sort(key=lambda s: s.rank)
                states = [*states[:beam], *[s for s in states[beam:] if s.open][:1]]
        return min(states, key=lambda s: s.cost, default=None)

    def materialised(self) -> Decisions:
        """Everything as the region has it."""
        return tuple(Decision((False,) * len(n.inputs), 0, True) for n in self.region.steps)

    def leaf(self, name: str) -> Form:
        """A value as a materialised one is seen."""
        return self._leaves[name]

    def original_cost(self) -> Cost:
        """Everything materialised, as the model has it."""
        return sum((self.own_cost(n) for n in self.region.steps), Cost())

    def own_form(self, node: Node) -> Form:
        """A step read off values that are materialised."""
        return self.forms(node, [self._leaves[i] for i in node.inputs])[0]

    def own_cost(self, node: Node) -> Cost:
        """What a step costs as the model has it."""
        if node.name in self._parts:
            return Cost()
        return priced(node, self.region, self.context.prices)

    def materialised_forms(self, decisions: Decisions) -> dict[str, Form]:
        """The materialised values and their forms, following decisions already made."""
        forms: dict[str, Form] = {}
        materialised: dict[str, Form] = {}
        for node, decision in zip(self.region.steps, decisions, strict=True):
            inputs = [
                forms[i] if inlined else self._leaves[i]
                for i, inlined in zip(node.inputs, decision.inlined, strict=True)
            ]
            forms[node.name] = self.forms(node, inputs)[decision.form]
            if decision.materialised:
                materialised[node.name] = forms[node.name]
        return materialised

    def _is_absorbed(self, node: Node) -> bool:
        """Inlining this is exact and never costs more: it need not be tried materialised.

        A view on a way without forks: its reader takes it as it would the value behind it, and what is before it may
        still be materialised, for as much. An operator read only by one scale and shift of its channels: the scale
        leaves the operator's geometry what it is, and whatever reads the pair may still materialise or inline it.
        """
        readers = self.consumers[node.name]
        if len(readers) != 1 or node.name in self.region.outputs:
            return False
        a, b = node.operation, self.region.by_name[readers[0]].operation
        if isinstance(a, Layout):
            return self._is_unforked(readers[0])
        if not isinstance(a, Apply) or not isinstance(b, Apply):
            return False
        if a.axis != b.axis and not isinstance(b.operator, Uniform):
            return False
        return b.operator.geometry.diagonal and not is_move(a)  # scaled, a move would start to multiply

    def _is_unforked(self, name: str) -> bool:
        """Is every value from here on read once? Carried beyond a fork, a move would be computed on both ways."""
        while readers := self.consumers[name]:
            if len(readers) > 1 or name in self.region.outputs:
                return False
            (name,) = readers
        return True

    def forms(self, node: Node, inputs: list[Form]) -> list[Form]:
        """The forms of a node over given forms of its inputs; memoised, refusals too."""
        key = (node.name, *map(id, inputs))
        if key not in self._forms:
            try:
                self._forms[key] = carry(node, inputs, self.context)
            except NotFoldable as refusal:
                on_leaves = all(f is self._leaves[i] for f, i in zip(inputs, node.inputs, strict=True))
                self._forms[key] = [Form.opaque()] if on_leaves else refusal
        found = self._forms[key]
        if isinstance(found, NotFoldable):
            raise found
        return found

    def cost(self, node: Node, form: Form) -> Cost:
        """What materialising a node in this form costs."""
        if not self.has(node, form):
            return FREE
        if id(form) not in self._costs:  # forms live as long as the search: ids stay theirs
            self._costs[id(form)] = self.computed(node, form).cost
        return self._costs[id(form)]

    def has(self, node: Node, form: Form) -> bool:
        """Can a node be materialised in this form?"""
        return not form.endless or form is self.own_form(node)

    def computed(self, node: Node, form: Form) -> Computed:
        """The steps that compute a node in this form: the model's own where they are as cheap."""
        other = computed(form, node.signal, self.context) if form.blocks and not form.endless else None
        if form is not self.own_form(node):
            assert other is not None
            return other
        signals = self.context.signals
        inputs = tuple(Computed(signals[i], name=i) for i in node.inputs)
        own = Computed(node.signal, self.own_cost(node), node.operation, inputs)
        return own if other is None or own.cost <= other.cost else other

    def _step(self, state: State, node: Node, gone: Sequence[str]) -> Iterable[State]:
        readings = [state.frontier[i].readings(self._leaves[i]) for i in node.inputs]
        is_output = node.name in self.region.outputs
        readers = len(self.consumers[node.name])
        once = readers == 1 and not is_output
        for inputs in product(*readings):
            inlined = tuple(f is not self._leaves[i] for f, i in zip(inputs, node.inputs, strict=True))
            try:
                forms = self.forms(node, list(inputs))
            except NotFoldable as refusal:
                if self.watch is not None:
                    self.watch.refused(node, inlined, refusal)
                continue
            for number, form in enumerate(forms):
                cost = self.cost(node, form)
                may_keep, may_leave = (
                    (True, True) if self.watch is None else self.watch.seen(node, form, state.cost + cost)
                )
                may_keep = may_keep and self.has(node, form)
                materialise, leave = (Decision(inlined, number, k) for k in (True, False))
                if may_keep and (node.name not in self._absorbed or (state.safe and not any(inlined))):
                    yield state.after(node, gone, cost, materialise, Seen(True, None, cost) if readers else None, once)
                if not form.blocks or not readers:
                    continue
                if may_leave and not is_output:
                    yield state.after(node, gone, Cost(), leave, Seen(False, form, cost), once)
                if may_keep and (readers > 1 or is_output):
                    yield state.after(node, gone, cost, materialise, Seen(True, form, cost), once)


def _leaf(node: Node) -> Form:
    if node.content is None:
        return Form.leaf(node.name)
    return Form.constant(Known(node.signal, node.name, node.content, node.signal.free, node.origin or ""))


def decisions_of(state: State) -> Decisions:
    found: list[Decision] = []
    trail = state.trail
    while trail is not None:
        found.append(trail.decision)
        trail = trail.before
    return tuple(reversed(found))
