"""PyTorch, call by call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.export import ExportedProgram

from convfold.errors import InvalidInput
from convfold.runtimes.base import Call, Runtime


class Eager(Runtime):
    """Every call as Python comes to it."""

    name: ClassVar[str] = "eager"
    packages: ClassVar[tuple[str, ...]] = ("torch",)

    def ready(self, model: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None = None) -> Call:
        return self.running(self.module(model), args, kwargs, threads)

    def module(self, model: Any) -> nn.Module:
        if isinstance(model, ExportedProgram):
            return model.module(check_guards=False)
        if isinstance(model, nn.Module):
            return model
        what = model.name if isinstance(model, Path) else type(model).__name__
        raise InvalidInput(f"runtime {self.name!r} runs PyTorch models, not {what}; take onnxruntime or openvino")

    def running(self, call: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None) -> Call:
        """On the device, waiting for it; torch's pool of threads is the process's, and set where it differs."""

        def run() -> Any:
            if threads is not None and threads != torch.get_num_threads():
                torch.set_num_threads(threads)
            with torch.inference_mode():
                y = call(*args, **kwargs)
            if self.device != "cpu":
                torch.accelerator.synchronize()
            return y

        return run
