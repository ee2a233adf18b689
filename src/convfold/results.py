"""What a fold gives back: the model, the report, and ways to go on with both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from convfold.collector import collector_paused
from convfold.comparison.trials import at_sizes
from convfold.config import FoldConfig
from convfold.errors import InvalidInput
from convfold.frontends.torch.checkpoint import reweighted, take_over
from convfold.frontends.torch.exported import Graph
from convfold.frontends.torch.read import Source, export
from convfold.plan import Planner
from convfold.report import Report
from convfold.saving import save
from convfold.stages import Progress, Stages
from convfold.verify import Verdict, verify


@dataclass(frozen=True)
class Result:
    """A folded model: ``module``, its ``report``, and a way to ``save`` it."""

    module: GraphModule
    report: Report
    source: Source = field(repr=False)
    config: FoldConfig = field(repr=False)
    planner: Planner = field(repr=False)
    left: frozenset[str] = field(default=frozenset(), repr=False)  # stretches that are faster as they were
    made_of: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @property
    def weights(self) -> dict[str, tuple[str, ...]]:
        """Of every weight of ``module`` those of the original that it was composed of; of one that stayed, itself."""
        return {name: self.made_of.get(name, (name,)) for name in self.module.state_dict()}

    @collector_paused()
    def convert(self, state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
        """A checkpoint of the original as one of ``module``, which stays what it is: composed as planned before.

        Raises:
            InvalidInput: the names or shapes are not the original's, or the new weights ask for another plan (a bias
                that was all zeros and is not now): `load_original` folds them.
        """
        stages = self._anew(reweighted(self.source, state_dict), lambda stage: None)
        stages.write()
        fresh, own = stages.graph.model().state_dict(), self.module.state_dict()
        if {name: t.shape for name, t in fresh.items()} != {name: t.shape for name, t in own.items()}:
            raise InvalidInput("these weights ask for another plan; load them by result.load_original(state_dict)")
        return {name: t.to(own[name]) for name, t in fresh.items()}

    def _anew(self, source: Source, progress: Progress) -> Stages[Graph]:
        return Stages(lambda: Graph(source, self.config.excludes), self.config, progress, self.planner, self.left)

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
        stages = self._anew(source, progress)
        fresh, verdict = stages.finish(*judges(source, self.config.check))
        take_over(self.module, fresh)
        return replace(self, report=stages.report(verdict), source=source, made_of=stages.graph.made_of)

    def save(self, path: str | Path) -> None:
        """Write a .pt2 or .onnx file: whole, or not at all.

        Raises:
            InvalidInput: the folder is missing or cannot be written, the suffix is unknown, or ONNX is not installed.
        """
        save(self.program(), Path(path))

    def program(self) -> ExportedProgram:
        """The folded model exported again, with the same dimensions free."""
        shapes = self.source.dynamic_shapes()
        program = export(self.module, *self.source.traceable(), "static" if shapes is None else shapes)
        program.example_inputs = (self.source.args, self.source.kwargs)
        return program


def judges(
    source: Source, check: str, original: nn.Module | None = None
) -> tuple[Callable[[nn.Module], Verdict], Callable[[nn.Module], bool]]:
    """Is a module the same function as the one its source was read from, or as the source? Does it overflow?"""
    inputs = source.args, source.kwargs

    def verified(module: nn.Module) -> Verdict:
        if any(isinstance(x, torch.Tensor) and x.is_meta for x in pytree.tree_leaves(inputs)):
            raise InvalidInput(
                "inputs on the meta device have no numbers to verify the result by; fold with FoldConfig(verify=False)"
            )
        first = source.program.module(check_guards=False) if original is None else original
        trials = at_sizes(inputs, *source.free_places())[: 1 if check == "quick" else None]
        return verify(first, module, *inputs, trials=trials, thorough=False)

    def overflows(module: nn.Module) -> bool:
        return any(t.is_floating_point() and not bool(t.isfinite().all()) for t in module.parameters())

    return verified, overflows
