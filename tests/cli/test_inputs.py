"""Inputs are drawn only where there is memory to compute with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convfold import memory
from convfold.errors import InvalidInput
from convfold.inputs import at_batch

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


def test_at_a_batch() -> None:
    """What has as many samples as the first has, in turn; nothing else."""
    x, mask, step, scale = torch.randn(2, 3, 4), torch.randn(4, 1), torch.tensor(3), torch.randn(2)
    (y, other, same), given = at_batch(((x, mask, step), {"scale": scale, "mode": "fast"}), 5)
    assert torch.equal(y, x[[0, 1, 0, 1, 0]]) and torch.equal(given["scale"], scale[[0, 1, 0, 1, 0]])
    assert other is mask and same is step and given["mode"] == "fast"
    (y, *_), _ = at_batch(((x,), {}), 1)
    assert torch.equal(y, x[:1])


@pytest.mark.parametrize("args", [(), (torch.tensor(3.0), 2), (torch.empty(0, 3),)])
def test_at_a_batch_of_nothing(args: tuple[object, ...]) -> None:
    with pytest.raises(InvalidInput, match="--batch 2: no input has a dimension 0"):
        at_batch((args, {}), 2)


def test_a_batch_that_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 4 * 5 * SIZE)
    image = torch.randn(1, 3, 7, 6)
    assert len(at_batch(((image,), {}), 5)[0][0]) == 5
    with pytest.raises(InvalidInput, match=r"--batch 6: inputs of .* GiB are free: not enough memory"):
        at_batch(((image,), {}), 6)


def test_in_words() -> None:
    assert memory.in_words(2**50) == "1,048,576.0 GiB"
