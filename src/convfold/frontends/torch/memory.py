"""Calls that write into memory become calls that compute new values; what shares that memory is read anew from then on.

Every piece of memory has a root, the value that brought it, and views of it. A write into a view is carried down to the
root as a scatter, and makes every value of that memory stale: the next call that reads one takes it off the new root.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from convfold.errors import InvalidInput
from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.insert import Insert, value
from convfold.frontends.torch.program import path_of
from convfold.frontends.torch.running.state import writes
from convfold.frontends.torch.twin import result
from convfold.frontends.torch.unsure import Unsure
from convfold.frontends.torch.views import SPLITS, View, same, storage, view

aten = torch.ops.aten


@dataclass(eq=False)
class _Memory:
    root: Node
    version: int = 0  # how often it has been written into
    unsure: bool = False  # does anything share it in a way that is not known?


class Memories:
    """``take`` every node in order, then ``finish``."""

    def __init__(self, insert: Insert) -> None:
        self.insert = insert
        self.memory: dict[Node, _Memory] = {}
        self.views: dict[Node, View] = {}  # all but the roots
        self.current: dict[Node, tuple[Node, int]] = {}  # what a value is, at which version of its memory
        self.held: dict[int, list[_Memory]] = {}  # by storage
        self.split: dict[Node, tuple[Node, int]] = {}  # what a call takes apart, at which version
        self.gone: list[Node] = []

    def take(self, node: Node) -> None:
        """Rewrite one call for what was written before it; note what it writes and shares."""
        with self.insert.at(node):
            if written := writes(node.target):
                if [i for i, _ in written] != [0]:
                    raise Unsure(f"{node.target} does not write into its first argument, or into others too")
                self._write(node)
                return
            found = view(node) if node.op == "call_function" else None
            if node.target in SPLITS:
                base = node.all_input_nodes[0]
                self.split[node] = base, self.memory[base].version
            node.args, node.kwargs = map_arg((node.args, dict(node.kwargs)), self.read)
        if node.op != "output":
            self._note(node, found)

    def read(self, node: Node) -> Node:
        """What a value of the trace is by now."""
        if node not in self.current:
            return node
        memory = self.memory[node]
        now, version = self.current[node]
        if version != memory.version:  # never so for a root
            shown = self.views[node]
            now = shown.read(self.insert, self.read(shown.base))
            self.current[node] = now, memory.version
        return now

    def finish(self) -> list[tuple[Node, Node]]:
        """The inputs that were written into, and what they hold at the end."""
        if any(m.unsure and m.version for memories in self.held.values() for m in memories):
            raise Unsure("what is written into is shared in a way that is not known")
        graph, changed = self.insert.graph, []
        inputs = [n for n in graph.nodes if n.op == "placeholder" and n in self.memory]
        outside = {storage(value(n)) for n in inputs}
        with self.insert.at(graph.output_node()):
            for node in inputs:
                now = self.read(node)
                if now is node:
                    continue
                if storage(value(now)) in outside:  # another input, which may be written into first
                    now = self.insert(aten.clone.default, now)
                changed.append((node, now))
        for node in reversed(self.gone):
            graph.erase_node(node)
        return changed

    def _write(self, node: Node) -> None:
        target = node.args[0]
        if not isinstance(target, Node) or storage(value(node)) != storage(value(target)):
            raise Unsure("the values do not say what shares memory, as in a program from a file")
        for other in node.all_input_nodes[1:]:
            if other in self.memory and self.memory[other] is self.memory[target]:
                _refuse_overlap(node, value(target), value(other))
        args, kwargs = map_arg((node.args, dict(node.kwargs)), self.read)
        new = result(self.insert, node.target, args, kwargs)
        if new is not args[0]:
            self._put(target, new)
        memory = self.memory[node] = self.memory[target]
        self.views[node] = same(target)
        self.current[node] = new, memory.version
        self.gone.append(node)

    def _put(self, target: Node, new: Node) -> None:
        """The new value of a view, and so of all that it is a view of."""
        memory = self.memory[target]
        changed = {target: new}
        while target is not memory.root:
            shown = self.views[target]
            new = shown.written(self.insert, self.read(shown.base), new)
            target = shown.base
            changed[target] = new
        memory.version += 1
        self.current.update({node: (now, memory.version) for node, now in changed.items()})

    def _note(self, node: Node, found: View | None) -> None:
        if node.target in SPLITS:
            return  # its parts are met one by one
        val = node.meta.get("val")
        if found is not None:
            base, version = found.base, None
            if node.target is operator.getitem:
                base, version = self.split[node.all_input_nodes[0]]
            memory = self.memory[node] = self.memory[base]
            self.views[node] = replace(found, base=base)
            self.current[node] = node, memory.version if version is None else version
        elif isinstance(val, Tensor):
            shared = node.target is not aten.clone.default and self._share(val)
            self.memory[node] = memory = _Memory(node, unsure=shared)
            self.held.setdefault(storage(val), []).append(memory)
            self.current[node] = node, 0
        elif isinstance(val, list | tuple):
            for t in val:
                if isinstance(t, Tensor):
                    self._share(t)

    def _share(self, t: Tensor) -> bool:
        """Does a value that is no known view have memory that was met before? Then that is shared, who knows how."""
        others = self.held.get(storage(t), [])
        for memory in others:
            memory.unsure = True
        return bool(others)


def _refuse_overlap(node: Node, target: Tensor, source: Tensor) -> None:
    """A write that reads, at other places, numbers that it writes: what it gives depends on which come first."""
    a, b = map(_places, (target, source))
    if (a.shape != b.shape or bool((a != b).any())) and bool(torch.isin(b, a).any()):
        where = f"module {path!r}" if (path := path_of(node)) else "the model"
        raise InvalidInput(
            f"{where} writes a tensor onto an overlapping part of itself: what that gives "
            "depends on the order in which numbers are copied; copy from a clone()"
        )


def _places(t: Tensor) -> Tensor:
    """Where in memory its numbers lie, at the example; nowhere where that is known at run time only."""
    sizes, strides, (first,) = ([_hint(n) for n in given] for given in (t.shape, t.stride(), [t.storage_offset()]))
    at = torch.full(sizes, first)
    for i, (n, stride) in enumerate(zip(sizes, strides, strict=True)):
        at += (torch.arange(n) * stride).reshape(-1, *(1,) * (len(sizes) - 1 - i))
    return at


def _hint(n: Any) -> int:
    return int((n.node.hint or 0) if is_free(n) else n)
