"""What a search sees of single values: the ways there are to have each, what each costs, and which law refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from convfold.errors import NotFoldable
from convfold.plan import Plan
from convfold.plan.composition import cost_of
from convfold.plan.cost import Cost, Prices
from convfold.plan.form import Form
from convfold.plan.realize import realize
from convfold.plan.rules import law_of
from convfold.plan.rules.siblings import siblings
from convfold.plan.search import Search, decisions_of
from convfold.region import Node, Region

#: Of so many forms of a value it is asked what the stretch would cost: those that are cheapest where they are met.
TRIED = 8


@dataclass(frozen=True)
class Way:
    """The cheapest plan found in which a value is computed in a given form; or is not, and all readers carry it."""

    region: Region
    cost: Cost
    materialised: bool


@dataclass(frozen=True)
class Refusal:
    """A law that has no form of a step where these of its inputs are inlined; none: not even of its own."""

    step: str
    inlined: tuple[str, ...]
    law: str
    reason: NotFoldable


@dataclass
class Recorder:
    """Collects what a search sees of some values; and holds one of them to one form, to see what else there is."""

    names: Collection[str]
    forms: dict[str, dict[int, tuple[Cost, Form]]] = field(default_factory=dict)  # with the least cost up to there
    refusals: dict[tuple[str, tuple[str, ...], str], Refusal] = field(default_factory=dict)
    held: tuple[str, Form | None] | None = None

    def refused(self, node: Node, inlined: Sequence[bool], reason: NotFoldable) -> None:
        """Of a value asked about, or of a step that would carry one."""
        names = tuple(name for name, c in zip(node.inputs, inlined, strict=True) if c)
        if node.name in self.names or any(name in self.names for name in names):
            found = Refusal(node.name, names, law_of(node), reason)
            self.refusals.setdefault((node.name, names, str(reason)), found)

    def seen(self, node: Node, form: Form, cost: Cost) -> tuple[bool, bool]:
        """A form, and the cost of all up to it."""
        if self.held is not None:
            name, wanted = self.held
            return (True, True) if name != node.name else (form is wanted, wanted is None)
        if node.name in self.names:
            forms = self.forms.setdefault(node.name, {})
            if id(form) not in forms or cost < forms[id(form)][0]:
                forms[id(form)] = cost, form
        return True, True


class Trace:
    """A region searched once more, by itself: planning materialises no record, and plans each shape only once."""

    def __init__(self, region: Region, names: Collection[str], prices: Prices, border: str) -> None:
        self.recorder = Recorder(names)
        self.search = Search(region, prices, border=border, watch=self.recorder)
        self.search.walked()

    def refusals(self, name: str) -> list[Refusal]:
        """Of a value, and of steps that would carry it; of those that say the same, the one that carries least."""
        found = [r for r in self.recorder.refusals.values() if r.step == name or name in r.inlined]

        def follows(r: Refusal, s: Refusal) -> bool:
            return r.step == s.step and r.reason.code == s.reason.code and set(r.inlined) > set(s.inlined)

        return [r for r in found if not any(follows(r, s) for s in found)]

    def forms(self, name: str) -> int:
        """How many were seen of a value."""
        return len(self.recorder.forms.get(name, ()))

    def ways(self, name: str) -> Iterator[Way]:
        """To have a value: one for each of the cheapest forms of its own, and the one without it."""
        met = self.recorder.forms.get(name, {}).values()
        for _, form in nsmallest(TRIED, met, key=lambda found: found[0]):
            yield from self._way(name, form)
        yield from self._way(name, None)

    def _way(self, name: str, form: Form | None) -> Iterator[Way]:
        self.recorder.held = name, form
        found = self.search.walked()
        self.recorder.held = None
        if found is not None:
            materialised = self.search.materialised_forms(decisions_of(found))
            region = realize(self.search, materialised, siblings(materialised, self.search))
            yield Way(region, cost_of(region, self.search.context.prices), form is not None)


def verdict(cost: Cost, plan: Plan) -> str:
    """Why a plan of this cost was not taken."""
    before, after = plan.before, plan.after
    if cost.macs > before.macs:
        return "multiplies more than before"
    if cost.macs == before.macs and cost.ops > before.ops:
        return "more operations than before"
    if cost.rank == after.rank:
        return "costs the same"
    if after < cost:
        return "dearer"
    if after.macs < cost.macs and after.ops <= cost.ops:
        return "multiplies more"
    return "cheaper; the search missed it"
