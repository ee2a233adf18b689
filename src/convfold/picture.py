"""A model as boxes, each with what it reads, before and after: what a report is drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from convfold.algebra.apply import Apply
from convfold.algebra.layout import Layout
from convfold.program import OUTPUT, Program
from convfold.region import Node, Region

#: What a model's own calls are told apart by no better than by the framework's words for them.
_PLAIN = ("scale", "view")


@dataclass(frozen=True, slots=True)
class Box:
    """One value, at the example's size.

    Attributes:
        label: what computes it, in words; "" of what comes from outside.
        path: of the module that it is computed in; "" at the root.
        macs: multiply-adds, as far as a step of an affine stretch makes them.
        taps: of a convolution, along each axis.
    """

    name: str
    label: str
    path: str
    size: tuple[int, ...]
    macs: int
    reads: tuple[str, ...]
    taps: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Redrawn:
    """A stretch before and after, inputs among its boxes."""

    before: tuple[Box, ...]
    after: tuple[Box, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """Every call of a model as it was, its inputs among them."""

    calls: tuple[Box, ...]
    outputs: tuple[str, ...]


def drawn(program: Program[Any], regions: Iterable[Region]) -> Picture:
    """A model that was lifted, and not rewritten yet."""
    steps = {box.name: box for region in regions for box in _boxes(region, program) if box.label}
    calls = [name for name in program.listed if program.has(name) and not program.is_constant(name)]
    known = {*program.given, *calls}

    def source(name: str) -> str | None:
        """The call that a value is one output of, where it is not one by itself."""
        while name not in known and (part := program.part_of(name)) is not None:
            name, _ = part
        return name if name in known else None

    def box(name: str) -> Box:
        reads = tuple(dict.fromkeys(n for i in program.inputs(name) if (n := source(i)) is not None))
        if (step := steps.get(name)) is not None:
            label = program.word(name) if step.label in _PLAIN else step.label
            return Box(name, label, step.path, step.size, step.macs, reads, step.taps)
        return Box(name, program.word(name), program.path(name), (), 0, reads)

    given = (Box(name, "", "", (), 0, ()) for name in program.given)
    outputs = tuple(name for name in (*program.given, *calls) if OUTPUT in program.users(name))
    return Picture((*given, *map(box, calls)), outputs)


def redrawn(program: Program[Any], before: Region, after: Region) -> Redrawn:
    """What a plan does to a stretch."""
    return Redrawn(tuple(_boxes(before, program)), tuple(_boxes(after, program)), after.outputs)


def _boxes(region: Region, program: Program[Any]) -> Iterator[Box]:
    for node in region.nodes:
        xs = [region.by_name[i].signal.shape for i in node.inputs]
        step, size = node.operation, node.signal.shape
        if step is None:
            yield Box(node.name, "", _path(program, node), size, 0, ())
            continue
        label = "view" if isinstance(step, Layout) else step.label
        macs = sum(w.macs for w in step.work(xs, size))
        taps = step.operator.geometry.taps if isinstance(step, Apply) else ()
        yield Box(node.name, label, _path(program, node), size, macs, node.inputs, tuple(taps))


def _path(program: Program[Any], node: Node) -> str:
    """Of the call that a step is part of, or stands in the place of."""
    name = node.name
    while not program.has(name) and "." in name:
        name = name.rpartition(".")[0]
    return program.path(name) if program.has(name) else ""
