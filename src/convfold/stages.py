"""read → lift → plan → lower → verify → report, in that order and nowhere else, whatever the framework."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from posixpath import commonpath
from time import perf_counter
from typing import Any, Generic, NoReturn, TypeVar

from convfold import spec
from convfold.algebra.apply import Apply
from convfold.algebra.realisation import OwnCall
from convfold.algebra.spatial import Spatial
from convfold.config import FoldConfig
from convfold.diagram import diagram
from convfold.errors import VerificationFailed
from convfold.opened import Opened
from convfold.picture import Picture, drawn, redrawn
from convfold.plan import Plan, Planner, Prices, unplanned
from convfold.plan.border import HOISTED, Correct
from convfold.plan.machine import DEFAULT
from convfold.plan.refusals import refusals
from convfold.region import Node, Region
from convfold.report import Applied, Measured, Mended, Refused, Report, Timed
from convfold.targets import Target, target
from convfold.totals import Totals
from convfold.trace import Stop, Stretch
from convfold.tracing import traced
from convfold.verify import Verdict

#: A model is folded again so many times at most, until nothing is left to fold.
AGAIN = 3
#: What is read of an axis must be no more than this share of it, or all is computed: a part has its price, too.
READ = 0.75

G = TypeVar("G", bound=Opened[Any])

#: Called with the name of each stage as it begins.
Progress = Callable[[str], None]


class Stages(Generic[G]):
    """The stages, timed; what fold and explain share."""

    def __init__(
        self,
        read: Callable[[], G],
        config: FoldConfig,
        progress: Progress,
        planner: Planner | None = None,
        left: frozenset[str] = frozenset(),
        why: tuple[str, str] = ("slower-here", "timed with it and without"),
    ) -> None:
        """``read`` opens the model, each time anew; ``planner``: of a fold before, which knows its plans; ``left``:
        stretches, by the names of their last values, that stay as they are, and ``why``."""
        self.seconds: dict[str, float] = {}
        self.read, self.progress, self.config, self.left, self.why = read, progress, config, left, why
        self.rewritten: tuple[str, ...] | None = None  # stretches that were, by the names of their last values
        with self.timed("read"):
            self.graph = read()
        self.border = "refuse" if config.border == "exact" and not self.graph.mends else config.border
        named = config.target or (self.graph.runtime if self.graph.device.type == "cpu" else None)
        self.target = None if named is None else target(named)
        self.planner = planner or Planner(_prices(config, self.graph, self.target), self.border)
        self.applied: list[Applied] = []
        self.written: list[Plan] = []
        self.mended: list[Mended] = []
        self.refused: tuple[Refused, ...] | None = None
        self.picture: Picture | None = None
        with self.timed("lift"):
            if not planner:
                config.check_globs(self.graph.paths)
            self.before = self.graph.measure()
        self._plan(self.before)

    def reopened(
        self, left: frozenset[str] = frozenset(), planner: Planner | None = None, quiet: bool = False
    ) -> Stages[G]:
        """The same model read and planned anew, by another planner perhaps, some stretches left as they are."""
        progress = _silent if quiet else self.progress
        return Stages(self.read, self.config, progress, planner or self.planner, left)

    def _plan(self, before: Totals) -> None:
        """Of what nobody reads nothing is computed, and what is computed in its cheapest form; it costs ``before``."""
        with self.timed("lift"):
            share = 1.0 if self.config.objective == "macs" else READ
            if cut := self.graph.cut(share, partial(self._is_cheaper, before)):
                self.applied.append(self._unread(cut, before.macs))
            self.stretches = self.graph.lift()
            self.holds("lift", *self.stretches.regions)
        with self.timed("plan"):
            self.plans: list[Plan] = [
                unplanned(region) if region.outputs[-1] in self.left else self.planner(region)
                for region in self.stretches.regions
            ]
            self.holds("plan", *self.plans)
        self.is_still = True  # is every stretch that is written one call that multiplies, of what no other reads?

    def traced(self, where: str) -> tuple[Stretch | Stop, ...]:
        """While the graph is as it was lifted."""
        with self.timed("trace"):
            return traced(where, self.graph.places(self.stretches), self.plans, self.planner)

    def write(self) -> None:
        """The planned regions in place, and planned anew until nothing is left: what is written has other neighbours.

        The graph is measured behind it. Why the rest is left was asked for before something was last changed: between
        calls that are written there is nothing that the model's author could see.
        """
        if self.rewritten is not None:
            return
        self.picture = drawn(self.graph.program, self.stretches.regions)
        self.rewrite()
        self.rewritten = tuple(plan.original.outputs[-1] for plan in self.written)
        for _ in range(AGAIN):
            if self.is_still:
                break
            with self.timed("lift"):
                self.graph = self.graph.again()
            self._plan(self.after)
            self.rewrite()

    def rewrite(self) -> None:
        """The regions as they are planned, and no further."""
        if self.refused is None or any(plan.changed for plan in self.plans):
            with self.timed("explain"):
                self.refused = self._refused()
        with self.timed("lower"):
            self.graph.write(self.stretches, self._changes())
            self.after = self.graph.measure()

    def finish(
        self, verified: Callable[[Any], Verdict], overflows: Callable[[Any], bool]
    ) -> tuple[Any, Verdict | None]:
        """The folded model, and whether it is the same function as the original.

        ``overflows``: has it weights that are beyond its type?
        """
        self.write()
        with self.timed("lower"):
            written = self.graph.model()
            self.holds("lower", written)
        if self.config.check == "none":
            return written, None
        with self.timed("verify"):
            verdict = verified(written)
            if self.border != "hoist" and not (verdict.passed or verdict.nothing):
                _refuse(verdict, verdict.overflows or overflows(written))
        return written, verdict

    def _changes(self) -> Iterator[tuple[Region, Region]]:
        """Regions and what takes their place, composed as they are asked for: not all numbers are there at once."""
        readers = Counter(x.name for region in self.stretches.regions for x in region.inputs)
        for region, plan in zip(self.stretches.regions, self.plans, strict=True):
            if plan.changed and (done := plan.composed(self.planner.prices)).changed:
                self.holds("compose", done)
                self.applied.append(self._applied(region, done))
                self.mended += self._mended(done)
                alone = all(readers[x.name] == 1 for x in region.inputs)
                self.is_still &= alone and done.after.ops == 1 and done.after.macs > 0
                self.written.append(done)
                yield region, done.region

    def report(
        self, verdict: Verdict | None, timed: Timed | str | None = None, measured: Measured | None = None
    ) -> Report:
        constants = [Applied(where, "weight computed from weights", "constant", 0, 0) for where in self.graph.evaluated]
        return Report(
            (*constants, *self.applied),
            self.refused or (),
            self.before,
            self.after,
            self.graph.free,
            verdict,
            self.seconds,
            tuple(self.mended),
            timed=timed,
            measured=measured,
            picture=self.picture,
        )

    def holds(self, stage: str, *values: Any) -> None:
        """What must hold after a stage, where that is asked for."""
        for value in values if spec.enabled() else ():
            spec.check(stage, value)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        if stage not in self.seconds:
            self.progress(stage)
        start = perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start

    def _refused(self) -> tuple[Refused, ...]:
        """Why neighbours in the planned regions stay apart, and calls that are nearly affine."""
        opaque = self.stretches.opaque.values()
        found = [Refused(e.code, e.where, e.detail) for e in opaque if e.code != "not-affine"]
        for name in self.left:
            found.append(Refused(self.why[0], self._where(name), self.why[1]))
        for plan in self.plans:
            for first, second, e in refusals(plan.region, self.border):
                found.append(Refused(e.code, f"{self._where(first)} → {self._where(second)}", e.detail))
        return tuple(found)

    def _is_cheaper(self, before: Totals, after: Totals) -> bool:
        """A cut is a call of its own, which its multiply-adds have to be worth."""
        saved, more = before.macs - after.macs, after.ops - before.ops
        if more <= 0 or self.config.objective == "macs":
            return saved > 0 or (saved == 0 and more <= 0)
        return saved / DEFAULT.peak > more * DEFAULT.overhead  # of a whole model, whatever its calls are

    def _unread(self, cut: Sequence[tuple[str, str]], before: int) -> Applied:
        """The calls that compute no more than is read of them."""
        paths = [path.replace(".", "/") for path, _ in cut if path] or ["model"]
        where = commonpath(paths) or f"{paths[0]} … {paths[-1]}"
        calls, after = _listed(Counter(kind for _, kind in cut)), self.graph.measure().macs
        return Applied(where.replace("/", "."), calls, "the same, on positions that are read", before, after)

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

    def _called(self, name: str) -> str:
        """By the module that computes it, where it is in one."""
        where = self._where(name)
        return name if where == name else f"{where} ({name})"

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
        text = (diagram(region, self._called), diagram(plan.region, self._called))
        boxes = redrawn(program, region, plan.region)
        where, macs = self._where(region.outputs[-1]), (plan.before.macs, plan.after.macs)
        priced = self.target is not None and self.config.objective != "macs"
        seconds = (1e-18 * plan.before.rank[1], 1e-18 * plan.after.rank[1]) if priced else None
        return Applied(where, before, after, *macs, text, seconds, boxes)


def _silent(stage: str) -> None:
    """Nobody is told."""


def _prices(config: FoldConfig, graph: Opened[Any], it: Target | None) -> Prices:
    """Those of the target, or fixed ones."""
    objective = "macs" if config.objective == "macs" else "time"
    return Prices(objective, DEFAULT if it is None else it, graph.ends, graph.fused, graph.doubles, graph.in_place)


def _listed(kinds: Counter[str]) -> str:
    short = {"native_batch_norm_legit_no_training": "batch_norm"}
    return ", ".join(f"{n} {short.get(kind, kind)}" for kind, n in kinds.items())


def _refuse(verdict: Verdict, overflows: bool) -> NoReturn:
    """The folded model computes something else."""
    if overflows:
        raise VerificationFailed(
            f"the folded model overflows: {verdict}. Nothing is returned. Fold the model in a wider type, or with "
            "`exclude` around the part at fault"
        )
    raise VerificationFailed(
        f"the folded model differs: {verdict}. Nothing is returned. This is a bug in convfold; "
        "please report it with the model. Folding with `exclude` around the part at fault avoids it."
    )
