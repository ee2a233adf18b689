"""PyTorch, call by call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.profiler import ProfilerActivity, profile

from convfold.errors import InvalidInput
from convfold.runtimes.base import RUNS, WARM, Call, Runtime, Share, shares

#: What is no operator: Python's own work, and that of compiled code between its kernels.
BETWEEN = "between operators"


class Eager(Runtime):
    """Every call as Python comes to it."""

    name: ClassVar[str] = "eager"
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    reads_onnx: ClassVar[bool] = False

    def check(self, model: Any) -> None:
        super().check(model)
        if not isinstance(model, nn.Module | ExportedProgram):
            what = model.name if isinstance(model, Path) else type(model).__name__
            raise InvalidInput(f"runtime {self.name!r} runs PyTorch models, not {what}; take onnxruntime or openvino")

    def ready(self, model: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None = None) -> Call:
        return self.running(self.module(model), args, kwargs, threads)

    def breakdown(
        self,
        model: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        threads: int | None = None,
        start_over: Call = lambda: None,
    ) -> list[Share]:
        return shares(self.profiled(self.ready(model, args, kwargs, threads), start_over))

    def module(self, model: Any) -> nn.Module:
        self.check(model)
        return model.module(check_guards=False) if isinstance(model, ExportedProgram) else model

    def running(self, call: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None) -> Call:
        """On the device, waiting for it; torch's pool of threads is the process's, and set where it differs."""

        def run() -> Any:
            if threads is not None and threads != torch.get_num_threads():
                torch.set_num_threads(threads)
            with torch.inference_mode():
                y = call(*args, **kwargs)
            if self.waits:
                self.wait()
            return y

        return run

    def wait(self) -> None:
        if self.device != "cpu":
            torch.accelerator.synchronize()

    def profiled(self, call: Call, start_over: Callable[[], Any]) -> Iterator[tuple[str, int, float]]:
        """What operators take by themselves, without those they call; on another device its kernels."""
        on_cpu = self.device == "cpu"
        activities = [ProfilerActivity.CPU] if on_cpu else [ProfilerActivity.CPU, ProfilerActivity.CUDA]
        for i in range(-WARM, RUNS):
            start_over()
            if i < 0:
                call()
                continue
            with profile(activities=activities) as found:
                call()
            for e in found.key_averages():
                if on_cpu:
                    yield _kind(e.key), e.count, e.self_cpu_time_total / 1e6
                elif e.device_type.name != "CPU" and not e.is_user_annotation:
                    yield e.key, e.count, e.self_device_time_total / 1e6


def _kind(name: str) -> str:
    """Of a kernel that was compiled without the number of its graph, which counts what the process has compiled."""
    return re.sub(r"^graph_\d+_", "", name) if "::" in name or "fused" in name else BETWEEN
