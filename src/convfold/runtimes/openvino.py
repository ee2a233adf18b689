"""OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from convfold.runtimes.base import Call, Runtime, leaves
from convfold.runtimes.exported import onnx_model


class OpenVino(Runtime):
    """Compiled for the least time of one call, in the types of the model; PyTorch models are exported first."""

    name: ClassVar[str] = "openvino"
    onnx: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("openvino",)

    def ready(self, model: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None = None) -> Call:
        self.versions()
        import openvino as ov

        source = onnx_model(model, args, kwargs)
        core = ov.Core()
        read = core.read_model(source if isinstance(source, Path) else source.SerializeToString())
        given = [x.detach().numpy() for x in leaves(args, kwargs)]
        read.reshape({port.get_any_name(): list(x.shape) for port, x in zip(read.inputs, given, strict=True)})
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(read, "CPU", config)
        request = compiled.create_infer_request()
        for i, x in enumerate(given):
            request.set_input_tensor(i, ov.Tensor(x, shared_memory=True))
        run: Call = request.infer
        return run
