"""What a fold of an ONNX model gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch

from convfold.atomic import replacing
from convfold.config import FoldConfig
from convfold.frontends.onnx import kept
from convfold.frontends.onnx.files import write
from convfold.frontends.onnx.graph import Graph
from convfold.frontends.onnx.source import Source, drawn, read
from convfold.frontends.onnx.tensors import to_torch
from convfold.guard import guarded
from convfold.measured import measured
from convfold.report import Report
from convfold.runtimes import Call, Runtime
from convfold.saving import refuse_output
from convfold.stages import Progress, Stages
from convfold.verify import verified


@dataclass(frozen=True)
class OnnxResult:
    """A folded ``model``, its ``report``, and a way to ``save`` it.

    Its opset, the names of its inputs and outputs, and whatever was not folded are as they were.
    """

    model: ir.Model
    report: Report
    source: Source = field(repr=False)
    config: FoldConfig = field(repr=False)

    @property
    def proto(self) -> onnx.ModelProto:
        """As ``onnx`` has it; of more than 2 GB there is none."""
        return kept.serialized(self.model)

    @property
    def beside(self) -> bool:
        """Were weights in files beside the one that was read?"""
        return kept.of(self.model).beside

    def save(self, path: str | Path, *, shard: int | None = None) -> None:
        """Write a .onnx file: whole, or not at all; where nothing was folded, the bytes that were read.

        Weights that were in files of their own, or are more than 2 GB, go into ``<path>.data``; with ``shard`` into
        several, of so many bytes each.

        Raises:
            InvalidInput: the folder is missing or cannot be written, or the suffix is unknown.
        """
        path = Path(path)
        refuse_output(path)
        with replacing(path) as temporary:
            write(self.model, temporary, changed=bool(self.report.applied), shard=shard)


def stages_of(
    model: Any, args: Any, kwargs: Any, dynamic_shapes: Any, config: FoldConfig, progress: Progress
) -> Stages[Graph]:
    """The model opened, lifted and planned."""
    return Stages(lambda: Graph(read(model, args, kwargs, dynamic_shapes), config.excludes), config, progress)


def folded(
    model: Any, args: Any, kwargs: Any, dynamic_shapes: Any, config: FoldConfig, progress: Progress
) -> OnnxResult:
    """See `convfold.fold`."""
    stages = stages_of(model, args, kwargs, dynamic_shapes, config, progress)
    source = stages.graph.source
    check: Any = config.check

    stages, found = measured(stages)
    inputs = drawn(source.model, source.example, 0).values() if config.guards else ()  # of the model as it was

    def ready(runtime: Runtime, threads: int, written: ir.Model | None) -> Call:
        run = source.original if written is None else kept.serialized(written)
        return runtime.ready(run, [torch.from_numpy(x) for x in inputs], {}, threads)

    stages, timed = guarded(stages, ready)
    source = stages.graph.source
    written, verdict = stages.finish(lambda m: verified(source, m, check), _overflows)
    return OnnxResult(written, stages.report(verdict, timed, found), source, config)


def _overflows(model: ir.Model) -> bool:
    """Has a weight that is new numbers that are none?"""
    new = [v for g in kept.graphs(model) for v in g.initializers.values() if ".folded_" in (v.name or "")]
    return any(not bool(to_torch(v.const_value).isfinite().all()) for v in new)
