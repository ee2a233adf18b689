"""fold() and explain(): a model of whichever framework, opened by its frontend and taken through the stages."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from convfold.collector import collector_paused
from convfold.config import FoldConfig
from convfold.errors import InvalidInput
from convfold.files import is_onnx
from convfold.frontends.torch.exported import Graph
from convfold.frontends.torch.read import read
from convfold.frontends.torch.running.state import seeded
from convfold.guard import guarded
from convfold.measured import measured
from convfold.modules import fold_
from convfold.report import Report
from convfold.results import Result, judges
from convfold.stages import Progress, Stages

_DEFAULT = FoldConfig()

__all__ = ["Progress", "Result", "explain", "fold"]


@seeded(0)
@collector_paused()
def fold(
    model: nn.Module | ExportedProgram | str | Path | Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    config: FoldConfig | None = None,
    progress: Progress = lambda stage: None,
    keep: str = "calls",
) -> Any:
    """Rewrite the affine stretches of a model into their cheapest exactly equal form. The model is not changed.

    Args:
        model: an ``nn.Module`` in eval mode, an ``ExportedProgram``, the path of a ``.pt2`` or ``.onnx`` file, an
            ``onnx.ModelProto`` or an ``onnx_ir.Model``.
        args, kwargs: example inputs; not needed where the program carries its own, nor for ONNX, where they may be
            mere shapes, and only those that the model leaves free count.
        dynamic_shapes: None leaves the batch (dimension 0) free where the model allows it, "static" fixes every size;
            anything else goes to ``torch.export`` unchanged.
        config: see :class:`FoldConfig`.
        progress: called with the name of each stage as it begins.
        keep: "calls" gives a flat graph module, right for deployment; "modules" a copy of an ``nn.Module`` that is
            folded where it is, as by `fold_`, its class and module tree kept.

    Returns:
        A `Result`: the folded module, same calling convention, and the report; where no output could be compared it
        says so. Of ONNX an `OnnxResult`: the model in place of the module. Of modules that are kept a `Folding`.

    Raises:
        InvalidInput: the model or inputs cannot be used (one line says why and what to do).
        VerificationFailed: the result differs from the original by more than its own rounding error.
    """
    config = config or FoldConfig()
    if keep == "modules":
        if not isinstance(model, nn.Module) or dynamic_shapes is not None:
            raise InvalidInput("keep='modules' takes an nn.Module, and no dynamic_shapes: only the batch stays free")
        return fold_(copy.deepcopy(model), args, kwargs, config=config, progress=progress)
    if keep != "calls":
        raise InvalidInput(f"keep={keep!r} is not known; give 'calls' or 'modules'")
    if is_onnx(model):
        from convfold.results_onnx import folded

        return folded(model, args, kwargs, dynamic_shapes, config, progress)
    stages = opened(model, args, kwargs, dynamic_shapes, config, progress)
    source, original = stages.graph.source, stages.graph.original
    first = source.program.module(check_guards=False) if original is None else original
    stages, found = measured(stages)
    stages, timed = guarded(
        stages,
        lambda runtime, threads, m: runtime.ready(first if m is None else m, source.args, source.kwargs, threads),
    )
    module, verdict = stages.finish(*judges(source, config.check, original))
    return Result(
        module, stages.report(verdict, timed, found), source, config, stages.planner, stages.left, stages.graph.made_of
    )


@seeded(0)
@collector_paused()
def explain(
    model: nn.Module | ExportedProgram | str | Path | Any,
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
    stages, found = measured(opened(model, args, kwargs, dynamic_shapes, config or FoldConfig(), progress))
    told = () if trace is None else stages.traced(trace)
    stages.write()
    return replace(stages.report(None, measured=found), trace=told)


def opened(
    model: Any,
    args: Any = None,
    kwargs: Any = None,
    dynamic_shapes: Any = None,
    config: FoldConfig = _DEFAULT,
    progress: Progress = lambda stage: None,
) -> Stages[Any]:
    """A model as it is read and planned."""
    if is_onnx(model):
        from convfold.results_onnx import stages_of

        return stages_of(model, args, kwargs, dynamic_shapes, config, progress)

    source = cache(lambda: read(model, args, kwargs, dynamic_shapes))
    original = model if isinstance(model, nn.Module) else None
    return Stages(lambda: Graph(source(), config.excludes, original), config, progress)
