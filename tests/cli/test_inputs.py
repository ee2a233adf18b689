"""Inputs are drawn only where there is memory to compute with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from convfold import memory

from .conftest import Run, messages

SIZE = 1 * 3 * 7 * 6 * 4  # of the input below, in bytes


@pytest.mark.parametrize(("there", "code"), [(4 * SIZE, 0), (4 * SIZE - 1, 1)])
def test_a_quarter_of_what_is_there(there: int, code: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: there)
    monkeypatch.setattr(memory, "in_words", lambda n: f"{n} bytes")
    result = run("explain", "factories:net", "--input", "1,3,7,6", "--quiet")
    said = f"--input: input 1×3×7×6 takes {SIZE} bytes where {there} bytes are free: not enough memory"
    assert result.exit_code == code
    assert [said in line for line in messages(result.stderr)] == [True] * code


def test_all_inputs_together(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 4_000)
    words = ("--input", "1,3,7,6", "--input", "1,1,1,1:float64", "--input", "1,4,4,4:float64")  # 504 + 8 + 512 bytes
    (line,) = messages(run("explain", "factories:two", *words).stderr)
    assert "--input: x 1×3×7×6, mask 1×1×1×1, scale 1×4×4×4 takes" in line


@pytest.mark.parametrize(
    ("machine", "container", "bytes_"),
    [
        ("MemTotal: 9 kB\nMemAvailable:    8 kB\nBuffers: 1 kB\n", "max\n", 8 * 1024),
        ("MemTotal: 9 kB\nMemAvailable:    8 kB\nBuffers: 1 kB\n", "4096\n", 4096),
        ("MemTotal: 9 kB\nMemAvailable:    8 kB\nBuffers: 1 kB\n", None, 8 * 1024),
        (None, "4096\n", 4096),
    ],
)
def test_what_is_there(
    machine: str | None, container: str | None, bytes_: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("_MACHINE", machine), ("_CONTAINER", container)):
        monkeypatch.setattr(memory, name, tmp_path / name)
        if text is not None:
            (tmp_path / name).write_text(text)
    assert memory.available() == bytes_


def test_in_words() -> None:
    assert memory.in_words(2**50) == "1,048,576.0 GiB"
