"""A model's calls → regions of the algebra: every call that a layer file knows, neighbours joined."""

from __future__ import annotations

from cmath import isfinite
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from convfold.algebra.apply import Apply
from convfold.algebra.convolution import Convolution
from convfold.algebra.layout import Layout
from convfold.algebra.numbers import has_numbers
from convfold.algebra.operation import Operation
from convfold.algebra.realisation import OwnCall, Scale, Shift, Transpose
from convfold.algebra.spatial import Spatial
from convfold.errors import NotFoldable
from convfold.layers import Convolved, Held, Scaled, Step, Value
from convfold.layers.filling import Fill
from convfold.lift.axes import channel_axes
from convfold.lift.fills import filled
from convfold.lift.split import split
from convfold.plan.constants import Constant, Known
from convfold.plan.deferred import Given, uniform
from convfold.program import Program
from convfold.region import Node, Region, Signal


@dataclass
class Stretches:
    """Every affine stretch of a model; a region's values are called as the model's are."""

    regions: list[Region]
    bare: dict[str, tuple[str, dict[str, Any]]]  # a norm without its affine tail: the norm, arguments to replace
    opaque: dict[str, NotFoldable]  # calls that have a reader but are not affine here


def lift(program: Program[Any], excluded: Callable[[str], bool]) -> Stretches:
    """Read every call that a layer file knows, but those that are excluded; join neighbours into regions."""
    lifting = _Lifting(program)
    for call in program.calls:
        if (part := program.part_of(call)) is not None:
            lifting.take_part(call, *part)
        else:
            lifting.read(call, excluded)
    return lifting.joined()


