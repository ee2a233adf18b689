"""torch.export as it is called here: no gradients, nothing recorded or compiled that is not read afterwards.

On the way to the program torch compiles its calls to Python some six times; put off, most are never asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.fx.config
from torch import nn
from torch.export import ExportedProgram
from torch.fx._lazy_graph_module import _use_lazy_graph_module

from convfold.collector import collector_paused


def traced(model: nn.Module, args: Any, kwargs: Any, shapes: Any) -> ExportedProgram:
    """``shapes``: torch.export's ``dynamic_shapes``. Raises what torch.export and the model raise."""
    with torch.no_grad(), collector_paused(), _without_stack_traces(), _use_lazy_graph_module(True):
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
