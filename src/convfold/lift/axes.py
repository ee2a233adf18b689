"""Where are the channels? Of steps that do not say: where their neighbours have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from convfold.algebra.operation import Move
from convfold.layers import Step
from convfold.program import Program


def channel_axes(program: Program[Any], steps: Mapping[str, Step]) -> dict[str, int]:
    """Each step's channel axis; of one that does not care that of a neighbour, else 1 of maps and the last of tokens.

    Neighbours are asked from inputs to outputs, then back. An axis whose length is free holds no channels; steps left
    with none (a loss, one number an item) have no axis.
    """
    found = _Axes(program, steps)
    for call, step in steps.items():
        if (axis := step.axis) is not None:
            found.axes[call] = axis % program.value(call).dim
    rest = [call for call in steps if call not in found.axes]
    for call in rest:
        found.inherit(call, ((name, steps[call]) for name in program.inputs(call)))
    for call in reversed(rest):
        found.inherit(call, ((user, steps[user]) for user in program.users(call) if user in steps))
    for call in rest:
        value = program.value(call)
        usual = 1 if value.dim in (4, 5) else value.dim - 1
        fixed = [axis for axis in (found.axes.get(call, usual), *reversed(range(value.dim))) if value.is_fixed(axis)]
        if fixed:
            found.axes[call] = fixed[0]
        else:
            found.axes.pop(call, None)
    return found.axes


class _Axes:
    def __init__(self, program: Program[Any], steps: Mapping[str, Step]) -> None:
        self.program, self.steps = program, steps
        self.axes: dict[str, int] = {}

    def inherit(self, call: str, edges: Iterable[tuple[str, Step]]) -> None:
        """The axis of the first neighbour that has one, seen across the step between them."""
        for name, step in edges:
            if call in self.axes or name not in self.axes:
                continue
            if isinstance(step.operation, Move):
                across = step.operation.forward if self.steps.get(call) is step else step.operation.traced
                axis = across(self.axes[name])
            else:
                alike = self.program.value(name).dim == self.program.value(call).dim
                axis = self.axes[name] if alike else None
            if axis is not None:
                self.axes[call] = axis
