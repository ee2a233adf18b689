"""torch prints graphs, logs and warns about itself: nothing of that reaches the user, and everything with --debug."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FunctionType

import pytest

from convfold.cli.messages import LONGEST, one_line, without_torch
from convfold.cli.session import Session

from .conftest import Run, calm, messages
from .test_output import start

SPEAKING = """
def speak(then=None):
    print("printed")
    sys.stdout.write("written\\n")
    print("error", file=sys.stderr)
    logging.getLogger(f"{__name__}.speaker").warning("logged")
    warnings.warn("warned")
    if then:
        then()
"""


def speaker(package: str) -> FunctionType:
    """A function in a module of that name, with a way of its own to log."""
    module = {"__name__": package, "sys": sys, "logging": logging, "warnings": warnings}
    exec(SPEAKING, module)
    speak = module["speak"]
    assert isinstance(speak, FunctionType)
    return speak


@contextmanager
def listening(debug: bool = False) -> Iterator[io.StringIO]:
    """To standard error, while the command works."""
    stream = io.StringIO()
    with redirect_stdout(stream), redirect_stderr(stream), without_torch(debug):
        yield stream


def logs_of(package: str) -> None:
    """Like torch: a handler made while the command works, on what is standard error then."""
    logger = logging.getLogger(f"{package}.speaker")
    logger.handlers, logger.propagate = [logging.StreamHandler()], False


@pytest.mark.parametrize("package", ["torch.export._trace", "onnxscript.rewriter", "onnx_ir"])
@pytest.mark.parametrize("debug", [False, True])
def test_what_libraries_say_of_themselves(package: str, debug: bool) -> None:
    with warnings.catch_warnings(record=True) as warned, listening(debug) as heard:
        logs_of(package)
        speaker(package)()
    assert heard.getvalue().splitlines() == (["printed", "written", "error", "logged"] if debug else [])
    assert bool(warned) is debug


def test_what_the_model_says_is_heard_wherever_it_is_called_from() -> None:
    with listening() as heard:
        logs_of("torchlike")
        speaker("torch.nn.modules.module")(speaker("torchlike"))
    assert heard.getvalue() == "printed\nwritten\nerror\nlogged\n"


def test_the_stand_in_is_a_stream() -> None:
    before = sys.stdout, sys.stderr
    with listening() as heard:
        assert sys.stderr.writable() and not sys.stdout.isatty()
        print("a", "b", sep="", end="", flush=True, file=sys.stderr)
        sys.stdout.writelines(["c", "d"])
    assert heard.getvalue() == "abcd"
    assert (sys.stdout, sys.stderr) == before


def test_a_model_that_cannot_be_exported(folder: Path) -> None:
    """torch prints the graph as far as it came, twice, and logs: in a process, where its loggers are not pytest's."""
    done = start(folder, "explain", "factories:branching", capture_output=True)
    assert (done.returncode, done.stdout) == (1, "")
    *progress, last = calm(done.stderr)
    assert progress == ["convfold: loading factories:branching …", "convfold: reading the model …"]
    lines = (folder / "factories.py").read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if "y.mean() > 0.5 else" in text)
    assert last == (
        "convfold: error: Branching cannot be exported: it branches on a value that is only known when it runs, at "
        f"factories.py:{line}: `{lines[line - 1].strip()}`; use torch.where or torch.cond there, or fold the modules "
        "before and after it one by one"
    )


def test_a_batch_that_cannot_be_free(folder: Path) -> None:
    """torch fails on it, loudly; with the size given it does not, and nothing is to be said."""
    done = start(folder, "fold", "factories:of_two", "-o", "out.onnx", capture_output=True)
    assert done.returncode == 0, done.stderr
    assert [x for x in calm(done.stderr) if not re.fullmatch("convfold: .* …", x)] == ["wrote out.onnx"]


def test_with_debug_the_graph_is_there(run: Run) -> None:
    text = run("explain", "factories:branching", "--debug").stderr
    assert "torch.ops.aten.conv2d.default" in text
    assert "Traceback" in text


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["fold", "factories:choosing", "-o", "out.pt2", "--no-verify"], 0),
        (["fold", "factories:waving", "-o", "out.pt2"], 0),
        (["fold", "factories:net", "--input", "1,3,7,6", "-o", "out.onnx"], 0),
        (["fold", "factories:waving", "-o", "out.onnx"], 1),
    ],
)
def test_control_flow_custom_ops_and_onnx(words: list[str], code: int, run: Run) -> None:
    result = run(*words)
    assert result.exit_code == code, result.stderr
    assert (result.stdout == "") is (code != 0)
    (line,) = messages(result.stderr)
    assert line.startswith("convfold: " if code else "wrote ")


@pytest.mark.parametrize(
    ("session", "before", "level"),
    [
        (Session(own_process=True), None, "FATAL"),
        (Session(own_process=True), "INFO", "INFO"),  # the user's choice
        (Session(own_process=True, debug=True), None, None),
        (Session(), None, None),  # the environment is not ours
    ],
)
def test_what_c_plus_plus_logs(
    session: Session, before: str | None, level: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", before or "")
    if before is None:
        monkeypatch.delenv("TORCH_CPP_LOG_LEVEL")
    with session.working():
        assert os.environ.get("TORCH_CPP_LOG_LEVEL") == level


def test_one_line_whatever_is_in_it() -> None:
    assert one_line("a\nb\r\n  c\t\33[31md\33[0m\0\u2028e") == "a b c d\\x00 e"
    long = one_line("x" * 5000 + "end")
    assert len(long) == LONGEST + 3
    assert long.endswith("xend")
