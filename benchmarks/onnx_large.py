"""``python -m benchmarks.onnx_large [--gigabytes G]``: the memory that folding a large ONNX model takes.

A model of convolutions and batch norms whose weights lie in a file beside it is made in a temporary folder, folded
without verification in a process of its own, and written with its weights in shards. The claim: the process never holds
more than 1.3 times the size of the model, all libraries included, from two gigabytes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.table import Table

from benchmarks.memory import peak
from benchmarks.record import console, record

TIMES = 1.3
FROM = 2.0  # gigabytes; below, the libraries weigh more than the model
CHANNELS = 512
SHARD = 1 << 29


def make(folder: Path, gigabytes: float) -> Path:
    """Blocks of a convolution, a batch norm and a ReLU; no two have the same weights."""
    graph = onnx.GraphProto(name="large")
    graph.input.append(helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["N", CHANNELS, 8, 8]))
    numbers = np.random.default_rng(0).standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32) / CHANNELS
    blocks = max(int(gigabytes * 1e9 / numbers.nbytes), 1)
    at = 0
    with (folder / "large.onnx.data").open("wb") as file:
        for i in range(blocks):
            name = f"w{i}"
            weight = graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=numbers.shape)
            weight.data_location = TensorProto.EXTERNAL
            content = np.roll(numbers, i)
            for key, value in {"location": "large.onnx.data", "offset": at, "length": content.nbytes}.items():
                weight.external_data.add(key=key, value=str(value))
            at += file.write(content.tobytes())
            norm = [f"{kind}{i}" for kind in "sbmv"]
            for other in norm:
                graph.initializer.append(numpy_helper.from_array(np.full(CHANNELS, 1.0 + i / 1000, np.float32), other))
            graph.node.append(helper.make_node("Conv", [f"x{i}", name], [f"c{i}"], pads=[1, 1, 1, 1]))
            graph.node.append(helper.make_node("BatchNormalization", [f"c{i}", *norm], [f"n{i}"]))
            graph.node.append(helper.make_node("Relu", [f"n{i}"], [f"x{i + 1}"]))
    graph.output.append(helper.make_tensor_value_info(f"x{blocks}", TensorProto.FLOAT, ["N", CHANNELS, 8, 8]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "large.onnx").write_bytes(model.SerializeToString())
    return folder / "large.onnx"


def child(path: Path) -> dict[str, Any]:
    """Fold and write; gigabytes at most, after the imports, and seconds."""
    import convfold
    import convfold.results_onnx

    before = peak() / 1e9
    start = perf_counter()
    result = convfold.fold(path, config=convfold.FoldConfig(verify=False))
    folded = perf_counter()
    result.save(path.with_name("folded.onnx"), shard=SHARD)
    return {
        "imports": before,
        "peak": peak() / 1e9,
        "fold": folded - start,
        "save": perf_counter() - folded,
        "batch_norms": result.report.after.batch_norms,
    }


def size(folder: Path, stem: str) -> float:
    return sum(p.stat().st_size for p in folder.glob(f"{stem}.onnx*")) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.2)
    parser.add_argument("--child", type=Path)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.child)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder), args.gigabytes)
        before = size(path.parent, "large")
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.onnx_large", "--child", str(path)], stdout=subprocess.PIPE, check=True
        )
        found = json.loads(done.stdout)
        onnx.checker.check_model(path.with_name("folded.onnx"))
        found |= {"size": before, "written": size(path.parent, "folded"), "times": found["peak"] / before}
        found["shards"] = len(list(path.parent.glob("folded.onnx-*")))
    table = Table(title="A large ONNX model, folded and written")
    for name in ("size", "imports", "peak", "times", "fold", "save", "written", "shards"):
        table.add_column(name, justify="right")
    keys = ("size", "imports", "peak", "times", "fold", "save", "written")
    table.add_row(*(f"{found[k]:.2f}" for k in keys), str(found["shards"]))
    console.print(table)
    holds = found["batch_norms"] == 0 and (before < FROM or found["times"] <= TIMES)
    record("onnx_large", {f"{args.gigabytes} GB": found | {"claim": TIMES, "holds": holds}})
    sys.exit(not holds)


if __name__ == "__main__":
    main()
