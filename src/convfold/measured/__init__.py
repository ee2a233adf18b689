"""``objective="measured"``: of the plans that a stretch may have, the one that is fastest where it will run.

Prices can be wrong. What would be planned if they were is planned too: with those kinds of call that take most of the
time twice as dear, by fixed prices, with the fewest multiply-adds; and the original counts as a plan. Each distinct
stretch is written in all of these ways as a model of its own, and they are run in turn in the target's runtime.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from convfold.bench import Interval, compare
from convfold.errors import InvalidInput
from convfold.measured.known import Known, digest
from convfold.plan import Planner, Prices, shape_of
from convfold.plan.machine import DEFAULT
from convfold.region import Region
from convfold.report import Measured
from convfold.runtimes import Runtime, runtime
from convfold.stages import Stages
from convfold.targets import Target
from convfold.targets.terms import kind_of

#: Kinds of call that are tried dearer, and how many times.
KINDS, DEARER = 4, 2.0

#: The share of the budget that writing the candidates may take; the seconds that timing one stretch takes at least, and
#: at most.
WRITING, LEAST, MOST = 0.5, 0.3, 2.0


@dataclass
class Stretch:
    """Regions of one shape, and what has been written in their place: of each candidate a number, and its model."""

    regions: list[Region]
    stake: int
    ways: dict[int, tuple[Any, list[Any]]] = field(default_factory=dict)
    shapes: dict[int, str] = field(default_factory=dict)  # digests of what is written

    def add(self, number: int, planned: Region, alone: tuple[Any, list[Any]] | None) -> None:
        """Unless it is one of those that are there."""
        shape = digest(shape_of(planned))
        first = number == PLANNED or PLANNED in self.ways
        if first and alone is not None and shape not in self.shapes.values():
            self.ways[number], self.shapes[number] = alone, shape


#: The numbers of candidates: the plan by the target's prices, and the original; others follow.
PLANNED, ORIGINAL = 0, 1


def measured(stages: Stages[Any]) -> tuple[Stages[Any], Measured | None]:
    """The stages planned by what was timed, as far as the budget went; the same where that is not the objective.

    Raises:
        InvalidInput: the target's runtime is not installed.
    """
    it = stages.target
    if stages.config.objective != "measured" or it is None:
        return stages, None
    run = runtime(it.runtime, stages.graph.device.type)
    known = Known.here(it, run)
    stages.progress("measure")
    begin = perf_counter()
    end = begin + stages.config.budget
    stretches = _stretches(stages)
    planners = {PLANNED: stages.planner}
    left, done, recalled, changed, stopped = set[str](), 0, 0, 0, False
    todo: list[Stretch] = []
    try:
        _write(stages, stretches, planners, begin + WRITING * stages.config.budget)
        todo = sorted((s for s in stretches if len(s.ways) > 1), key=lambda s: -s.stake)
        for i, stretch in enumerate(todo):
            ratios = known.recall(stretch.shapes)
            if ratios is None:
                if perf_counter() >= end:
                    continue
                stages.progress(f"timing stretch {i + 1} of {len(todo)}, {len(stretch.ways)} ways each")
                seconds = min(max((end - perf_counter()) / (len(todo) - i), LEAST), MOST)
                ratios = _timed(stretch, run, it.threads, seconds)
                if not ratios:
                    continue
                known.keep(stretch.shapes, ratios)
            else:
                recalled += 1
            done += 1
            best = fastest(ratios)
            if best == ORIGINAL:
                left.update(region.outputs[-1] for region in stretch.regions)
            elif best != PLANNED:
                for region in stretch.regions:
                    stages.planner.settle(region, planners[best].way(region))
            changed += best != PLANNED
    except KeyboardInterrupt:  # what is known by now is used
        stopped = True
    found = Measured(it.runtime, it.threads, done, recalled, changed, len(todo) - done, stopped)
    final = stages.reopened(frozenset(left)) if changed else stages
    final.seconds["measure"] = perf_counter() - begin
    return final, found


def fastest(ratios: dict[int, Interval]) -> int:
    """Of candidates, each so many times as fast as the planned one: the fastest of those that surely are faster."""
    sure = [number for number, ratio in ratios.items() if ratio.low > 1]
    return max(sure, key=lambda number: ratios[number].median, default=PLANNED)


def _stretches(stages: Stages[Any]) -> list[Stretch]:
    found: dict[object, Stretch] = {}
    for region, plan in zip(stages.stretches.regions, stages.plans, strict=True):
        stretch = found.setdefault(shape_of(region), Stretch([], 0))
        stretch.regions.append(region)
        stretch.stake += plan.before.rank[1]
    return list(found.values())


def _write(stages: Stages[Any], stretches: Sequence[Stretch], planners: dict[int, Planner], end: float) -> None:
    """All candidates of all stretches: the model is written anew by every planner, and each stretch taken out of it."""
    names = frozenset(region.outputs[-1] for region in stages.stretches.regions)
    ways = {PLANNED: stages.reopened(quiet=True), ORIGINAL: stages.reopened(names, quiet=True)}
    for number, made in ways.items():
        _take_out(number, made, stretches)
    for number, prices in enumerate(_others(stages), start=2):
        if perf_counter() >= end:
            break
        planners[number] = Planner(prices, stages.border)
        _take_out(number, stages.reopened(planner=planners[number], quiet=True), stretches)


def _take_out(number: int, made: Stages[Any], stretches: Sequence[Stretch]) -> None:
    made.rewrite()
    plans = {plan.original.outputs[-1]: plan for plan in made.written}
    for stretch in stretches:
        first = stretch.regions[0]
        plan = plans.get(first.outputs[-1])
        planned = first if plan is None else plan.region
        stretch.add(number, planned, made.graph.alone(*dict.fromkeys((first, planned))))


def _others(stages: Stages[Any]) -> Iterator[Prices]:
    """What a stretch is planned by if the target's prices are wrong."""
    prices, it = stages.planner.prices, stages.target
    assert it is not None
    yield replace(prices, objective="macs")
    yield replace(prices, costs=DEFAULT)
    for kind, _ in _taken(stages, it).most_common(KINDS):
        yield replace(prices, costs=it.with_dearer(kind, DEARER))


def _taken(stages: Stages[Any], it: Target) -> Counter[str]:
    """The time that each kind of call takes, in the plans as they are."""
    found: Counter[str] = Counter()
    for plan in stages.plans:
        for node in plan.region.steps:
            assert node.operation is not None
            xs = [plan.region.by_name[i].signal.shape for i in node.inputs]
            for work in node.operation.work(xs, node.signal.shape):
                found[kind_of(work)] += it.attoseconds(work, node.signal.itemsize)
    return found


def _timed(stretch: Stretch, run: Runtime, threads: int, seconds: float) -> dict[int, Interval]:
    """How many times as fast as the planned one each of the others is; nothing where that does not run."""
    calls, numbers = [], []
    for number, (model, args) in stretch.ways.items():
        try:
            calls.append(run.ready(model, args, {}, threads))
            numbers.append(number)
        except InvalidInput:
            if number == PLANNED:
                return {}
    ratios = compare(calls, seconds=seconds, threads=threads).speedups if len(calls) > 1 else ()
    run.forget()
    return dict(zip(numbers[1:], ratios, strict=True))
