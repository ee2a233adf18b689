"""ONNX Runtime, with all it rewrites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from convfold.runtimes.base import Call, Runtime, leaves
from convfold.runtimes.exported import onnx_model


class OnnxRuntime(Runtime):
    """What it is given, after its own optimisations; PyTorch models are exported first."""

    name: ClassVar[str] = "onnxruntime"
    onnx: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)

    def ready(self, model: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None = None) -> Call:
        self.versions()
        from convfold.frontends.onnx.running.runtime import Session

        session = Session(onnx_model(model, args, kwargs), optimised=True, threads=threads)
        given = [x.detach().numpy() for x in leaves(args, kwargs)]
        feeds = dict(zip((x.name for x in session.session.get_inputs()), given, strict=True))
        return lambda: session(feeds)
