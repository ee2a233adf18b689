"""Every model that the ``onnx`` package ships with data, folded: it gives the outputs that are shipped.

    python -m benchmarks.onnx_models

Most were exported by PyTorch in 2017, in opset 6; those are lifted by ``onnx.version_converter`` first. Models whose
data are sequences, or that ONNX Runtime does not run as they are, are counted apart.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import version_converter
from onnx.backend.test.loader import load_model_tests
from rich.table import Table

import convfold
from benchmarks.record import console, record

KINDS = ("simple", "pytorch-converted", "pytorch-operator")
OLDEST, LIFTED = 7, 13


def outcome(model: onnx.ModelProto, inputs: list[Any], outputs: list[Any], tolerance: float) -> str:
    if not all(isinstance(x, np.ndarray | np.generic) for x in (*inputs, *outputs)):
        return "sequences"
    if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < OLDEST:
        model = version_converter.convert_version(model, LIFTED)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(model.SerializeToString(), options).run(None, _feeds(model, inputs))
    except Exception:  # its errors have no common base
        return "does not run as it is"
    result = convfold.fold(model, config=convfold.FoldConfig(verify=False))
    folded = result.proto
    got = ort.InferenceSession(folded.SerializeToString(), options).run(None, _feeds(folded, inputs))
    same = all(_alike(a, b, tolerance) for a, b in zip(got, outputs, strict=True))
    return "WRONG" if not same else "reproduced, folded" if result.report.changed else "reproduced"


def _feeds(model: onnx.ModelProto, inputs: list[Any]) -> dict[str, Any]:
    held = {t.name for t in model.graph.initializer}
    return dict(zip((x.name for x in model.graph.input if x.name not in held), inputs, strict=False))


def _alike(a: Any, b: Any, tolerance: float) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind in "OUS":
        return [str(x) for x in a.flat] == [x.decode() if isinstance(x, bytes) else str(x) for x in b.flat]
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=1e-5, equal_nan=True))


def main() -> None:
    found: dict[str, Counter[str]] = {}
    for kind in KINDS:
        found[kind] = Counter()
        for case in load_model_tests(kind=kind):
            path = f"{case.model_dir}/model.onnx"
            for inputs, outputs in _data(str(case.model_dir)):
                said = outcome(onnx.load(path), inputs, outputs, max(case.rtol, 1e-3))
                found[kind][said] += 1
                if said == "WRONG":
                    console.print(f"wrong: {case.name}")
    results = sorted({said for counts in found.values() for said in counts})
    out = Table(box=None, pad_edge=False)
    for heading in ("", *results):
        out.add_column(heading, justify="right" if heading else "left")
    for kind, counts in found.items():
        out.add_row(kind, *(str(counts[said]) for said in results))
    console.print(out)
    record("onnx_models", {kind: dict(counts) for kind, counts in found.items()})
    sys.exit(any(counts["WRONG"] for counts in found.values()))


def _data(folder: str) -> list[tuple[list[Any], list[Any]]]:
    """The inputs and outputs that lie beside a model, in order; what is no tensor as it is."""
    sets = []
    for data in sorted(Path(folder).glob("test_data_set_*"))[:1]:
        sides = []
        for side in ("input", "output"):
            files = sorted(data.glob(f"{side}_*.pb"), key=lambda p: int(p.stem.partition("_")[2]))
            sides.append([_read(p.read_bytes()) for p in files])
        sets.append((sides[0], sides[1]))
    return sets


def _read(data: bytes) -> Any:
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(data)
        return onnx.numpy_helper.to_array(tensor)
    except Exception:  # a sequence, or an optional
        return data


if __name__ == "__main__":
    main()
