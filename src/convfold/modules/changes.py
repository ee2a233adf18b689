"""Where in a module's own tree a plan changes something."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from convfold.plan import Cost
from convfold.program import Program
from convfold.region import Region
from convfold.stages import Stages


@dataclass(frozen=True)
class Change:
    """Calls that are replaced together, in order, the modules that they are in, by path, and what that saves."""

    calls: tuple[str, ...]
    paths: tuple[str, ...]
    saved: Cost
    steps: int  # that take their place

    @property
    def place(self) -> str:
        """The smallest module that holds them all; "" for the whole."""
        return common(self.paths)


def changes(stages: Stages[Any]) -> Iterator[Change]:
    """All that a plan changes, as far as it is apart: a stretch may reach across blocks and change within each."""
    program = stages.graph.program
    for plan in stages.plans:
        if plan.changed:
            before, after = plan.original, plan.region
            for names in _apart(before, after):
                own = {_call(program, name) for name in names if name in before.by_name}
                calls = tuple(call for call in program.listed if call in own)
                saved = _cost(before, names, stages) - _cost(after, names, stages)
                steps = sum(n.name in names for n in after.steps)
                yield Change(calls, tuple(_path(program, call) for call in calls), saved, steps)


def common(paths: Sequence[str]) -> str:
    """What they all begin with."""
    split = [path.split(".") for path in paths if path] if all(paths) else []
    shared: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def _apart(before: Region, after: Region) -> list[set[str]]:
    """The values that are computed otherwise or no more, those together of which one is computed from another."""
    kept = {n.name for n in after.steps if before.by_name.get(n.name) is n}
    touched = {n.name for n in (*before.steps, *after.steps)} - kept
    group = {name: {name} for name in touched}
    for node in (*before.steps, *after.steps):
        for i in node.inputs:
            if node.name in touched and i in touched and group[i] is not group[node.name]:
                both = group[i] | group[node.name]
                group |= dict.fromkeys(both, both)
    found = {id(names): names for names in group.values()}
    return list(found.values())


def _cost(region: Region, names: Iterable[str], stages: Stages[Any]) -> Cost:
    """Of the steps of these names."""
    steps = [n for n in region.steps if n.name in names]
    costs = (
        stages.planner.prices.of(n.operation, [region.by_name[i].signal for i in n.inputs], n.signal)
        for n in steps
        if n.operation is not None
    )
    return sum(costs, Cost())


def _call(program: Program[Any], name: str) -> str:
    """The call that a value is part of."""
    while not program.has(name) and "." in name:
        name = name.rpartition(".")[0]
    return name


def _path(program: Program[Any], call: str) -> str:
    """A module that is called again is told apart by a number, which is none of its path."""
    return re.sub(r"@\d+", "", program.path(call))
