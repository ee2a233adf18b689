"""fold() and explain(): read → lift → plan → lower → verify → report, in that order and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from convfold import spec
from convfold.algebra.apply import Apply
from convfold.algebra.realisation import OwnCall
from convfold.algebra.spatial import Spatial
from convfold.collector import collector_paused
from convfold.comparison.trials import at_sizes
from convfold.config import FoldConfig
from convfold.diagram import diagram
from convfold.errors import InvalidInput, VerificationFailed
from convfold.frontends.torch.checkpoint import reweighted, take_over
from convfold.frontends.torch.exported import Graph
from convfold.frontends.torch.places import Places
from convfold.frontends.torch.program import path_of
from convfold.frontends.torch.read import Source, export, read
from convfold.frontends.torch.running.state import seeded
from convfold.plan import Plan, Planner, Prices
from convfold.plan.border import HOISTED, Correct
from convfold.plan.machine import measured
from convfold.plan.refusals import refusals
from convfold.region import Node, Region
from convfold.report import Applied, Mended, Refused, Report
from convfold.saving import save
from convfold.trace import Stop, Stretch
from convfold.tracing import traced
from convfold.verify import Verdict, verify

#: Called with the name of each stage as it begins.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """A folded model: ``module``, its ``report``, and a way to ``save`` it."""

    module: GraphModule
    report: Report
    source: Source = field(repr=False)
    config: FoldConfig = field(repr=False)
    planner: Planner = field(repr=False)

    @collector_paused()
    def load_original(self, state_dict: Mapping[str, Any], *, progress: Progress = lambda stage: None) -> Result:
        """Load a checkpoint of the original model: its weights are folded anew, as planned before.

        ``module`` is changed in place: it stays the same object, and its weights keep their tensors, types, devices
        and whether they require gradients. Where the new weights ask for another plan (a bias that was all zeros and
        is not now), that stretch is planned again and the module gets the calls and weights of the new plan. It is
        verified as it was when folded, against the original with the new weights; the user's model is not touched.

        Returns:
            The result with this module, a report of this fold, and the new weights as its source.

        Raises:
            InvalidInput: the names or shapes are not the original's, or a weight to be folded is NaN or infinite.
            VerificationFailed: as for `fold`. In either case the module is what it was.
        """
        source = reweighted(self.source, state_dict)
        work = _Work(source, None, None, None, self.config, progress, self.planner)
        fresh, verdict = work.finish(None)
        take_over(self.module, fresh)
        return replace(self, report=work.report(verdict), source=source)

    def save(self, path: str | Path) -> None:
        """Write a .pt2 or .onnx file: whole, or not at all.

        Raises:
            InvalidInput: the folder is missing or cannot be written, the suffix is unknown, or ONNX is not installed.
        """
        save(self.program(), Path(path))

    def program(self) -> ExportedProgram:
        """The folded model exported again, with the same dimensions free."""
        program = export(self.module, *self.source.traceable(), self.source.dynamic_shapes())
        program.example_inputs = (self.source.args, self.source.kwargs)
        return program


@seeded(0)
@collector_paused()
def fold(
    model: nn.Module | ExportedProgram | str | Path,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    config: FoldConfig | None = None,
    progress: Progress = lambda stage: None,
) -> Result:
    """Rewrite the affine stretches of a model into their cheapest exactly equal form. The model is not changed.

    Args:
        model: an ``nn.Module`` in eval mode, an ``ExportedProgram``, or the path of a ``.pt2`` file.
        args, kwargs: example inputs; not needed where the program carries its own.
        dynamic_shapes: None leaves the batch (dimension 0) free where the model allows it, "static" fixes every size;
            anything else goes to ``torch.export`` unchanged.
        config: see :class:`FoldConfig`.
        progress: called with the name of each stage as it begins.

    Returns:
        The folded module, same calling convention, and the report; where no output could be compared it says so.

    Raises:
        InvalidInput: the model or inputs cannot be used (one line says why and what to do).
        VerificationFailed: the result differs from the original by more than its own rounding error.
    """
    config = config or FoldConfig()
    work = _Work(model, args, kwargs, dynamic_shapes, config, progress)
    module, verdict = work.finish(model)
    return Result(module, work.report(verdict), work.source, config, work.planner)


@seeded(0)
@collector_paused()
def explain(
    model: nn.Module | ExportedProgram | str | Path,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    config: FoldConfig | None = None,
    progress: Progress = lambda stage: None,
    trace: str | None = None,
) -> Report:
    """What `fold` would do and what it would leave, and why; nothing is verified and nothing changes.

    ``trace``: a glob over module paths and names of calls. `Report.trace` then tells of every stretch that such a call
    is in which forms were seen, what each costs, what was refused and what was taken; and of a call in none, why.

    Raises:
        InvalidInput: as `fold` does; and where ``trace`` matches no call.
    """
    work = _Work(model, args, kwargs, dynamic_shapes, config or FoldConfig(), progress)
    found = () if trace is None else work.traced(trace)
    work.write()
    return replace(work.report(None), trace=found)


class _Work:
    """The stages, timed; what fold and explain share."""

    def __init__(
        self,
        model: Any,  # or a source that was read before, to be folded by the planner of then
        args: Any,
        kwargs: Any,
        dynamic_shapes: Any,
        config: FoldConfig,
        progress: Progress,
        planner: Planner | None = None,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.progress, self.config, self.border = progress, config, config.border
        with self.timed("read"):
            self.source = model if planner else read(model, args, kwargs, dynamic_shapes)
        self.planner = planner or Planner(_prices(config.objective, self.source), config.border)
        with self.timed("lift"):
            self.graph = Graph(self.source, config.excludes)
            if not planner:
                modules = [path for path, _ in model.named_modules()] if isinstance(model, nn.Module) else []
                config.check([*modules, *map(path_of, self.graph.calls.graph.nodes)])
            self.stretches = self.graph.lift()
            self.holds("lift", *self.stretches.regions)
        with self.timed("plan"):
            self.plans: list[Plan] = [self.planner(region) for region in self.stretches.regions]
            self.holds("plan", *self.plans)
        self.applied: list[Applied] = []
        self.mended: list[Mended] = []

    def traced(self, where: str) -> tuple[Stretch | Stop, ...]:
        """While the graph is as it was lifted."""
        with self.timed("trace"):
            return traced(where, Places(self.graph.program, self.stretches), self.plans, self.planner)

    def write(self) -> GraphModule:
        """The planned regions in place, the graph measured before and after, the reasons asked for in between."""
        with self.timed("explain"):
            self.before, self.refused = self.graph.measure(), self._refused()
        with self.timed("lower"):
            module = self.graph.write(self.stretches, self._changes())
            self.holds("lower", module)
            self.after = self.graph.measure()
        return module

    def finish(self, model: Any) -> tuple[GraphModule, Verdict | None]:
        """The folded module, and whether it is the same function as the model (as the source, where that is None)."""
        module = self.write()
        self.source.guard(module)
        if not self.config.verify:
            return module, None
        with self.timed("verify"):
            return module, _verified(model, module, self.source, enforced=self.border != "hoist")

    def _changes(self) -> Iterator[tuple[Region, Region]]:
        """Regions and what takes their place, composed as they are asked for: not all numbers are there at once."""
        for region, plan in zip(self.stretches.regions, self.plans, strict=True):
            if plan.changed and (done := plan.composed(self.planner.prices)).changed:
                self.holds("compose", done)
                self.applied.append(self._applied(region, done))
                self.mended += self._mended(done)
                yield region, done.region

    def report(self, verdict: Verdict | None) -> Report:
        constants = [Applied(where, "weight computed from weights", "constant", 0, 0) for where in self.graph.evaluated]
        return Report(
            (*constants, *self.applied),
            self.refused,
            self.before,
            self.after,
            self.source.free,
            verdict,
            self.seconds,
            tuple(self.mended),
        )

    def holds(self, stage: str, *values: Any) -> None:
        """What must hold after a stage, where that is asked for."""
        for value in values if spec.enabled() else ():
            spec.check(stage, value)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        self.progress(stage)
        start = perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start

    def _refused(self) -> tuple[Refused, ...]:
        """Why neighbours in the planned regions stay apart, and calls that are nearly affine."""
        opaque = self.stretches.opaque.values()
        found = [Refused(e.code, e.where, e.detail) for e in opaque if e.code != "not-affine"]
        for plan in self.plans:
            for first, second, e in refusals(plan.region, self.border):
                found.append(Refused(e.code, f"{self._where(first)} → {self._where(second)}", e.detail))
        return tuple(found)

    def _mended(self, plan: Plan) -> Iterator[Mended]:
        """How each border of a rewritten stretch is what it was."""
        for node in plan.region.steps:
            if isinstance(step := node.operation, Correct):
                change = step.border.change() if step.way is HOISTED else None
                cost = self.planner.prices.of(step, [], node.signal)
                ghosts = tuple(step.border.ghosts())
                yield Mended(self._where(node.name), step.way.text, cost.macs, cost.bytes, ghosts, change)

    def _where(self, name: str) -> str:
        program = self.graph.program
        while not program.has(name) and "." in name:
            name = name.rpartition(".")[0]
        return (program.path(name) if program.has(name) else "") or name

    def _kind(self, node: Node) -> str:
        """What a planned step is called: the model's own call by its name, what is new by what it is."""
        step = node.operation
        own = step.origin if isinstance(step, Spatial) else None
        if isinstance(step, Apply) and isinstance(step.how, OwnCall):
            own = step.operator.own_call
        if own is not None:
            return self.graph.program.word(own)
        assert step is not None
        return step.kind

    def _applied(self, region: Region, plan: Plan) -> Applied:
        program = self.graph.program
        before = _listed(Counter(program.word(step.name) for step in region.steps if program.has(step.name)))
        after = _listed(Counter(self._kind(step) for step in plan.region.steps))
        drawn = (diagram(region), diagram(plan.region))
        return Applied(self._where(region.outputs[-1]), before, after, plan.before.macs, plan.after.macs, drawn)


