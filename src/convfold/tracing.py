"""From a glob to what a report says of the stretches it is in: the plan's own answer, and a search that is watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from convfold.errors import REASONS, NotFoldable
from convfold.places import Places
from convfold.plan import Plan, Planner
from convfold.plan.border import HOISTED, Correct, ways
from convfold.plan.cost import Cost
from convfold.plan.refusals import refusals
from convfold.plan.trace import Trace, verdict
from convfold.region import Node, Region
from convfold.report import count
from convfold.trace import Choice, Refusal, Stop, Stretch, Value

#: Values of one stretch that are told of: every form of each is a search of its own.
TOLD = 6


def traced(where: str, places: Places, plans: list[Plan], planner: Planner) -> tuple[Stretch | Stop, ...]:
    """Every stretch that a call of this name or module is in, then the calls that are in none.

    Raises:
        InvalidInput: there is no such call.
    """
    calls = places.matching(where)
    found: list[Stretch | Stop] = []
    for plan in plans:
        if asked := [step.name for step in plan.original.steps if step.name in calls]:
            found.append(_Tracing(places, plan, planner, asked).stretch())
    return (*found, *(_stop(places, name) for name in calls if name not in places.steps))


def _stop(places: Places, name: str) -> Stop:
    reason = places.stop(name)
    before, after = places.neighbours(name)
    return Stop(places.called(name), reason.code, _words(reason), tuple(before), tuple(after))


class _Tracing:
    """One stretch, and those of its steps that were asked about."""

    def __init__(self, places: Places, plan: Plan, planner: Planner, asked: list[str]) -> None:
        self.places, self.plan, self.planner, self.asked = places, plan, planner, asked
        self.readers = plan.original.consumers()
        self.computed = list(dict.fromkeys(name for a in asked for name in self._into(a)))
        self.told = self.computed[:TOLD]
        self.trace = Trace(plan.original, set(self.told), planner.prices, planner.border)

    def stretch(self) -> Stretch:
        region = self.plan.original
        return Stretch(
            self._labels(self.asked),
            len(region.steps),
            tuple(dict.fromkeys(self.places.begins(region))),
            tuple(dict.fromkeys(self.places.ends(region))),
            self._outcome(),
            tuple(self._carried(name) for name in self.asked if name not in self.computed),
            tuple(map(self._value, self.told)),
            self._labels(self.computed[TOLD:]),
        )

    def _labels(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(self.places.label, names)))

    def _into(self, name: str) -> list[str]:
        """The values of the plan that a step goes into: its own, where that is one of them."""
        found = [name]
        for at in found:  # grows as it goes
            if at not in self.plan.region.by_name:
                found += [reader for reader in self.readers[at] if reader not in found]
        return [at for at in found if at in self.plan.region.by_name]

    def _outcome(self) -> str:
        plan, before = self.plan, self.plan.before
        done = plan.composed(self.planner.prices) if plan.changed else plan  # zeros seen in its numbers count too
        if done.changed:
            macs = f"{count(before.macs)} → {count(done.after.macs)} multiply-adds"
            return f"folded, {macs}, {before.ops} → {done.after.ops} operations"
        why = "; what looked cheaper is not, with its numbers" if plan.changed else ""
        ops = f"{before.ops} operation{'s' * (before.ops != 1)}"
        return f"left as it is, {count(before.macs)} multiply-adds, {ops}{why}"

    def _carried(self, name: str) -> tuple[str, str, tuple[str, ...]]:
        return self.places.label(name), _what(self.plan.original.by_name[name]), self._labels(self._into(name))

    def _value(self, name: str) -> Value:
        found: dict[tuple[str, tuple[str, ...]], Choice] = {}
        for way in self.trace.ways(name):
            if way.materialised:
                choice = self._choice(name, way.region, way.cost, verdict(way.cost, self.plan))
            else:
                into = self._labels(self.readers[name])
                choice = self._priced("not computed", into, False, way.cost, verdict(way.cost, self.plan))
            key = choice.form, choice.values
            if key not in found or _rank(choice) < _rank(found[key]):
                found[key] = choice
        taken = self._choice(name, self.plan.region, self.plan.after, "taken")
        found[taken.form, taken.values] = taken
        choices = sorted(found.values(), key=_rank)
        return Value(self.places.label(name), tuple(choices), self.trace.forms(name), tuple(self._refusals(name)))

    def _choice(self, name: str, region: Region, cost: Cost, said: str) -> Choice:
        """What computes a value in a plan: its steps in order, and the values of the model they begin with."""
        steps, leaves = self._made_of(region, name)
        kinds = Counter(map(_what, steps))
        form = ", ".join(word if n == 1 else f"{n} × {word}" for word, n in kinds.items())
        return self._priced(form, self._labels(leaves), True, cost, said, tuple(self._border(region, steps)))

    def _priced(
        self, form: str, values: tuple[str, ...], computed: bool, cost: Cost, said: str, border: tuple[str, ...] = ()
    ) -> Choice:
        seconds = 1e-18 * cost.rank[1] if self.planner.prices.objective == "time" else None
        return Choice(form, values, computed, cost.macs, cost.bytes, cost.ops, seconds, said, border)

    def _made_of(self, region: Region, name: str) -> tuple[list[Node], list[str]]:
        steps: dict[str, Node] = {}
        leaves: dict[str, None] = {}

        def walk(at: str) -> None:
            node = region.by_name[at]
            if node.operation is None or (at != name and at in self.plan.original.by_name):
                leaves[at] = None
            elif at not in steps:
                for i in node.inputs:
                    walk(i)
                steps[at] = node

        walk(name)
        return list(steps.values()), list(leaves)

    def _border(self, region: Region, steps: list[Node]) -> Iterator[str]:
        """What reads beyond which end, and what each way to mend it costs."""
        prices = self.planner.prices
        for node in steps:
            if isinstance(step := node.operation, Correct):
                yield from map(str, step.border.ghosts())
                x = step.border.read(node.signal, step.axis)
                for way in [HOISTED] if step.way is HOISTED else ways(step.border):
                    works = way.works(step.border, prices, x, node.signal, step.axis)
                    cost = prices.all(works, node.signal.itemsize)
                    price = f"{count(cost.macs)} multiply-adds, {count(cost.bytes)}B moved"
                    yield f"border, {way.text}: {price}{', the cheapest' * (way is step.way)}"

    def _refusals(self, name: str) -> Iterator[Refusal]:
        """By the laws, and by what the report says of neighbours that the plan left apart; costs are in the table."""
        label, seen = self.places.label, set()
        for r in self.trace.refusals(name):
            where = f"{', '.join(map(label, r.inlined)) or 'its inputs'} → {label(r.step)}"
            seen.add((where, r.reason.code))
            yield Refusal(r.law, where, r.reason.code, _words(r.reason))
        for first, second, reason in refusals(self.plan.region, self.planner.border):
            where = f"{label(first)} → {label(second)}"
            beside = name in (first, second) and reason.code != "does-not-pay"
            if beside and (where, reason.code) not in seen:
                yield Refusal("", where, reason.code, _words(reason))


def _rank(choice: Choice) -> tuple[float, int, int, bool]:
    return choice.seconds or 0, choice.macs, choice.bytes, not choice.taken


def _what(node: Node) -> str:
    assert node.operation is not None
    return node.operation.label


def _words(reason: NotFoldable) -> str:
    return reason.detail or REASONS[reason.code]
