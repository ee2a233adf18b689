"""One ONNX model, lifted from and written to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

import onnx_ir as ir
import torch
from torch import Tensor

from convfold.frontends.onnx import kept
from convfold.frontends.onnx.alone import alone
from convfold.frontends.onnx.beside import forget
from convfold.frontends.onnx.measure import measure
from convfold.frontends.onnx.program import OnnxProgram
from convfold.frontends.onnx.put_off import declare_all
from convfold.frontends.onnx.source import Source
from convfold.frontends.onnx.sweep import sweep
from convfold.lift import Stretches, lift
from convfold.lower import Lowering
from convfold.places import Places
from convfold.region import Region
from convfold.totals import Totals

#: Weights in files beside the model are let go of whenever so many bytes of new ones are made.
HELD = 1 << 26


class Graph:
    """The model of a source is rewritten in place."""

    ends, fused, doubles, in_place = True, False, False, False
    runtime, device = "onnxruntime", torch.device("cpu")

    def __init__(self, source: Source, excluded: Callable[[str], bool] = lambda path: False) -> None:
        self.source, self.excluded = source, excluded
        self.evaluated: list[str] = []
        _cast(source)
        self.program = OnnxProgram(source.model, source.trials)

    @property
    def mends(self) -> bool:
        """Before opset 11 no parts of a free length are cut and laid out."""
        return self.source.model.opset_imports.get("", 0) >= 11 or all(x.endswith("[0]") for x in self.free)

    @property
    def free(self) -> tuple[str, ...]:
        return self.source.free

    @property
    def paths(self) -> list[str]:
        """As far as exporters put them into the names of calls, and what the calls themselves are called."""
        return [where for call in self.program.nodes for where in (self.program.path(call), call)]

    def places(self, stretches: Stretches) -> Places:
        return Places(self.program, stretches)

    def cut(self, share: float, pays: Callable[[Totals], bool]) -> list[tuple[str, str]]:
        return []

    def lift(self) -> Stretches:
        with torch.no_grad():
            found = lift(self.program, self.excluded)
        forget(self.source.model)
        return found

    def write(self, stretches: Stretches, changes: Iterable[tuple[Region, Region]]) -> None:
        self.lowering, model = Lowering(self.program, stretches), self.source.model
        held = 0
        with torch.no_grad():
            for before, after in changes:
                self.lowering.write(before, after)
                if self.program.written.bytes - held > HELD:
                    held = self.program.written.bytes
                    forget(model)
        sweep(model)  # where nothing is folded, too: what does nothing was passed over as it was read
        declare_all(model)

    def alone(self, *same: Region) -> tuple[ir.Model, list[Tensor]] | None:
        inside = {n.name for region in same for n in region.steps}
        own, new = self.program.values, self.lowering.values
        given = {x for name, x in own.items() if name not in inside and x not in self.program.constants}
        given |= {x for name, x in new.items() if name not in inside and name in own}
        outputs = [new.get(name, own[name]) for name in same[0].outputs if name in own]
        return alone(self.source.model, outputs, given, self.source.trials[0])

    def again(self) -> Self:
        for trial in self.source.trials:
            for graph in kept.graphs(self.source.model):
                trial.renew(graph)
        return type(self)(self.source, self.excluded)

    def model(self) -> ir.Model:
        return self.source.model

    def measure(self) -> Totals:
        return measure(self.source.model, self.source.trials[0])


def _cast(source: Source) -> None:
    """CastLike as the Cast it is: asking a value for its type is not using it, nor may it keep it from being folded."""
    for graph in kept.graphs(source.model):
        for node in graph:
            if node.op_type == "CastLike" and node.domain == "" and (like := node.inputs[1]) is not None:
                known = source.trials[0].of.get(like)
                if known is not None and known.dtype is not None:
                    node.op_type, node.attributes["to"] = "Cast", ir.AttrInt64("to", int(known.dtype))
                    node.resize_inputs(1)
