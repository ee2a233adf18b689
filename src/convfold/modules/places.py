"""Which modules compute what a plan changes, and what takes their place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from convfold.config import FoldConfig
from convfold.errors import InvalidInput, NotFoldable, VerificationFailed
from convfold.frontends.torch.exported import Graph
from convfold.frontends.torch.read import Source, read
from convfold.merge import merge
from convfold.modules.changes import Change, changes
from convfold.modules.seen import Call
from convfold.plan import Cost, Planner
from convfold.program import Program
from convfold.report import Refused
from convfold.results import Result, judges
from convfold.stages import Stages


@dataclass(frozen=True)
class Merged:
    """Layers that follow one another, by path, and the one that computes what they do."""

    paths: tuple[str, ...]
    layers: tuple[nn.Module, ...] = field(repr=False)
    layer: nn.Module = field(repr=False)
    at: str  # whose place it takes

    def weights(self) -> dict[str, tuple[str, ...]]:
        """Of every weight those it was made of, by their names in the model."""
        made_of = tuple(
            joined(path, n) for path, m in zip(self.paths, self.layers, strict=True) for n in m.state_dict()
        )
        return {joined(self.at, name): made_of for name in self.layer.state_dict()}

    def convert(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        layers = copy.deepcopy(self.layers)
        for path, layer in zip(self.paths, layers, strict=True):
            layer.load_state_dict({name: state_dict[joined(path, name)] for name in layer.state_dict()})
        return {joined(self.at, name): t for name, t in merge(*layers).state_dict().items()}


@dataclass(frozen=True)
class Folded:
    """A module that computes by its folded form."""

    path: str
    result: Result = field(repr=False)

    def weights(self) -> dict[str, tuple[str, ...]]:
        """Of every weight those it was made of, by their names in the model; a constant of its code is made of none."""
        made_of, known = self.result.weights.items(), self.result.source.program.state_dict
        return {
            self._name(name): tuple(joined(self.path, of) for of in names if of in known) for name, names in made_of
        }

    def convert(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = {name: state_dict[joined(self.path, name)] for name in self.result.source.program.state_dict}
        return {self._name(name): t for name, t in self.result.convert(own).items()}

    def _name(self, name: str) -> str:
        return joined(self.path, f"folded.{name}")


Place = Merged | Folded

#: Modules inside stay what they are where they save so much of what the whole would.
KEPT = 0.95


@dataclass
class Found:
    """What is to be replaced, and what that saves."""

    places: list[Place] = field(default_factory=list)
    saved: Cost = field(default_factory=Cost)

    def add(self, other: Found) -> None:
        self.places += other.places
        self.saved += other.saved

    def keeps(self, whole: Cost) -> bool:
        """Nearly all the multiply-adds, and operations, that could be saved?"""
        return self.saved.macs >= KEPT * whole.macs and self.saved.ops >= KEPT * whole.ops


class Places:
    """Of one model, of which it is known what each module is called with."""

    def __init__(
        self,
        model: nn.Module,
        calls: dict[nn.Module, list[Call]],
        boundaries: tuple[str, ...],
        config: FoldConfig,
        progress: Callable[[str], None],
    ) -> None:
        self.model, self.calls, self.boundaries = model, calls, boundaries
        self.config, self.progress = config, progress
        self.refused: list[Refused] = []
        self.done: set[nn.Module] = set()
        self.planner: Planner | None = None  # which knows the plans of blocks that were there before

    def within(self, path: str = "") -> Found:
        """A module as it is planned whole; where it cannot be exported, those that it calls.

        What reaches across the modules inside makes it one that computes by its folded form, unless they save nearly
        as much by themselves: then they stay what they are.
        """
        if (module := self.model.get_submodule(path)) in self.done:  # which has this path, too
            return Found()
        self.done.add(module)
        self.progress(f"planning {path or 'the model'}")
        try:
            source = read(module, *self._called(path))
        except InvalidInput as e:
            self._refuse("not-exported", path, str(e))
            return self._inside(path)
        stages = self._planned(path, source)
        found, across, held = Found(), list[Change](), set[str]()
        for change in changes(stages):
            if (layers := self._layers(change, stages.graph.program, path)) is not None:
                found.add(Found([layers], change.saved))
            elif (place := self._place(change, path)) == path:
                across.append(change)
            else:
                held.add(place)
        if not across:
            for place in held:
                if not any(_within(place, other) and place != other for other in held):
                    found.add(self.within(place))
            return found
        whole = sum((change.saved for change in changes(stages)), Cost())
        if self._is_block(path):
            return self._folded(path, stages, whole) or Found()
        found.add(self._inside(path))
        if path and not self._edges(path) and not found.keeps(whole):
            return self._folded(path, stages, whole) or found
        for change in across:
            inner = dict.fromkeys(joined(path, p) or type(self.model).__name__ for p in change.paths)
            self._refuse("crosses-module", " → ".join(inner))
        return found

    def _inside(self, path: str) -> Found:
        found = Found()
        for inner in self._next(path):
            if any(True for _ in self.model.get_submodule(inner).children()):
                found.add(self.within(inner))
        return found

    def _is_block(self, path: str) -> bool:
        """Are there layers only inside, and no edge that is to stay?"""
        inner = [m for m in self.model.get_submodule(path).modules() if any(True for _ in m.children())]
        return len([m for m in inner if m in self.calls]) <= 1 and not self._edges(path)

    def _edges(self, path: str) -> list[str]:
        """Modules inside that are to stay apart."""
        paths = [inner for inner, _ in self.model.named_modules() if _within(inner, path) and inner != path]
        return [inner for inner in paths if any(fnmatchcase(inner, glob) for glob in self.boundaries)]

    def _refuse(self, code: str, path: str, detail: str = "") -> None:
        self.refused.append(Refused(code, path or type(self.model).__name__, detail))

    def _called(self, path: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """
        Raises:
            InvalidInput: it is called in ways that one export does not hold for.
        """
        calls = self.calls.get(self.model.get_submodule(path), [])
        if len({call.signature for call in calls}) != 1:
            raise InvalidInput(f"called in {len(calls)} ways" if calls else "not called")
        return calls[0].args, calls[0].kwargs

    def _next(self, path: str) -> Iterator[str]:
        """The modules inside, past those that only hold others."""
        for name, child in self.model.get_submodule(path).named_children():
            inner = f"{path}.{name}" if path else name
            if child in self.calls:
                yield inner
            else:
                yield from self._next(inner)

    def _module(self, path: str) -> nn.Module | None:
        """None where there is no such module: what was folded before has calls in the names of those it had."""
        try:
            return self.model.get_submodule(path)
        except AttributeError:
            return None

    def _place(self, change: Change, within: str) -> str:
        """The smallest module that is called and holds it all."""
        place = joined(within, change.place)
        while place != within and self._module(place) not in self.calls:
            place = place.rpartition(".")[0]
        return place

    def _planned(self, path: str, source: Source) -> Stages[Graph]:
        """A module with what it is called with; what is excluded is so by its path in the model."""
        module, config = self.model.get_submodule(path), replace(self.config, exclude=())

        def graph() -> Graph:
            return Graph(source, lambda inner: self.config.excludes(joined(path, inner)), module)

        stages = Stages(graph, config, lambda stage: None, self.planner)
        self.planner = stages.planner
        return stages

    def _folded(self, path: str, stages: Stages[Graph], saved: Cost) -> Found | None:
        """By its folded form; None where that cannot be shown to be the same: then the module stays what it is."""
        self.progress(f"folding {path or 'the model'}")
        source = stages.graph.source
        try:
            made, verdict = stages.finish(*judges(source, self.config.check, self.model.get_submodule(path)))
        except VerificationFailed as e:
            self._refuse("not-verified", path, str(e).partition(". Nothing is returned")[0])
            return None
        report, made_of = stages.report(verdict), stages.graph.made_of
        result = Result(made, report, source, stages.config, stages.planner, made_of=made_of)
        return Found([Folded(path, result)], saved)

    def _layers(self, change: Change, program: Program[Any], within: str) -> Merged | None:
        """As one layer, where the plan is one, of layers that follow one another, each called once."""
        if change.steps != 1 or len(change.calls) < 2 or len(set(change.paths)) < len(change.paths):
            return None
        for one, other in zip(change.calls, change.calls[1:], strict=False):
            read = [x for x in program.inputs(other) if not program.is_constant(x)]
            if list(program.users(one)) != [other] or read != [one]:
                return None
        paths = tuple(joined(within, path) for path in change.paths)
        blocks = [edge for edge in self._edges("") if any(True for _ in self.model.get_submodule(edge).children())]
        if any(len({_within(path, block) for path in paths}) > 1 for block in blocks):
            return None
        layers = [m for path in paths if (m := self._module(path)) is not None]
        if len(layers) < len(paths) or any(list(m.children()) or len(self.calls.get(m, [])) != 1 for m in layers):
            return None
        (x, *more), kwargs = self.calls[layers[0]][0].args, self.calls[layers[0]][0].kwargs
        if more or kwargs or not isinstance(x, Tensor):
            return None
        try:
            layer = merge(*layers)
        except (NotFoldable, InvalidInput):
            return None
        heaviest = max(range(len(layers)), key=lambda i: sum(p.numel() for p in layers[i].parameters()))
        return Merged(paths, tuple(layers), layer, paths[heaviest]) if _agree(layer, layers, x) else None


def apart(places: Iterable[Place]) -> tuple[Place, ...]:
    """Each layer once, and none that is inside of a module that computes by its folded form.

    Layers that are found in a module are found again in one inside it that is planned by itself.
    """
    places = list(places)
    found: list[Place] = [place for place in places if isinstance(place, Folded)]
    taken, whole = set[str](), [place.path for place in places if isinstance(place, Folded)]
    for place in places:
        if isinstance(place, Folded) or any(_within(path, outer) for path in place.paths for outer in whole):
            continue
        if taken.isdisjoint(place.paths):
            found.append(place)
            taken.update(place.paths)
    return tuple(found)


def _agree(layer: nn.Module, layers: list[nn.Module], x: Tensor) -> bool:
    """On what the first is called with: a merged layer takes the channels to be where each of them does."""
    with torch.no_grad():
        y = x
        for m in layers:
            y = m(y)
        z = layer(x)
    return y.shape == z.shape and bool((y - z).norm() <= torch.finfo(x.dtype).eps ** 0.5 * y.norm())


def joined(path: str, inner: str) -> str:
    return ".".join(filter(None, (path, inner)))


def _within(path: str, place: str) -> bool:
    return not place or path == place or path.startswith(f"{place}.")
