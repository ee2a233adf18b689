"""One ONNX model, lifted from and written to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch

from convfold.frontends.onnx.measure import measure
from convfold.frontends.onnx.program import OnnxProgram
from convfold.frontends.onnx.source import Source
from convfold.lift import Stretches, lift
from convfold.lower import Lowering
from convfold.region import Region
from convfold.totals import Totals


class Graph:
    """The model of a source is rewritten in place."""

    def __init__(self, source: Source, excluded: Callable[[str], bool] = lambda path: False) -> None:
        self.source, self.excluded = source, excluded
        self.evaluated: list[str] = []

    def lift(self) -> Stretches:
        self.program = OnnxProgram(self.source.model, self.source.trials)
        with torch.no_grad():
            return lift(self.program, self.excluded)

    def write(self, stretches: Stretches, changes: Iterable[tuple[Region, Region]]) -> ir.Model:
        """Every planned region in place of the one it came from."""
        lowering, changed = Lowering(self.program, stretches), False
        with torch.no_grad():
            for before, after in changes:
                lowering.write(before, after)
                changed = True
        model = self.source.model
        if changed:
            passes.RemoveUnusedNodesPass()(model)
        return model

    def measure(self) -> Totals:
        return measure(self.source.model, self.source.trials[0])
