"""A model run by ONNX Runtime in its own types: as it is written, or with whatever it rewrites first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from convfold.frontends.onnx.beside import inside
from convfold.frontends.onnx.files import taken
from convfold.frontends.onnx.kept import serialized

#: Weights of more bytes are handed over beside the model: protobuf holds no more than two gigabytes.
LARGE = 1 << 16


class CannotRun(RuntimeError):
    """Not with these inputs, or not at all."""


class Session:
    """As it is written, or ``optimised``, on so many threads; None: as many as it likes.

    ``profiles``: a folder to write down in what each operator takes.

    Raises:
        ImportError: ONNX Runtime is not installed.
        CannotRun: it lacks an operator in some type, or the model is none.
    """

    def __init__(
        self, model: Any, optimised: bool = False, threads: int | None = 1, profiles: Path | None = None
    ) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = threads or 0
        options.log_severity_level = 4
        options.use_deterministic_compute = not optimised
        if profiles is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profiles / "profile")
        self.kept: list[Any] = []  # what lies beside the model, for as long as it runs
        given: Any = str(model) if isinstance(model, Path) else model
        if isinstance(model, onnx.ModelProto):
            given = _beside(taken(model), options, self.kept, ort)
        elif isinstance(model, ir.Model):
            given = _beside(model, options, self.kept, ort)
        try:
            self.session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        except Exception as e:  # its errors have no common base
            raise CannotRun(_line(e)) from e

    def __call__(self, feeds: dict[str, np.ndarray[Any, Any]]) -> list[Any]:
        try:
            return list(self.session.run(None, feeds))
        except Exception as e:
            raise CannotRun(_line(e)) from e

    def profile(self) -> Path:
        """The file of what was written down so far; nothing is from here on."""
        return Path(self.session.end_profiling())


def _beside(model: ir.Model, options: Any, kept: list[Any], ort: Any) -> bytes:
    """The model without its large weights, which stay where they are in memory."""
    graph = model.graph
    large = {k: v for k, v in graph.initializers.items() if v.const_value is not None and _is_large(v.const_value)}
    before = {name: value.const_value for name, value in large.items()}
    names, values = [], []
    undo: list[Callable[[], None]] = []
    try:
        for name, value in large.items():
            t = before[name]
            assert t is not None
            kept.append(ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(t.numpy())))
            names.append(name)
            values.append(kept[-1])
            value.const_value = ir.ExternalTensor(
                "weights", 0, t.nbytes, t.dtype, shape=_shape(t), name=name, base_dir=""
            )
        undo += inside(model)
        data = serialized(model).SerializeToString()
    finally:
        for back in undo:
            back()
        for name, value in large.items():
            value.const_value = before[name]
    if names:
        options.add_external_initializers(names, values)
    return bytes(data)


def _shape(t: Any) -> ir.Shape:
    return ir.Shape([int(n) for n in t.shape])


def _is_large(t: Any) -> bool:
    plain = t.dtype not in (ir.DataType.STRING, ir.DataType.BFLOAT16) and t.dtype.bitwidth >= 8
    return bool(t.nbytes > LARGE and plain and t.dtype.name[:6] != "FLOAT8")


def _line(e: BaseException) -> str:
    text = str(e).strip()
    return text.splitlines()[0][:300] if text else type(e).__name__
