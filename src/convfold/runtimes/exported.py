"""A PyTorch model for runtimes that take ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from convfold.errors import InvalidInput
from convfold.frontends.torch.to_onnx import to_onnx


def onnx_model(model: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Paths and ONNX models as they are; PyTorch ones exported at the sizes of the inputs.

    Raises:
        InvalidInput: torch's exporter does not take it.
    """
    if isinstance(model, Path):
        return model
    if not isinstance(model, nn.Module | ExportedProgram):
        from convfold.frontends.onnx.kept import serialized

        return serialized(model) if type(model).__module__.startswith("onnx_ir") else model
    try:
        with torch.no_grad():
            program = torch.export.export(model, tuple(args), kwargs) if isinstance(model, nn.Module) else model
            return to_onnx(program).model_proto
    except Exception as e:  # the exporter's errors have no common base
        raise InvalidInput(f"torch.onnx.export takes no {type(model).__name__} like this: {_cause(e)}") from e


def _cause(e: BaseException) -> str:
    """The first line of what it began with: the exporter's own are advice."""
    while e.__cause__ is not None:
        e = e.__cause__
    line = str(e).strip().partition("\n")[0]
    return f"{type(e).__name__}: {line}"
