"""Each command on a model small enough to wait for."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch

import convfold
from convfold.config import OBJECTIVES
from convfold.verify import Verdict

from .conftest import Run, messages
from .test_output import start

GIVEN, NET = "factories:given", "factories:net"


def inputs(path: Path) -> list[tuple[int, ...]]:
    program = torch.export.load(path)
    assert program.example_inputs is not None
    args, kwargs = program.example_inputs
    return [tuple(x.shape) for x in (*args, *kwargs.values())]


def _same() -> Verdict:
    return convfold.verify(torch.nn.Identity(), torch.nn.Identity(), torch.ones(2, 3))


def test_version(run: Run) -> None:
    result = run("--version")
    assert (result.stdout, result.exit_code) == (f"convfold {convfold.__version__}\n", 0)


@pytest.mark.parametrize("words", [["--help"], ["fold", "-h"], ["bench", "--help"]])
def test_help(words: list[str], run: Run) -> None:
    result = run(*words)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    assert result.stderr == ""


def test_no_command_is_a_question(run: Run) -> None:
    result = run()
    assert (result.stdout, result.exit_code) == ("", 2)
    assert "Commands:" in result.stderr


def test_fold_writes_what_it_says(run: Run, folder: Path) -> None:
    result = run("fold", GIVEN, "-o", "out.pt2")
    assert result.exit_code == 0
    assert messages(result.stderr) == ["wrote out.pt2"]
    assert "multiply-adds" in result.stdout
    assert "same: " in result.stdout
    assert sorted(os.listdir(folder)) == ["broken.py", "exits.py", "factories.py", "out.pt2"]
    assert inputs(folder / "out.pt2") == [(1, 3, 7, 6)]

    again = run("fold", "out.pt2", "-o", "out.pt2", "--require-change")  # a second fold changes nothing
    assert again.exit_code == 4
    assert messages(again.stderr) == ["convfold: error: nothing to fold; nothing is written"]

    same = run("verify", GIVEN, "out.pt2")
    assert (same.exit_code, same.stdout[:5]) == (0, "same:")
    swapped = run("verify", "out.pt2", NET)  # the inputs are those of the model that has some
    assert swapped.exit_code == 0
    different = run("verify", GIVEN, "factories:other")
    assert (different.exit_code, different.stdout[:10]) == (3, "DIFFERENT:")

    measured = run("bench", NET, "out.pt2", "--seconds", "0.01", "--threads", "1")
    assert measured.exit_code == 0, measured.stderr
    assert "1 thread " in measured.stdout
    assert re.search(r"^  out\.pt2 .* ms .* \d+\.\d\d × +\d+\.\d\d – \d+\.\d\d$", measured.stdout, re.MULTILINE)


def test_fold_json(run: Run, folder: Path) -> None:
    result = run("fold", GIVEN, "-o", "out.pt2", "--json", "--quiet", "--dynamic", "none")
    report = json.loads(result.stdout)
    assert result.stderr == "building\n"
    assert report["applied"]
    assert report["free"] == []
    assert report["after"]["macs"] < report["before"]["macs"]
    assert report["after"]["batch_norms"] == 0
    assert report["error"]["passed"] is True


@pytest.mark.parametrize(
    ("words", "free"),
    [
        ([], ["input[0]"]),
        (["--dynamic", "batch"], ["input[0]"]),
        (["--dynamic", "none"], []),
        (["--dynamic", "all"], ["input[0]", "input[2]", "input[3]"]),
        (["--dynamic", "input:0,2"], ["input[0]", "input[2]"]),
    ],
)
def test_sizes_that_stay_free(words: list[str], free: list[str], run: Run) -> None:
    result = run("explain", NET, "--input", "input:1,3,7,6", "--json", *words)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["free"] == free


def test_inputs_by_name_and_in_order(run: Run) -> None:
    by_name = run("explain", "factories:two", "--input", "scale:1,4,1,1", "--input", "x:1,3,8,9", "--input", "mask:6,7")
    in_order = run("explain", "factories:two", "--input", "1,3,8,9", "--input", "6,7:float64", "--dynamic", "none")
    assert (by_name.exit_code, in_order.exit_code) == (0, 0), by_name.stderr + in_order.stderr


def test_inputs_in_place_of_those_in_the_file(run: Run, folder: Path) -> None:
    words = ("--input", "x:2,3,8,9", "--input", "mask:2,1,6,7")
    assert run("fold", "factories:two", "-o", "two.pt2", *words).exit_code == 0
    assert inputs(folder / "two.pt2") == [(2, 3, 8, 9), (2, 1, 6, 7)]
    assert run("bench", "two.pt2", "--input", "x:5,3,8,9", "--input", "mask:5,1,6,7", "--seconds", "0").exit_code == 0
    mixed = run("bench", "two.pt2", "--input", "x:5,3,8,9", "--seconds", "0")
    assert mixed.exit_code == 1
    assert "two.pt2 does not run on these inputs" in mixed.stderr


def test_a_file_without_inputs_asks_for_them(run: Run, folder: Path) -> None:
    program = torch.export.export(torch.nn.Linear(3, 2).eval(), (torch.ones(4, 3),))
    program.example_inputs = None
    torch.export.save(program, folder / "bare.pt2")
    asked = run("explain", "bare.pt2")
    assert (asked.exit_code, "bare.pt2 comes without example inputs" in asked.stderr) == (2, True)
    assert run("explain", "bare.pt2", "--input", "input:4,3").exit_code == 0
    fixed = run("explain", "bare.pt2", "--input", "input:4,3", "--dynamic", "all")
    assert (fixed.exit_code, "choose them when exporting" in fixed.stderr) == (2, True)


def test_a_factory_may_be_the_model_itself(run: Run) -> None:
    assert run("explain", "factories:model_itself", "--input", "input:2,3,7,6").exit_code == 0


def test_exclude(run: Run) -> None:
    left = json.loads(run("explain", GIVEN, "--exclude", "*", "--json").stdout)
    assert left["applied"] == []


def test_nothing_to_fold_is_no_failure_unless_asked(run: Run, folder: Path) -> None:
    refused = run("fold", "factories:nothing", "-o", "out.pt2", "--require-change")
    assert refused.exit_code == 4
    assert not (folder / "out.pt2").exists()
    assert run("fold", "factories:nothing", "-o", "out.pt2").exit_code == 0
    assert (folder / "out.pt2").exists()


def test_failed_verification_writes_nothing(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "out.pt2").write_text("what was there before")
    verdict = replace(_same(), passed=False)
    monkeypatch.setattr(sys.modules["convfold.results"], "verify", lambda *args, **kwargs: verdict)
    result = run("fold", GIVEN, "-o", "out.pt2")
    lines = messages(result.stderr)
    assert (result.exit_code, result.stdout, len(lines)) == (3, "", 1)
    assert "the folded model differs: DIFFERENT: " in lines[0]
    assert (folder / "out.pt2").read_text() == "what was there before"
    assert sorted(os.listdir(folder)) == ["broken.py", "exits.py", "factories.py", "out.pt2"]
    assert run("fold", GIVEN, "-o", "out.pt2", "--no-verify").exit_code == 0
    assert "what was" not in (folder / "out.pt2").read_bytes()[:8].decode(errors="replace")


def test_every_run_is_the_first(run: Run, folder: Path) -> None:
    counting = "factories:counting"
    for words in (
        ["bench", counting, "--seconds", "0.01"],
        ["verify", counting, counting],
        ["explain", counting],
        ["fold", counting, "-o", "out.pt2"],
        ["bench", counting, "out.pt2", "--seconds", "0.01"],
    ):
        result = run(*words)
        assert result.exit_code == 0, result.stderr
        model = sys.modules["factories"].counting_itself
        assert (model.calls, float(model.n)) == (0, 0)


def test_nothing_to_compare(run: Run, folder: Path) -> None:
    compared = run("verify", "factories:all_nan", "factories:all_nan")
    assert (compared.exit_code, compared.stdout) == (
        3, "nothing to compare: what it returns is NaN or infinite; at example, random\n",
    )  # fmt: skip
    data = json.loads(run("verify", "factories:all_nan", "factories:all_nan", "--json").stdout)
    assert data["passed"] is False and data["nothing"] == "what it returns is NaN or infinite"
    folded = run("fold", "factories:all_nan", "-o", "out.pt2")
    assert folded.exit_code == 0 and "nothing to compare: what it returns is NaN" in folded.stdout
    assert "same: " not in folded.stdout


def test_bench_json(run: Run) -> None:
    result = json.loads(run("bench", GIVEN, "--json", "--seconds", "0").stdout)
    assert result["models"] == [GIVEN]
    (row,) = result["rows"]
    (model,) = row["models"]
    assert (row["runtime"], row["batch"], row["threads"]) == ("eager", None, torch.get_num_threads())
    assert (model["model"], model["runtime"], model["rounds"], model["speedup"]) == (GIVEN, "eager", 6, None)
    assert model["low"] <= model["median"] <= model["high"]
    assert result["versions"]["torch"] == torch.__version__
    assert result["machine"]["cpu"] and result["machine"]["busy"] in (True, False)


def test_bench_of_everything(run: Run, folder: Path) -> None:
    assert run("fold", GIVEN, "-o", "out.pt2", "--check", "none").exit_code == 0
    words = ["--runtime", "eager,openvino", "--batch", "3", "--threads", "2, 1", "--profile", "--seconds", "0"]
    result = run("bench", NET, "out.pt2", "--input", "1,3,7,6", *words, "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert [(r["batch"], r["runtime"], r["threads"]) for r in data["rows"]] == [
        (3, runtime, threads) for runtime in ("eager", "openvino") for threads in (2, 1)
    ]
    assert data["models"] == [NET, "out.pt2"]
    assert {"python", "torch", "openvino"} <= data["versions"].keys()
    for row in data["rows"]:
        first, second = row["models"]
        speedup = second["speedup"]
        assert first["speedup"] is None
        assert speedup["low"] <= speedup["median"] <= speedup["high"] and speedup["confidence"] >= 0.95
        convolution = "Convolution" if row["runtime"] == "openvino" else "aten::conv2d"
        for model, calls in zip(row["models"], (3, 2), strict=True):
            of_kind = {share["kind"]: share["calls"] for share in model["breakdown"]}
            assert of_kind[convolution] <= calls  # OpenVINO may fold as well


def test_bench_in_words(run: Run) -> None:
    result = run("bench", GIVEN, GIVEN, "--profile", "--seconds", "0", "--batch", "2", "--threads", "1")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["median", "middle", "half", "rounds", "speed-up", "95", "%", "sure"]
    assert lines[1].strip() == "eager, batch 2, 1 thread"
    assert f"eager, batch 2, 1 thread: {GIVEN}" in lines
    assert re.search(r"^aten::\w+ +[1-9]\d* +[\de.-]+ ms +[\d.]+%$", result.stdout, re.MULTILINE)
    assert re.search(r"^still changing when measuring began: eager, batch 2, 1 thread$", result.stdout, re.MULTILINE)
    assert re.fullmatch(r".*, \d+ cores?, \d+ threads?, load .*; Python 3\..*, torch 2\..*", lines[-1])


def test_bench_in_what_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is loaded."""

    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(sys.modules["convfold.runtimes.base"], "version", version)
    result = run("bench", GIVEN, "--runtime", "openvino")
    said = "convfold: error: runtime 'openvino' is not installed: pip install openvino"
    assert (result.exit_code, result.stderr.splitlines()) == (1, [said])


