"""A maximal affine stretch of a model as a small graph of its own, free of any framework's graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from torch import Tensor

from convfold.algebra.layout import Slice
from convfold.algebra.operation import Operation
from convfold.ops import Eager


@dataclass(frozen=True, slots=True)
class Signal:
    """Shape of a value at the example size, which axes are free to change, and bytes per element."""

    shape: tuple[int, ...]
    free: frozenset[int] = frozenset()
    itemsize: int = 4

    @property
    def numbers(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.numbers * self.itemsize

    def space(self, axis: int, dims: int) -> tuple[int, ...]:
        return self.shape[axis + 1 : axis + 1 + dims]

    def known(self, axis: int, dims: int) -> tuple[int | None, ...]:
        """Sizes of the space axes, None where free."""
        return tuple(None if i in self.free else self.shape[i] for i in range(axis + 1, axis + 1 + dims))


@dataclass(frozen=True, slots=True)
class Node:
    """One value: an operation on earlier values, or (no operation) an input of the region.

    ``content`` are the numbers of an input that is a constant of the model; they broadcast to it, and ``origin`` is the
    module that they belong to. Of a step it is the step of the model that computes exactly this from exactly these
    inputs, so that what the plan leaves alone is left as it was.
    """

    name: str
    operation: Operation | None
    inputs: tuple[str, ...]
    signal: Signal
    origin: str | None = None
    content: Callable[[], Tensor] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Region:
    """Nodes in topological order, and the names of the values that are read outside."""

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    by_name: dict[str, Node] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {n.name: n for n in self.nodes})

    @property
    def inputs(self) -> tuple[Node, ...]:
        return tuple(n for n in self.nodes if n.operation is None)

    @property
    def steps(self) -> tuple[Node, ...]:
        return tuple(n for n in self.nodes if n.operation is not None)

    def consumers(self) -> dict[str, list[str]]:
        users: dict[str, list[str]] = {n.name: [] for n in self.nodes}
        for n in self.nodes:
            for i in n.inputs:
                users[i].append(n.name)
        return users

    def needed(self, outputs: Iterable[str]) -> tuple[Node, ...]:
        """The steps that some values take, in order."""
        wanted, found = set(outputs), list[Node]()
        for node in reversed(self.steps):
            if node.name in wanted:
                found.append(node)
                wanted.update(node.inputs)
        return tuple(found[::-1])

    def pruned(self) -> Region:
        """Without steps that no output takes, and without what only they read."""
        steps = self.needed(self.outputs)
        if len(steps) == len(self.steps):
            return self
        kept = {*self.outputs, *(node.name for node in steps), *(i for node in steps for i in node.inputs)}
        return Region(tuple(node for node in self.nodes if node.name in kept), self.outputs)

    def evaluate(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs for given inputs: what a plan is tested by."""
        values = dict(inputs)
        for n in self.nodes:
            if n.operation is not None:
                xs = [values[i] for i in n.inputs]
                like = xs[0] if xs else next(values[x.name] for x in self.inputs)
                values[n.name] = n.operation.lower(Eager(like), xs, n.signal.shape)
        return {o: values[o] for o in self.outputs}


def shared_out(region: Region) -> dict[str, tuple[tuple[Slice, ...], int]]:
    """Slices of one value that lie end to end from its first position to its last, and each one's place."""
    readers: dict[str, dict[str, Slice]] = {}
    for n in region.steps:
        if isinstance(n.operation, Slice) and n.operation.step == 1 and n.operation.stop is not None:
            readers.setdefault(n.inputs[0], {})[n.name] = n.operation
    found: dict[str, tuple[tuple[Slice, ...], int]] = {}
    for name, slices in readers.items():
        slices = dict(sorted(slices.items(), key=lambda item: item[1].start))  # whatever order they are asked for in
        ordered = tuple(slices.values())
        ends = [0, *(s.stop or 0 for s in ordered)]
        alike = len({s.axis for s in ordered}) == 1 and [s.start for s in ordered] == ends[:-1]
        if len(ordered) > 1 and alike and ends[-1] == region.by_name[name].signal.shape[ordered[0].axis]:
            found |= {n: (ordered, i) for i, n in enumerate(slices)}
    return found
