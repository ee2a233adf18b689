"""ONNX on the command line: files, folders, streams, in place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.cli.conftest import Run, messages

FLOAT = onnx.TensorProto.FLOAT


def written(path: Path, seed: int = 0, size: object = "n", norm: bool = True) -> Path:
    """conv → batch norm → relu → 1×1 conv → 1×1 conv; the last two are one."""
    random = np.random.default_rng(seed)
    weights = {
        "w": random.standard_normal((6, 3, 3, 3)),
        **{name: random.standard_normal(6) for name in ("scale", "shift", "mean")},
        "var": random.uniform(0.5, 2, 6),
        "a": random.standard_normal((6, 6, 1, 1)),
        "b": random.standard_normal((2, 6, 1, 1)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"], "norm"),
        helper.make_node("Relu", ["n" if norm else "c"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "a"], ["s"], "second"),
        helper.make_node("Conv", ["s", "b"], ["y"], "third"),
    ]
    if not norm:
        nodes = [nodes[0], nodes[2]]
        nodes[-1].output[0] = "y"
    initializers = [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", FLOAT, [size, 3, 8, 8])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        initializers if norm else initializers[:1],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_a_file(run: Run, folder: Path) -> None:
    written(folder / "net.onnx")
    result = run("fold", "net.onnx", "-o", "out.onnx")
    assert result.exit_code == 0, result.stderr
    assert kinds(folder / "out.onnx") == ["Conv", "Relu", "Conv"]
    assert "BatchNormalization" in result.stdout and "wrote out.onnx" in result.stderr
    model = onnx.load(folder / "out.onnx")
    assert (model.opset_import[0].version, model.ir_version) == (13, 8)
    assert [model.graph.input[0].name, model.graph.output[0].name] == ["x", "y"]


def test_json_tells_operators(run: Run, folder: Path) -> None:
    written(folder / "net.onnx")
    found = json.loads(run("fold", "net.onnx", "-o", "out.onnx", "--json").stdout)
    assert found["before"]["kinds"] == {"Conv": 3, "BatchNormalization": 1, "Relu": 1}
    assert found["after"]["kinds"] == {"Conv": 2, "Relu": 1}
    assert found["error"]["passed"]


def test_a_folder(run: Run, folder: Path) -> None:
    (folder / "models").mkdir(), (folder / "smaller").mkdir()
    for i, name in enumerate(("a", "b")):
        written(folder / "models" / f"{name}.onnx", i)
    (folder / "models" / "broken.onnx").write_bytes(b"no model")
    (folder / "models" / "notes.txt").write_text("no model either")
    result = run("fold", "models", "-o", "smaller")
    assert result.exit_code == 1 and "broken.onnx" in result.stderr
    assert sorted(p.name for p in (folder / "smaller").iterdir()) == ["a.onnx", "b.onnx"]
    lines = result.stdout.splitlines()
    assert len(lines) == 4 and "same" in lines[1] and "failed (1)" in lines[3]
    rows = json.loads(run("fold", "models/a.onnx", "models/b.onnx", "-o", "smaller", "--json").stdout)
    assert [row["code"] for row in rows] == [0, 0] and rows[0]["report"]["after"]["ops"] == 3


def test_in_place(run: Run, folder: Path) -> None:
    before = written(folder / "net.onnx").read_bytes()
    assert run("fold", "net.onnx", "-i").exit_code == 0
    after = (folder / "net.onnx").read_bytes()
    assert after != before and (folder / "net.onnx.bak").read_bytes() == before
    assert run("fold", "net.onnx", "-i").exit_code == 0  # nothing is left to fold: neither file changes
    assert (folder / "net.onnx").read_bytes() == after and (folder / "net.onnx.bak").read_bytes() == before


def test_in_place_with_weights_beside(run: Run, folder: Path) -> None:
    """They would be replaced, and the copy of the model left without them."""
    model = onnx.load(written(folder / "net.onnx"))
    onnx.save(model, folder / "net.onnx", save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    before = {p.name: p.read_bytes() for p in folder.glob("net.onnx*")}
    result = run("fold", "net.onnx", "-i")
    assert result.exit_code == 1 and "write to another file" in result.stderr
    assert {p.name: p.read_bytes() for p in folder.glob("net.onnx*")} == before
    assert run("fold", "net.onnx", "-o", "out.onnx").exit_code == 0


def test_streams(folder: Path) -> None:
    data = written(folder / "net.onnx").read_bytes()
    words = [sys.executable, "-m", "convfold", "--quiet", "fold", "-", "-o", "-"]
    done = subprocess.run(words, input=data, capture_output=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    assert [n.op_type for n in onnx.load_from_string(done.stdout).graph.node] == ["Conv", "Relu", "Conv"]
    assert b"multiply-adds" in done.stderr


def test_sizes(run: Run, folder: Path) -> None:
    written(folder / "net.onnx")
    free = "free to change: x[0]"
    assert free in run("explain", "net.onnx").stdout
    assert free not in run("explain", "net.onnx", "--dynamic", "none").stdout
    assert "x[0], x[2], x[3]" in run("explain", "net.onnx", "--dynamic", "x:2,3").stdout
    assert "expected shape (any, 3, 8, 8)" in run("explain", "net.onnx", "--input", "x:1,3,9,8").stderr
    assert "no input 'z'" in run("explain", "net.onnx", "--input", "z:1,3,8,8").stderr


def test_opset(run: Run, folder: Path) -> None:
    written(folder / "net.onnx")
    assert run("fold", "net.onnx", "-o", "out.onnx", "--opset", "17").exit_code == 0
    assert onnx.load(folder / "out.onnx").opset_import[0].version == 17
    assert "not lowered to 9" in run("fold", "net.onnx", "-o", "out.onnx", "--opset", "9").stderr
    assert run("fold", "net.onnx", "-o", "out.onnx", "--opset", "99").exit_code == 1


def test_nothing_to_fold(run: Run, folder: Path) -> None:
    before = written(folder / "net.onnx", norm=False).read_bytes()
    assert run("fold", "net.onnx", "-o", "out.onnx", "--require-change").exit_code == 4
    assert not (folder / "out.onnx").exists()
    assert run("fold", "net.onnx", "-o", "out.onnx").exit_code == 0
    assert (folder / "out.onnx").read_bytes() == before


def test_trace(run: Run, folder: Path) -> None:
    written(folder / "net.onnx")
    told = run("explain", "net.onnx", "--trace", "y").stdout
    assert "Relu is not among the affine layers convfold reads" in told and "1×1 convolution 6→2" in told


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-o", "out.onnx", "-i"], 2, "--output"),
        ([], 2, "--output"),
        (["net.onnx", "-o", "nowhere"], 2, "2 models need a folder that exists"),
        (["-o", "out.onnx", "--opset", "3"], 2, "7"),
        (["-o", "out.onnx", "--check", "some"], 2, "some"),
    ],
)
def test_usage(words: list[str], code: int, said: str, run: Run, folder: Path) -> None:
    written(folder / "net.onnx")
    result = run("fold", "net.onnx", *words)
    assert result.exit_code == code and said in result.stderr


def test_verify_and_bench(run: Run, folder: Path) -> None:
    written(folder / "net.onnx"), written(folder / "other.onnx", seed=1)
    assert run("fold", "net.onnx", "-o", "out.onnx", "--check", "none").exit_code == 0
    assert run("verify", "net.onnx", "out.onnx").stdout.startswith("same")
    assert run("verify", "net.onnx", "out.onnx", "--input", "x:2,3,8,8").stdout.startswith("same")
    assert run("verify", "net.onnx", "other.onnx").exit_code == 3
    timed = json.loads(run("bench", "net.onnx", "out.onnx", "--seconds", "0.1", "--json").stdout)
    (row,) = timed["rows"]
    assert row["runtime"] == "onnxruntime" and [m["model"] for m in row["models"]] == ["net.onnx", "out.onnx"]


def test_bench_with_pytorch(run: Run, folder: Path) -> None:
    """Each in its own runtime where none is asked for."""
    written(folder / "net.onnx")
    words = ["factories:net", "net.onnx", "--input", "1,3,8,8", "--seconds", "0", "--json"]
    mixed = run("bench", "net.onnx", "factories:net", "--seconds", "0", "--json")
    (row,) = json.loads(mixed.stdout)["rows"]
    assert (row["runtime"], [m["runtime"] for m in row["models"]]) == ("onnxruntime, eager", ["onnxruntime", "eager"])
    for name in ("eager", "inductor"):
        refused = run("bench", *words, "--runtime", f"onnxruntime,{name}")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert messages(refused.stderr) == [
            f"convfold: error: runtime '{name}' runs PyTorch models, not net.onnx; take onnxruntime or openvino"
        ]


def test_bench_at_a_batch(run: Run, folder: Path) -> None:
    written(folder / "net.onnx"), written(folder / "fixed.onnx", size=2)
    free = run("bench", "net.onnx", "--batch", "1,3", "--seconds", "0", "--json")
    assert [row["batch"] for row in json.loads(free.stdout)["rows"]] == [1, 3]
    assert run("bench", "fixed.onnx", "--batch", "2", "--seconds", "0").exit_code == 0
    refused = run("bench", "net.onnx", "fixed.onnx", "--batch", "2,3", "--seconds", "0")
    said = "convfold: error: --batch 3: fixed.onnx fixes its batch at 2; export it with a free one"
    assert (refused.exit_code, messages(refused.stderr)) == (1, [said])


def test_bench_at_a_batch_of_a_program(run: Run, folder: Path) -> None:
    assert run("fold", "factories:given", "-o", "fixed.pt2", "--dynamic", "none").exit_code == 0
    assert run("fold", "factories:given", "-o", "free.pt2").exit_code == 0
    assert run("bench", "free.pt2", "--batch", "5", "--seconds", "0").exit_code == 0
    refused = run("bench", "free.pt2", "fixed.pt2", "--batch", "5", "--seconds", "0")
    assert messages(refused.stderr) == [
        "convfold: error: --batch 5: fixed.pt2 fixes its batch at 1; export it with a free one"
    ]
