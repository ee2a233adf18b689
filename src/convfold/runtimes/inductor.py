"""PyTorch, compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from convfold.runtimes.base import Call, Share
from convfold.runtimes.eager import Eager


class Inductor(Eager):
    """``torch.compile``; on CUDA with graphs, which take the cost of calls away."""

    name: ClassVar[str] = "inductor"

    def forget(self) -> None:
        """Of one forward no more than some hundred compilations are kept, and looked through at every call."""
        torch.compiler.reset()

    def ready(self, model: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None = None) -> Call:
        module = self.module(model)
        if threads is not None:
            torch.set_num_threads(threads)  # which is compiled for
        mode = "reduce-overhead" if self.device == "cuda" else None
        # By itself: what is compiled of one code for many models, sizes and threads is limited, and eager from there.
        compiled = torch.compile(  # type: ignore[call-overload]  # its overloads leave the last one out
            module, fullgraph=False, dynamic=False, mode=mode, isolate_recompiles=True
        )
        return self.running(compiled, args, kwargs, threads)

    def breakdown(
        self,
        model: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        threads: int | None = None,
        start_over: Call = lambda: None,
    ) -> list[Share]:
        """Compiled anew, with marks in its kernels."""
        import torch._inductor.config as config

        with config.patch({"cpp.enable_kernel_profile": True}):
            return super().breakdown(model, args, kwargs, threads, start_over)
