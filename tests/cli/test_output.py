"""Standard output is the command's: whatever else is printed, however, goes to standard error."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import convfold
from convfold.cli import show
from convfold.cli.output import own_output

from .conftest import Run, messages

LOUD = """
import atexit, ctypes, logging, os, subprocess, sys
import torch
from torch import nn

libc = ctypes.CDLL(None)
original = sys.stdout

def shout(where):
    print(where, "print")
    print(where, "dunder", file=sys.__stdout__)
    print(where, "original", file=original)
    sys.stdout.write(where + " write\\n")
    logging.getLogger("user").info(where + " log")
    os.write(1, (where + " os.write\\n").encode())
    libc.printf((where + " printf\\n").encode())
    subprocess.run(["echo", where, "child"], check=True)
    with open("/dev/fd/1", "a") as file:
        print(where, "device", file=file)

class Late:
    def __del__(self):
        print("late print")
        os.write(1, b"late os.write\\n")

late = Late()
late.itself = late  # collected at the very end
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
atexit.register(shout, "exit")
shout("import")

class Loud(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        shout("forward")
        return self.norm(self.conv(x))

def net():
    shout("factory")
    return Loud().eval(), torch.randn(1, 3, 7, 6)
"""
WAYS = ["print", "dunder", "original", "write", "log", "os.write", "printf", "child", "device"]
LATE = ["late print", "late os.write"]


def start(folder: Path, *words: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    (folder / "loud.py").write_text(LOUD)
    env = {**os.environ, "PYTHONPATH": str(Path(convfold.__file__).parents[1])}
    command = [sys.executable, "-m", "convfold", *words]
    return subprocess.run(command, cwd=folder, env=env, text=True, timeout=120, check=False, **streams)


def test_one_document_whatever_prints(folder: Path) -> None:
    done = start(folder, "fold", "loud:net", "-o", "out.pt2", "--json", capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["error"]["passed"] is True
    lines = done.stderr.splitlines()
    for where in ("import", "factory", "forward", "exit"):
        assert [way for way in WAYS if f"{where} {way}" not in lines] == []
    assert set(LATE) < set(lines)
    known = {f"{where} {way}" for where in ("import", "factory", "forward", "exit") for way in WAYS}
    assert [x for x in lines if x not in known | {*LATE, "wrote out.pt2"} and not x.startswith("convfold: ")] == []


def test_closed_streams(folder: Path) -> None:
    """No file that is opened may take their place, and nothing is written into one."""
    closed = lambda: [os.close(i) for i in (0, 1, 2)]  # noqa: E731
    done = start(folder, "fold", "loud:net", "-o", "out.pt2", "--json", preexec_fn=closed)
    assert done.returncode == 0
    assert torch.export.load(folder / "out.pt2").example_inputs is not None


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Puts a file where standard output is, until the test ends."""
    before = os.dup(1)

    def put(descriptor: int) -> None:
        os.dup2(descriptor, 1)
        os.close(descriptor)
        monkeypatch.setattr(sys, "stdout", open(1, "w", closefd=False))  # noqa: SIM115

    yield put
    os.dup2(before, 1)
    os.close(before)


def test_given_back(place: Callable[[int], None], capfd: pytest.CaptureFixture[str]) -> None:
    """In a process that goes on afterwards."""
    reading, writing = os.pipe()
    place(writing)
    print("before")
    with own_output(for_good=False) as out:
        print("printed")
        os.write(1, b"written\n")
        out.write("data\n")
        os.write(1, b"and more\n")
    print("after", flush=True)
    os.write(1, b"and later\n")
    os.close(1)
    assert os.read(reading, 1000) == b"before\ndata\nafter\nand later\n"


def test_taken_for_good(place: Callable[[int], None]) -> None:
    reading, writing = os.pipe()
    place(writing)
    with own_output(for_good=True) as out:
        out.write("data\n")
    print("after", flush=True)
    os.write(1, b"and later\n")
    assert os.read(reading, 1000) == b"data\n"
    assert os.read(reading, 1000) == b""  # nobody holds it any more


def test_a_reader_who_has_gone(place: Callable[[int], None]) -> None:
    reading, writing = os.pipe()
    place(writing)
    os.close(reading)
    with own_output(for_good=False) as out:
        out.write("data\n" * 100_000)
        out.flush()
        done = True
    assert done


def test_a_full_disk(place: Callable[[int], None]) -> None:
    place(os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(OSError, match="standard output") as e, own_output(for_good=False) as out:
        out.write("data\n")
    assert e.value.errno == errno.ENOSPC


def test_letters_the_stream_does_not_have(place: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    place(writing)
    monkeypatch.setattr(sys, "stdout", open(1, "w", closefd=False, encoding="ascii"))  # noqa: SIM115
    with own_output(for_good=False) as out:
        out.write("3×3 \udcff\n")
    assert os.read(reading, 1000) == rb"3\xd73 \udcff" + b"\n"


def test_where_it_is_no_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with own_output(for_good=False) as out:
        print("printed")
        out.write("data\n")
    assert capsys.readouterr() == ("data\n", "printed\n")


def test_version_on_a_full_disk(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = start(folder, "--version", stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "convfold: error: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("command", ["explain", "verify", "bench"])
def test_what_the_model_prints_is_no_data(command: str, run: Run) -> None:
    words = [*{"verify": ["factories:printing"]}.get(command, []), *{"bench": ["--seconds", "0"]}.get(command, [])]
    result = run(command, "factories:printing", *words, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)
    assert "called" in messages(result.stderr)


@pytest.mark.parametrize(("color", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color(color: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in color.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    show.console(terminal).print("[red]red")
    assert ("31m" in terminal.getvalue()) is coloured


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