def _prices(objective: str, source: Source) -> Prices:
    """Fixed, or by this machine's speed, where the example lies."""
    if objective != "measured":
        return Prices(objective)
    tensors = (x for x in pytree.tree_leaves((source.args, source.kwargs)) if isinstance(x, torch.Tensor))
    return Prices("time", measured(next((x.device for x in tensors), torch.device("cpu"))))


def _listed(kinds: Counter[str]) -> str:
    short = {"native_batch_norm_legit_no_training": "batch_norm"}
    return ", ".join(f"{n} {short.get(kind, kind)}" for kind, n in kinds.items())


def _verified(model: Any, module: GraphModule, source: Source, enforced: bool) -> Verdict:
    """Raise unless the folded module computes what the original does, where that is ``enforced``."""
    if any(isinstance(x, torch.Tensor) and x.is_meta for x in pytree.tree_leaves((source.args, source.kwargs))):
        raise InvalidInput(
            "inputs on the meta device have no numbers to verify the result by; fold with FoldConfig(verify=False)"
        )
    original = model if isinstance(model, nn.Module) else source.program.module(check_guards=False)
    inputs = (source.args, source.kwargs)
    verdict = verify(original, module, *inputs, trials=at_sizes(inputs, *source.free_places()), thorough=False)
    if verdict.passed or verdict.nothing or not enforced:
        return verdict
    if verdict.overflows or any(t.is_floating_point() and not bool(t.isfinite().all()) for t in module.parameters()):
        raise VerificationFailed(
            f"the folded model overflows: {verdict}. Nothing is returned. Fold the model in a wider type, or with "
            "`exclude` around the part at fault"
        )
    raise VerificationFailed(
        f"the folded model differs: {verdict}. Nothing is returned. This is a bug in convfold; "
        "please report it with the model. Folding with `exclude` around the part at fault avoids it."
    )