class _Lifting:
    def __init__(self, program: Program[Any]) -> None:
        self.program = program
        self.steps: dict[str, Step] = {}
        self.parts: dict[str, list[Step | None]] = {}
        self.fills: dict[str, Step] = {}
        self.owners: dict[str, str] = {}  # whose weights a call computes with, where they are another's
        self.shared: dict[object, Given] = {}
        self.out = Stretches([], {}, {})

    def read(self, call: str, excluded: Callable[[str], bool]) -> None:
        path = self.program.path(call)
        try:
            for where in (path, call):
                if excluded(where):
                    self.out.opaque[where] = NotFoldable("excluded", where=where)  # once a module
                    return
            reading = self.program.read(call)
            for step in reading if isinstance(reading, list) else [reading]:
                if isinstance(step, Step):
                    self._check(step, call)
        except NotFoldable as refusal:
            refusal.where = path or call
            self.out.opaque[call] = refusal
            return
        if isinstance(reading, Value):
            self.program.pass_on(call, reading.name)
        elif isinstance(reading, list):
            self.parts[call] = reading
        elif isinstance(reading.operation if reading is not None else None, Fill):
            self.fills[call] = reading  # type: ignore[assignment]
        elif reading is not None:
            self.steps[call] = reading

    def take_part(self, call: str, whole: str, i: int) -> None:
        parts = self.parts.get(whole, ())
        if i < len(parts) and (part := parts[i]) is not None and 0 not in self.program.value(call).shape:
            self.steps[call] = part

    def _check(self, step: Step, call: str) -> None:
        out = self.program.value(call)
        if any(v.dtype != out.dtype for v in leaves(step)):
            raise NotFoldable("not-affine", "input and output differ in type")
        if not _is_finite(step) or not all(_all_finite(v.tensor()) for v in leaves(step) if v.constant):
            self.program.refuse_infinite(call)

    def joined(self) -> Stretches:
        """Every step with its channel axis, in the region of its neighbours."""
        program = self.program
        self._fill()
        axes = channel_axes(program, self.steps)
        self.steps = {call: step for call, step in self.steps.items() if call in axes}
        built: dict[str, Node] = {}

        def add(name: str, step: Step, value: Value, call: str) -> None:
            inputs = []
            for i, x in enumerate(step.inputs):
                if isinstance(x, Step):
                    inner = f"{name}.in{i}"
                    between = _before(step.operation, value) if x.signal is None else replace(value, signal=x.signal)
                    add(inner, x, between, call)
                    inputs.append(inner)
                elif x.bare is not None:
                    inner = f"{x.name}.bare"
                    built[inner] = Node(inner, None, (), x.signal)
                    self.out.bare[inner] = (call, x.bare)
                    inputs.append(inner)
                else:
                    inputs.append(x.name)
            operation = self._operation(step.operation, axes[call], value, call)
            built[name] = Node(name, operation, tuple(inputs), value.signal, name)

        for call, step in self.steps.items():
            add(call, step, program.value(call), call)
        order = list(built)
        for name in order:
            for i in built[name].inputs:
                if i not in built:
                    x = program.value(i)
                    owner = program.owner(name) if x.constant and program.has(name) else None
                    built[i] = Node(i, None, (), x.signal, owner, x.content)
        regions = split(built, order, self._is_read_outside)
        self.out.regions = [r.pruned() for r in regions if r.outputs]  # others are read for sizes only, or not at all
        return self.out

    def _fill(self) -> None:
        """Fills that say what the step before a pad gives of zeros are that step behind the pad; others are left."""
        for call in list(reversed(self.fills)):
            if call not in self.fills or any(user in self.fills for user in self._readers(call)):
                continue
            found = filled(call, self.fills, self.steps, lambda name: filter(self._is_asked, self._readers(name)))
            if found is not None:
                self.steps[call], self.owners[call], others = found
                for name in others:
                    self.steps.pop(name, None)
                    self.fills.pop(name, None)
                del self.fills[call]
        for call, fill in self.fills.items():
            if (laid := fill.operation.laid) is not None:  # type: ignore[union-attr]
                self.steps[call] = laid
                continue
            left = NotFoldable("not-affine", "an end of the signal is overwritten", self.program.path(call) or call)
            self.out.opaque[call] = left
        self.steps = {call: self.steps[call] for call in self.program.calls if call in self.steps}

    def _is_asked(self, call: str) -> bool:
        """Is it for something? What is handed on may have left calls behind that nobody asks any more."""
        todo, seen = [call], {call}
        while todo:
            name = todo.pop()
            users = set(self.program.users(name))
            if not users and self.program.used(name):
                return True
            todo.extend(users - seen)
            seen |= users
        return False

    def _operation(self, kind: Any, axis: int, value: Value, call: str) -> Operation:
        sized, owner, whose = self.program.sized(call), self.program.owner, self.owners.get(call, call)
        match kind:
            case Convolved(operator=op, how=how):
                own = call if isinstance(how, OwnCall) else None
                place = kind.axis % value.dim, value.dim
                call_of = how if isinstance(how, OwnCall) else OwnCall()
                given = Given(op.geometry, op, owner(whose), own, sized, isinstance(how, Transpose), place, call_of)
                return Apply(self._shared(given) if own is None else given, place[0], how)
            case Scaled(factor=factor, shift=shift):
                shifts = not isinstance(factor, Tensor) and factor == 1
                return Apply(
                    uniform(value.shape[axis], factor, shift, owner(whose)), axis, Shift() if shifts else Scale()
                )
            case Held(content=content, like=like):
                return Constant(Known(like, None, content, like.free, owner(whose)).broadcast(value.signal))
            case Layout(origin=None):
                return replace(kind, origin=call)
            case Spatial(convolution=Convolution() as op):
                given = Given(op.geometry, op, owner(whose), call, sized, place=(kind.axis, value.dim))
                return replace(kind, convolution=given)
            case _:
                return kind  # type: ignore[no-any-return]

    def _shared(self, given: Given) -> Given:
        """The one that has the same weights: of a layer that is called twice there is one operator."""
        op = given.operator
        key = given.geometry, given.source, given.scatters, given.place, _memory(op.kernel), _memory(op.bias)
        return self.shared.setdefault(key, given)  # which holds the weights, so that no others lie there

    def _is_read_outside(self, call: str, inside: set[str]) -> bool:
        """Does an opaque call read it, the output, or another region?"""
        return call in self.steps and any(
            user not in self.steps
            or user not in inside
            or any(v.bare is not None for v in leaves(self.steps[user]))  # its norm reads, of which the tail is a step
            for user in self._readers(call)
        )

    def _readers(self, name: str) -> Iterator[str]:
        """Users that are used; a split's own users stand for it."""
        for user in self.program.users(name):
            if user in self.parts:
                yield from self.program.users(user)
            elif self.program.used(user):
                yield user


def _memory(t: Tensor | None) -> object:
    """Where its numbers are; of one that has none at an address, itself."""
    if t is None:
        return None
    return (t.data_ptr(), t.stride(), t.device, t.dtype) if has_numbers(t) else id(t)


def _before(operation: Any, value: Value) -> Value:
    """What an unnamed step inside a call computes: of the call's shape, or of that before the call permutes it."""
    if not isinstance(operation, Layout) or operation.order is None:
        return value
    signal, back = value.signal, [operation.order.index(i) for i in range(value.dim)]
    free = frozenset(operation.order[i] for i in signal.free)
    return replace(value, signal=Signal(tuple(signal.shape[i] for i in back), free, signal.itemsize))


def leaves(step: Step) -> Iterator[Value]:
    """The values that a step and the steps inside it read."""
    for x in step.inputs:
        if isinstance(x, Step):
            yield from leaves(x)
        else:
            yield x


def _is_finite(step: Step) -> bool:
    """Are the numbers of its operators? One that is not makes NaN of every zero it is composed with."""
    numbers = step.operation.numbers if isinstance(step.operation, Convolved | Scaled | Held) else ()
    return all(map(_all_finite, numbers)) and all(_is_finite(x) for x in step.inputs if isinstance(x, Step))


def _all_finite(t: Tensor | float) -> bool:
    t = torch.as_tensor(t)
    # A sum is finite only if every number is, and takes one pass; it may overflow where none of them does.
    return t.is_meta or isfinite(t.sum().item()) or bool(t.isfinite().all())
