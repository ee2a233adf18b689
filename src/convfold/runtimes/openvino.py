"""OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from convfold.errors import InvalidInput
from convfold.runtimes.base import RUNS, WARM, Call, Runtime, Share, arrays, shares
from convfold.runtimes.exported import onnx_model


class OpenVino(Runtime):
    """Compiled for the least time of one call, in the types of the model; PyTorch models are exported first."""

    name: ClassVar[str] = "openvino"
    packages: ClassVar[tuple[str, ...]] = ("openvino",)
    reads_onnx: ClassVar[bool] = True

    def ready(self, model: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None = None) -> Call:
        run: Call = self._request(model, args, kwargs, threads).infer
        return run

    def breakdown(
        self,
        model: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        threads: int | None = None,
        start_over: Call = lambda: None,
    ) -> list[Share]:
        request = self._request(model, args, kwargs, threads, {"PERF_COUNT": True})

        def events() -> Iterator[tuple[str, int, float]]:
            for i in range(-WARM, RUNS):
                start_over()
                request.infer()
                for node in request.get_profiling_info() if i >= 0 else ():
                    if node.status == node.Status.EXECUTED:
                        yield node.node_type, 1, node.real_time.total_seconds()

        return shares(events())

    def _request(
        self,
        model: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        threads: int | None,
        extra: dict[str, Any] | None = None,
    ) -> Any:
        self.check(model)
        import openvino as ov

        source = onnx_model(model, args, kwargs)
        core = ov.Core()
        try:
            read = core.read_model(source if isinstance(source, Path) else source.SerializeToString())
        except RuntimeError as e:
            raise InvalidInput(f"runtime {self.name!r} does not read the model: {_line(e)}") from e
        given = arrays(args, kwargs, len(read.inputs))
        read.reshape({port.get_any_name(): list(x.shape) for port, x in zip(read.inputs, given, strict=True)})
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", **(extra or {})}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            compiled = core.compile_model(read, "CPU", config)
        except RuntimeError as e:  # it has no such operator in some type
            raise InvalidInput(f"runtime {self.name!r} does not run the model: {_line(e)}") from e
        request = compiled.create_infer_request()
        for i, x in enumerate(given):
            request.set_input_tensor(i, ov.Tensor(x))  # a copy: a shared one does not keep the array alive
        return request


def _line(e: RuntimeError) -> str:
    """What it says, without the places in its own code."""
    said = [line.strip() for line in str(e).splitlines() if line.strip()]
    return " ".join(line for line in said if not line.startswith(("Exception from", "Check "))) or type(e).__name__
