"""PyTorch, compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from convfold.runtimes.base import Call
from convfold.runtimes.eager import Eager


class Inductor(Eager):
    """``torch.compile``; on CUDA with graphs, which take the cost of calls away."""

    name: ClassVar[str] = "inductor"

    def ready(self, model: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None = None) -> Call:
        module = self.module(model)
        if threads is not None:
            torch.set_num_threads(threads)  # which is compiled for
        mode = "reduce-overhead" if self.device == "cuda" else None
        compiled = torch.compile(module, fullgraph=False, dynamic=False, mode=mode)
        return self.running(compiled, args, kwargs, threads)
