"""Whoever waits is told what for, and for how long; on a clock that moves when it is told to."""

from __future__ import annotations

import io
import re
import sys
import threading
from typing import Any

import pytest
from click.testing import CliRunner

import convfold
from convfold.cli import main
from convfold.cli.progress import Lines, beating, shown

from .conftest import Run, calm


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_a_stage_and_a_sign_of_life_every_ten_seconds() -> None:
    clock, said = Clock(), list[str]()
    lines = Lines(said.append, clock)
    lines.beat()  # nothing has begun
    lines.begin("loading")
    for clock.now in (101.0, 109.9):
        lines.beat()
    assert said == ["loading …"]
    clock.now = 110.2
    lines.beat()
    lines.beat()
    assert said[1:] == ["loading … 10 s"]
    for clock.now in range(111, 132):
        lines.beat()
    assert said[2:] == ["loading … 20 s", "loading … 30 s"]
    lines.begin("read")  # in words
    assert said[4:] == ["loading: 31 s", "reading the model …"]
    clock.now = 136.0
    lines.begin("lift")  # not worth a word
    assert said[6:] == ["finding its affine regions …"]
    clock.now = 200.0
    lines.end()
    lines.end()
    lines.beat()
    assert said[7:] == ["finding its affine regions: 64 s"]


def _hearts() -> list[str]:
    return [t.name for t in threading.enumerate() if "heart" in t.name]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_the_heart_stops_however_it_ends(error: type[BaseException] | None) -> None:
    clock, said, heard = Clock(), list[str](), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if "10 s" in line:
            heard.set()

    def work() -> None:
        with beating(Lines(say, clock), pause=0.001) as lines:
            lines.begin("loading")
            clock.now += 10
            assert heard.wait(20)
            assert all(t.daemon for t in threading.enumerate() if "heart" in t.name) and _hearts()
            if error:
                raise error
            clock.now += 2

    if error:
        with pytest.raises(error):
            work()
    else:
        work()
    assert not _hearts()
    assert said == ["loading …", "loading … 10 s", *([] if error else ["loading: 12 s"])]


def test_on_standard_error_and_only_there(run: Run) -> None:
    result = run("explain", "factories:given")
    progress = [line for line in calm(result.stderr) if line != "building"]
    assert progress[0] == "convfold: loading factories:given …"
    assert "convfold: reading the model …" in progress
    assert all(re.fullmatch("convfold: .* …", line) for line in progress)
    assert "convfold:" not in result.stdout
    assert not _hearts()


@pytest.mark.parametrize(
    "words", [["--quiet", "explain", "factories:given"], ["explain", "factories:given", "--quiet"]]
)
def test_quiet(words: list[str], run: Run) -> None:
    assert run(*words).stderr == "building\n"


def test_quiet_is_no_silence_about_errors(run: Run) -> None:
    assert run("explain", "factories:raises", "--quiet").stderr.startswith("convfold: error: factories:raises raised")


def test_gone_after_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        assert _hearts()
        raise KeyboardInterrupt

    monkeypatch.setattr(convfold, "explain", interrupted)
    assert run("explain", "factories:given").exit_code == 130
    assert not _hearts()


class Gone(io.StringIO):
    """Standard error, whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_nobody_need_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Gone())
    with shown(quiet=False) as stage:
        stage("read")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("term", "live"), [("xterm", True), ("dumb", False)])
def test_a_live_line_on_a_terminal(term: str, live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with shown(quiet=False) as stage:
        stage("read")
        stage("a [word] of\nthe user's")
        assert bool(_hearts()) is not live
    text = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert ("\33[" in text, "convfold:" in text) == (live, not live)
    assert "a [word] of the user's" in text


def test_the_demo_says_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(console: Any, doing: Any) -> bool:
        with doing("training"):
            print("noise")
        console.print("done")
        return False

    monkeypatch.setattr(convfold.demo, "demo", short)
    result = CliRunner().invoke(main, ["demo"])
    assert (result.exit_code, result.stdout) == (1, "done\n")
    assert calm(result.stderr) == ["convfold: training …", "noise"]
