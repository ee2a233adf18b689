"""What runs models: PyTorch eager and compiled, ONNX Runtime, OpenVINO. One file a runtime."""

from __future__ import annotations

from convfold.errors import InvalidInput
from convfold.runtimes.base import Call, Runtime, Share
from convfold.runtimes.eager import Eager
from convfold.runtimes.inductor import Inductor
from convfold.runtimes.onnxruntime import OnnxRuntime
from convfold.runtimes.openvino import OpenVino

__all__ = ["RUNTIMES", "Call", "Runtime", "Share", "runtime"]

RUNTIMES: dict[str, type[Runtime]] = {r.name: r for r in (Eager, Inductor, OnnxRuntime, OpenVino)}


def runtime(name: str, device: str = "cpu") -> Runtime:
    """By its name.

    Raises:
        InvalidInput: there is none of that name.
    """
    if name not in RUNTIMES:
        raise InvalidInput(f"unknown runtime {name!r}; known: {', '.join(RUNTIMES)}")
    return RUNTIMES[name](device)
