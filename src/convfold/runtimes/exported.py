"""A PyTorch model for runtimes that take ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from convfold.errors import InvalidInput


def onnx_model(model: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Paths and ONNX models as they are; PyTorch ones exported at the sizes of the inputs.

    Raises:
        InvalidInput: torch's exporter does not take it.
    """
    if isinstance(model, Path):
        return model
    if not isinstance(model, nn.Module | ExportedProgram):
        return model
    try:
        with torch.inference_mode():
            program = torch.onnx.export(model, tuple(args), kwargs=kwargs, dynamo=True, verbose=False)
    except Exception as e:  # the exporter's errors have no common base
        line = str(e).strip().partition("\n")[0]
        raise InvalidInput(f"torch.onnx.export takes no {type(model).__name__} like this: {line}") from e
    assert program is not None
    return program.model_proto
