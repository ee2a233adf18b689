"""Where in a model something is: its calls by name and module path, and what lies at the ends of a stretch."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import Tensor
from torch.fx import Node as FxNode

from convfold.errors import REASONS, InvalidInput, NotFoldable
from convfold.frontends.torch.program import FxProgram, path_of
from convfold.layers import ATEN
from convfold.lift import Stretches
from convfold.region import Region


class Places:
    """Of a program that has been lifted, and not yet rewritten."""

    def __init__(self, program: FxProgram, stretches: Stretches) -> None:
        self.program, self.stretches = program, stretches
        self.steps = {n.name for region in stretches.regions for n in region.steps if program.has(n.name)}
        self.calls = [n for n in program.graph.nodes if self._is_call(n)]
        self.alike = Counter(map(path_of, self.calls))

    def matching(self, where: str) -> list[FxNode]:
        """Calls inside a module, or of a name, that a glob matches; a pair as the report names it is two globs.

        Raises:
            InvalidInput: there is none.
        """
        globs = [glob.strip() for glob in where.split("→")]
        found = [n for n in self.calls if any(fnmatchcase(name, glob) for glob in globs for name in _names(n))]
        if not found:
            near = get_close_matches(where, {name for n in self.calls for name in _names(n)}, 3)
            hint = f"near it: {', '.join(near)}" if near else "give a module path or the name of a call, or '*' for all"
            raise InvalidInput(f"trace {where!r} matches no call of the model; {hint}")
        return found

    def label(self, name: str) -> str:
        """What a value of a region is called."""
        while not self.program.has(name) and "." in name:
            name = name.rpartition(".")[0]
        return self.called(self.program.node(name)) if self.program.has(name) else name

    def called(self, node: FxNode) -> str:
        """By the path of its module, and by its own name where it has none or shares it."""
        path = path_of(node)
        return node.name if not path else path if self.alike[path] == 1 else f"{path} ({node.name})"

    def begins(self, region: Region) -> Iterator[str]:
        """What computes the inputs of a stretch."""
        for value in region.inputs:
            if value.name in self.stretches.bare:
                norm, _ = self.stretches.bare[value.name]
                yield f"{self.label(norm)}, which normalises; its scale and shift are in the stretch"
            else:
                yield self._beside(_call(self.program.node(value.name)))

    def ends(self, region: Region) -> Iterator[str]:
        """What reads the outputs of a stretch."""
        for name in region.outputs:
            for user in self.program.node(name).users:
                if user.name not in self.steps and not self._is_split(user) and (user.users or user.op == "output"):
                    yield self._beside(user)

    def stop(self, node: FxNode) -> NotFoldable:
        """Why a call is a step of no stretch."""
        path = path_of(node)
        if node in self.program.constants:
            return NotFoldable("not-affine", "computed from weights alone, once: a constant")
        if node.name in self.stretches.opaque:
            return self.stretches.opaque[node.name]
        if path in self.stretches.opaque:  # excluded: once a module
            return self.stretches.opaque[path]
        if not node.users:
            return NotFoldable("not-affine", "it hands its input on, or nothing reads it: nothing is computed")
        where = "not affine here" if str(node.target) in ATEN else "not among the affine layers convfold reads"
        return NotFoldable("not-affine", f"{self.program.word(node.name)} is {where}")

    def neighbours(self, node: FxNode) -> tuple[list[str], list[str]]:
        """The steps a call reads, and those that read it; a constant ends and begins no stretch."""
        if node in self.program.constants:
            return [], []
        before = [self.called(n) for n in node.all_input_nodes if n.name in self.steps]
        return before, [self.called(n) for n in node.users if n.name in self.steps]

    def _is_call(self, node: FxNode) -> bool:
        """Sizes are none, nor are the parts of what is split unless they are steps of their own."""
        if node.op != "call_function" or (node.target is operator.getitem and node.name not in self.steps):
            return False
        values = node.meta.get("val")
        found = values if isinstance(values, list | tuple) else [values]
        return any(isinstance(v, Tensor) for v in found) and not self._is_split(node)

    def _is_split(self, node: FxNode) -> bool:
        """Are the steps the parts of what it returns?"""
        return any(user.target is operator.getitem and user.name in self.steps for user in node.users)

    def _beside(self, node: FxNode) -> str:
        if node.op == "placeholder":
            return f"the model's input {node.name}"
        if node.op == "output":
            return "the model's output"
        if node.op != "call_function":
            return f"the constant {node.target}"
        reason = self.stop(node)
        words = reason.detail or REASONS[reason.code]
        return f"{self.called(node)}: {words if reason.code == 'not-affine' else f'{reason.code}: {words}'}"


def _call(node: FxNode) -> FxNode:
    """Of a part of what a call returns, the call."""
    if node.target is operator.getitem and isinstance(call := node.args[0], FxNode):
        return call
    return node


def _names(node: FxNode) -> Iterable[str]:
    """A call's own name, and the paths of all modules it is inside of."""
    parts = path_of(node).split(".")
    return [node.name, *(".".join(parts[: i + 1]) for i in range(len(parts)) if parts[0])]
