"""An exported program as ONNX, by torch's exporter: what convfold writes in place, as runtimes have it fast."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any

import torch
from torch.export import ExportedProgram

from convfold.frontends.torch.functionalise import functional
from convfold.frontends.torch.placed import outputs_of, place


def to_onnx(program: ExportedProgram) -> Any:
    """A ``torch.onnx.ONNXProgram``.

    Raises:
        torch.onnx.OnnxExporterError: torch has no such operator in ONNX.
    """
    program = functional(program)
    place(program)
    with redirect_stdout(sys.stderr):
        onnx = torch.onnx.export(program, dynamo=True, verbose=False, output_names=outputs_of(program))
    assert onnx is not None
    return onnx
