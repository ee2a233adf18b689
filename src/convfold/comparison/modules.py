"""Modules and exported programs, as `Runs`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.export import ExportedProgram

from convfold.comparison.outputs import Output, outputs
from convfold.comparison.rounding import RoundingAtRandom
from convfold.comparison.trials import Inputs
from convfold.errors import InvalidInput
from convfold.frontends.torch.running.precision import run_in
from convfold.frontends.torch.running.state import State, Watch


def module(model: object) -> nn.Module:
    if isinstance(model, ExportedProgram):
        return model.module()
    if isinstance(model, nn.Module):
        for name, p in (*model.named_parameters(), *model.named_buffers()):
            if nn.parameter.is_lazy(p):
                raise InvalidInput(f"{name!r} has no shape yet, and a run would give it one: run the model once first")
        return model
    raise InvalidInput(
        f"cannot verify a {type(model).__name__}; give an nn.Module, an ExportedProgram or an ONNX model"
    )


class Module:
    """A module, run from the state it came in."""

    otherwise = False
    notes = ()

    def __init__(self, model: nn.Module, inputs: Sequence[Inputs], seed: int) -> None:
        self.model, self.seed, self.state = model, seed, State(model, inputs)
        units = [torch.finfo(t.dtype).eps for t in self.state.tensors if t.is_floating_point()]
        self.read = partial(outputs, apart=self.state.apart, coarsest=max(units, default=0.0))

    def __call__(self, inputs: Inputs, mode: Watch | None = None) -> list[Output]:
        args, kwargs = inputs
        return self.state.run(lambda: self.read(self.model(*args, **kwargs)), mode, self.seed)

    def rounded(self, inputs: Inputs, sample: int) -> list[Output]:
        return self(inputs, RoundingAtRandom(self.state, sample))

    def in_float64(self, inputs: Inputs) -> list[Output]:
        found = run_in(torch.float64, self.model, *inputs, state=self.state, read=self.read, seed=self.seed)
        return found  # type: ignore[no-any-return]