@pytest.mark.parametrize("load", [0.0, 1e4])
def test_bench_on_a_busy_machine(load: float, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    result = run("bench", GIVEN, "--quiet", "--seconds", "0", "--threads", "1", "--json")
    said = [line for line in result.stderr.splitlines() if line.startswith("convfold: warning: this machine is busy")]
    assert result.exit_code == 0 and len(said) == (load > 0)
    assert json.loads(result.stdout)["machine"]["busy"] is (load > 0)


def test_json_knows_no_infinity(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = replace(_same(), passed=False, error=float("inf"), interior=float("nan"))
    monkeypatch.setattr(convfold, "verify", lambda *args, **kwargs: verdict)
    result = run("verify", GIVEN, GIVEN, "--json")
    data = json.loads(result.stdout)
    assert (result.exit_code, data["error"], data["interior"], data["own_error"]) == (3, None, None, 0.0)


def _bug(*args: Any, **kwargs: Any) -> None:
    warnings.warn("about something", stacklevel=1)
    logging.getLogger("torch").warning("and something else")
    raise LookupError("this should\nnot happen")


def test_a_bug_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convfold, "explain", _bug)
    result = run("explain", NET, "--input", "input:1,3,7,6")
    assert result.exit_code == 1
    assert messages(result.stderr) == [
        "convfold: internal error: LookupError: this should not happen (run with --debug for the traceback)"
    ]


@pytest.mark.parametrize("words", [["--debug", "explain", NET], ["explain", NET, "--debug"]])
def test_debug_shows_where(words: list[str], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convfold, "explain", _bug)
    with pytest.warns(UserWarning, match="about something"):
        result = run(*words, "--input", "input:1,3,7,6")
    lines = result.stderr.splitlines()
    assert result.exit_code == 1
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "convfold: internal error: LookupError: this should not happen"


def test_interrupted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(convfold, "explain", interrupted)
    result = run("explain", GIVEN)
    assert result.exit_code == 130
    assert messages(result.stderr) == ["convfold: error: interrupted"]


@pytest.mark.parametrize("command", ["explain", "bench"])
def test_interrupted_in_the_middle_of_the_model(command: str, run: Run) -> None:
    result = run(command, "factories:interrupting")
    assert (result.exit_code, messages(result.stderr)) == (130, ["convfold: error: interrupted"])


def test_written_where_it_was_said(run: Run, folder: Path) -> None:
    """Not in the folder the user's code went to."""
    (folder / "elsewhere").mkdir()
    (folder / "moving.py").write_text("import os\nfrom factories import given\nos.chdir('elsewhere')\n")
    assert run("fold", "moving:given", "-o", "out.pt2").exit_code == 0
    assert (folder / "out.pt2").exists()


@pytest.mark.parametrize(("said", "seconds"), [("90", 90.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("0s", 0.0)])
def test_a_budget_is_a_time(said: str, seconds: float, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    explain = convfold.explain

    def listening(*args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs["config"].budget)
        return explain(*args, **kwargs)

    monkeypatch.setattr(convfold, "explain", listening)
    assert run("explain", GIVEN, "--budget", said).exit_code == 0
    assert asked == [seconds]


def test_what_was_measured_is_said(run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    result = run("fold", GIVEN, "-o", "out.pt2", "--objective", "measured", "--budget", "1s")
    assert result.exit_code == 0, result.stderr
    assert "measured in eager: " in result.stdout and "writing every stretch in several ways" in result.stderr
    assert "timing it against the original" in result.stderr


@pytest.mark.parametrize("objective", ["time", "macs", "measured"])
def test_objectives(objective: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the library's is one of the command's."""
    assert objective in OBJECTIVES and len(OBJECTIVES) == 3
    asked = []
    explain = convfold.explain

    def listening(*args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs["config"].objective)
        return explain(*args, **kwargs)

    monkeypatch.setattr(convfold, "explain", listening)
    result = run("explain", GIVEN, "--objective", objective)
    assert (result.exit_code, asked) == (0, [objective]), result.stderr
    assert f"--objective [{'|'.join(OBJECTIVES)}]" in run("fold", "--help").stdout


def test_dataclasses(run: Run, folder: Path) -> None:
    """A factory's, in and out: folded, verified, written; and read where they are known."""
    for name in ("out.pt2", "out.onnx"):
        result = run("fold", "factories:featuring", "-o", name)
        assert result.exit_code == 0, result.stderr
        assert "same: " in result.stdout
    assert run("verify", "factories:featuring", "out.pt2").exit_code == 0
    unknown = start(folder, "verify", "factories:featuring", "out.pt2", capture_output=True)  # a process of its own
    (line,) = messages(unknown.stderr)
    assert unknown.returncode == 1 and "factories.Features" in line and "torch.export.register_dataclass" in line


def test_golden_explain(run: Run, golden: Any) -> None:
    text = run("explain", GIVEN).stdout + run("explain", "factories:padded").stdout
    golden("explain.txt", _without_seconds(text))


def test_golden_trace(run: Run, golden: Any) -> None:
    """Folded, at a call between, left because it does not pay."""
    asked = [(GIVEN, "1.*"), (GIVEN, "0.2"), ("factories:padded", "0 → 1")]
    texts = [run("explain", model, "--trace", where).stdout for model, where in asked]
    golden("trace.txt", _without_seconds("".join(texts)))


def _without_seconds(text: str) -> str:
    return re.sub(r"\d+\.\d\d(?=,|$)", "0.00", text, flags=re.MULTILINE)


def test_trace(run: Run) -> None:
    data = json.loads(run("explain", GIVEN, "--trace", "1.0", "--json").stdout)
    assert [t["where"] for t in data["trace"]] == [["1.0"]]
    assert json.loads(run("explain", GIVEN, "--json").stdout)["trace"] == []
    nowhere = run("explain", GIVEN, "--trace", "1.3")
    assert (nowhere.exit_code, nowhere.stdout) == (1, "")
    assert messages(nowhere.stderr) == [
        "convfold: error: trace '1.3' matches no call of the model; near it: 1.2, 1.1, 1.0"
    ]
    assert run("explain", GIVEN, "--trace", "").exit_code == 2


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        (["fold", GIVEN, "-o", "out.pt2", "--json"], 0, r"wrote out.pt2"),
        (["explain", "text.pt2"], 1, r"convfold: error: text.pt2: not a .pt2 file.*"),
        (["explain", NET, "--input", "input:1,4,7,6"], 1, r"convfold: error: Sequential cannot be exported.*"),
        (["explain", GIVEN, "--exlude=x"], 2, r"convfold: error: .*--exlude.*--exclude.*"),
    ],
)
def test_as_a_process(words: list[str], code: int, err: str, folder: Path) -> None:
    """Nothing of torch's leaks onto either stream, and nothing waits for input."""
    with zipfile.ZipFile(folder / "text.pt2", "w") as z:
        z.writestr("words.txt", "not a model")
    reading, writing = os.pipe()  # open, and never written to
    try:
        done = subprocess.run(
            [sys.executable, "-m", "convfold", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(convfold.__file__).parents[1]), "NO_COLOR": "1"},
            stdin=reading,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert re.fullmatch(err, "\n".join(messages(done.stderr))), done.stderr
    assert done.returncode == code
    if code == 0:
        assert json.loads(done.stdout)["applied"]
    else:
        assert done.stdout == ""
