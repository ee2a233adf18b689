"""torch.export as it is called here: no gradients, and nothing recorded that is not read afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.fx.config
from torch import nn
from torch.export import ExportedProgram

from convfold.collector import collector_paused


def traced(model: nn.Module, args: Any, kwargs: Any, shapes: Any) -> ExportedProgram:
    """``shapes``: torch.export's ``dynamic_shapes``. Raises what torch.export and the model raise."""
    with torch.no_grad(), collector_paused(), _without_stack_traces():
        return torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)


@contextmanager
def _without_stack_traces() -> Iterator[None]:
    """The line of Python that each call comes from: a tenth of the time, and nobody asks for it."""
    before = torch.fx.config.do_not_emit_stack_traces
    torch.fx.config.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        torch.fx.config.do_not_emit_stack_traces = before
