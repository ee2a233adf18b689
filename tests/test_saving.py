"""A result is written whole or not at all, where it was asked for, and what stops it is one line."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.onnx._internal.exporter import _onnx_program
from torch.utils import _pytree as pytree

import convfold
from convfold import saving
from convfold.cli import main
from tests.folding import double, noise

FACTORIES = """
import torch
from torch import Tensor, nn

@torch.library.custom_op("saving::turned", mutates_args=())
def turned(x: torch.Tensor) -> torch.Tensor:
    return x.flip(-1).clone()

@turned.register_fake
def _(x):
    return torch.empty_like(x)

class Turned(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4)

    def forward(self, x):
        return turned(self.norm(self.conv(x)))

def custom():
    return Turned().eval(), torch.randn(2, 3, 7, 6)

def large():
    return nn.Sequential(nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64)).eval(), torch.randn(2, 32, 7, 6)
"""


@pytest.fixture(scope="module")
def result() -> convfold.Result:
    """75 kB of weights."""
    return convfold.fold(double(nn.Sequential(nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32))), noise(2, 32, 7, 6))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "factories_to_save.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """No file may grow beyond this: what a full disk does, as far as a writer can tell."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("suffix", "sizes"), [(".pt2", (0, 100, 30_000)), (".onnx", (30_000,))])
def test_a_full_disk(suffix: str, sizes: tuple[int, ...], result: convfold.Result, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_text("what was there before")
    for size in sizes:
        with full_after(size), pytest.raises(convfold.InvalidInput) as e:
            result.save(path)
        assert str(e.value) == f"{path}: cannot be written: File too large"
        assert path.read_text() == "what was there before"
        assert os.listdir(tmp_path) == [path.name]
    result.save(path)
    assert path.stat().st_size > 75_000


def test_a_full_disk_on_the_command_line(folder: Path) -> None:
    """A process of its own: torch's writer used to abort it."""
    (folder / "net.pt2").write_text("what was there before")
    run = (
        "import resource; from convfold.cli import main; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
        "main(['fold', 'factories_to_save:large', '-o', 'net.pt2', '--no-verify', '--quiet'])"
    )
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"convfold: error: {folder / 'net.pt2'}: cannot be written: File too large\n"
    assert (folder / "net.pt2").read_text() == "what was there before"
    assert sorted(os.listdir(folder)) == ["factories_to_save.py", "net.pt2"]


def test_a_disk_that_fails_at_the_end(result: convfold.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(convfold.InvalidInput, match="cannot be written: No space left on device"):
        result.save(tmp_path / "net.pt2")
    assert os.listdir(tmp_path) == []


def test_permissions_are_kept(result: convfold.Result, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    before = os.umask(0o027)
    try:
        result.save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        result.save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(before)


def test_links_are_followed(result: convfold.Result, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "v1.pt2").write_text("what was there before")
    for name, to in (("net.pt2", "store/v1.pt2"), ("new.pt2", "store/v2.pt2"), ("twice.pt2", "net.pt2")):
        (tmp_path / name).symlink_to(to)
        result.save(tmp_path / name)
        assert (tmp_path / name).is_symlink() and not convfold.fold(tmp_path / name).report.changed
    assert sorted(os.listdir(tmp_path / "store")) == ["v1.pt2", "v2.pt2"]
    (tmp_path / "away.pt2").symlink_to("nowhere/v1.pt2")
    with pytest.raises(convfold.InvalidInput, match=r"away\.pt2: the folder .*nowhere does not exist"):
        result.save(tmp_path / "away.pt2")


def test_what_must_not_be_replaced(result: convfold.Result, folder: Path) -> None:
    (folder / "kept.pt2").write_text("what was there before")
    (folder / "kept.pt2").chmod(0o444)
    os.mkfifo(folder / "pipe.pt2")
    for name, said in (
        ("kept.pt2", "is write-protected; make it writable"),
        ("pipe.pt2", "is there and no regular file"),
    ):
        with pytest.raises(convfold.InvalidInput, match=rf"{name}: {said}"):
            result.save(folder / name)
        asked = CliRunner().invoke(main, ["fold", "factories_to_save:large", "-o", name, "--quiet"])
        assert asked.exit_code == 1 and asked.stderr.startswith(f"convfold: error: {name}: {said}")
    assert (folder / "kept.pt2").read_text() == "what was there before"
    assert stat.S_ISFIFO((folder / "pipe.pt2").stat().st_mode)


def test_large_weights_lie_beside_an_onnx_file(
    result: convfold.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond 1.5 GB torch writes them to a file of their own, which goes where the model goes."""
    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 1000)
    (tmp_path / "there").mkdir()
    (tmp_path / "link.onnx").symlink_to("there/net.onnx")
    result.save(tmp_path / "link.onnx")
    assert sorted(os.listdir(tmp_path / "there")) == ["net.onnx", "net.onnx.data"]
    weights = [onnx.numpy_helper.to_array(w) for w in onnx.load(tmp_path / "there" / "net.onnx").graph.initializer]
    kernel = next(p.detach().numpy() for p in result.module.parameters() if p.dim() == 4)
    assert any(np.array_equal(kernel, w) for w in weights)


def test_an_operator_that_onnx_has_not(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "net.onnx").write_text("what was there before")
    done = CliRunner().invoke(main, ["fold", "factories_to_save:custom", "-o", "net.onnx", "--quiet"])
    said = (
        f"{folder / 'net.onnx'}: torch cannot write this program as ONNX: there is none for the operator "
        "saving.turned.default; "
        "save it as .pt2, or export `result.module` yourself, with torch.onnx.export(custom_translation_table=…)"
    )
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"convfold: error: {said}\n")
    assert capfd.readouterr().out == ""
    assert (folder / "net.onnx").read_text() == "what was there before"
    assert sorted(os.listdir(folder)) == ["factories_to_save.py", "net.onnx"]
    assert CliRunner().invoke(main, ["fold", "factories_to_save:custom", "-o", "net.pt2"]).exit_code == 0
    assert not convfold.fold("net.pt2").report.changed


@dataclasses.dataclass
class Outputs:
    image: Tensor


class Giving(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Outputs:
        return Outputs(self.norm(self.conv(x)))


def test_what_torch_cannot_serialise(tmp_path: Path) -> None:
    """A container registered without a name to be saved under."""
    torch.export.register_dataclass(Outputs)
    try:
        result = convfold.fold(double(Giving()), noise(2, 3, 7, 6))
        said = r"net\.pt2: torch cannot save this program: No registered serialization .*Outputs.*serialized_type_name"
        with pytest.raises(convfold.InvalidInput, match=said):
            result.save(tmp_path / "net.pt2")
    finally:
        pytree._deregister_pytree_node(Outputs)
    assert os.listdir(tmp_path) == []


def test_nothing_is_held_twice(tmp_path: Path) -> None:
    """What torch writes goes to the file at once: the spool keeps none of it."""
    with (tmp_path / "file").open("wb") as file:
        spool = saving._Spool(file)
        assert spool.write(b"0" * 1000) == 1000 and spool.getvalue() == b""
    assert (tmp_path / "file").stat().st_size == 1000
