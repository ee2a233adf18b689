"""Where in a model something is: its calls by name and module path, and what lies at the ends of a stretch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from convfold.errors import REASONS, InvalidInput, NotFoldable
from convfold.lift import Stretches
from convfold.program import OUTPUT, Program
from convfold.region import Region


class Places:
    """Of a program that has been lifted, and not yet rewritten."""

    def __init__(self, program: Program[Any], stretches: Stretches) -> None:
        self.program, self.stretches = program, stretches
        self.steps = {n.name for region in stretches.regions for n in region.steps if program.has(n.name)}
        self.calls = [n for n in program.listed if self._is_call(n)]
        self.alike = Counter(map(program.path, self.calls))

    def matching(self, where: str) -> list[str]:
        """Calls inside a module, or of a name, that a glob matches; a pair as the report names it is two globs.

        Raises:
            InvalidInput: there is none.
        """
        globs = [glob.strip() for glob in where.split("→")]
        found = [n for n in self.calls if any(fnmatchcase(name, glob) for glob in globs for name in self._names(n))]
        if not found:
            near = get_close_matches(where, {name for n in self.calls for name in self._names(n)}, 3)
            hint = f"near it: {', '.join(near)}" if near else "give a module path or the name of a call, or '*' for all"
            raise InvalidInput(f"trace {where!r} matches no call of the model; {hint}")
        return found

    def label(self, name: str) -> str:
        """What a value of a region is called."""
        while not self.program.has(name) and "." in name:
            name = name.rpartition(".")[0]
        return self.called(name) if self.program.has(name) else name

    def called(self, name: str) -> str:
        """By the path of its module, and by its own name where it has none or shares it."""
        path = self.program.path(name)
        return name if not path else path if self.alike[path] == 1 else f"{path} ({name})"

    def begins(self, region: Region) -> Iterator[str]:
        """What computes the inputs of a stretch."""
        for value in region.inputs:
            if value.name in self.stretches.bare:
                norm, _ = self.stretches.bare[value.name]
                yield f"{self.label(norm)}, which normalises; its scale and shift are in the stretch"
            else:
                part = self.program.part_of(value.name)
                yield self._beside(value.name if part is None else part[0])

    def ends(self, region: Region) -> Iterator[str]:
        """What reads the outputs of a stretch."""
        for name in region.outputs:
            for user in self.program.users(name):
                if user not in self.steps and not self._is_split(user) and self.program.used(user):
                    yield self._beside(user)

    def stop(self, name: str) -> NotFoldable:
        """Why a call is a step of no stretch."""
        path = self.program.path(name)
        if self.program.is_constant(name):
            return NotFoldable("not-affine", "computed from weights alone, once: a constant")
        if name in self.stretches.opaque:
            return self.stretches.opaque[name]
        if path in self.stretches.opaque:  # excluded: once a module
            return self.stretches.opaque[path]
        if not self.program.users(name):
            return NotFoldable("not-affine", "it hands its input on, or nothing reads it: nothing is computed")
        where = "not affine here" if name in self.program.calls else "not among the affine layers convfold reads"
        return NotFoldable("not-affine", f"{self.program.word(name)} is {where}")

    def neighbours(self, name: str) -> tuple[list[str], list[str]]:
        """The steps a call reads, and those that read it; a constant ends and begins no stretch."""
        if self.program.is_constant(name):
            return [], []
        before = [self.called(n) for n in self.program.inputs(name) if n in self.steps]
        return before, [self.called(n) for n in self.program.users(name) if n in self.steps]

    def _is_call(self, name: str) -> bool:
        """The parts of what is split are none unless they are steps of their own; what is split then is none."""
        return (self.program.part_of(name) is None or name in self.steps) and not self._is_split(name)

    def _is_split(self, name: str) -> bool:
        """Are the steps the parts of what it returns?"""
        users = self.program.users(name)
        return any(user != OUTPUT and self.program.part_of(user) and user in self.steps for user in users)

    def _beside(self, name: str) -> str:
        if name == OUTPUT:
            return "the model's output"
        if name in self.program.given:
            return f"the model's input {name}"
        if name not in self.program.listed:
            return f"the constant {self.program.word(name)}"
        reason = self.stop(name)
        words = reason.detail or REASONS[reason.code]
        return f"{self.called(name)}: {words if reason.code == 'not-affine' else f'{reason.code}: {words}'}"

    def _names(self, name: str) -> Iterable[str]:
        """A call's own name, and the paths of all modules it is inside of."""
        parts = self.program.path(name).split(".")
        return [name, *(".".join(parts[: i + 1]) for i in range(len(parts)) if parts[0])]
