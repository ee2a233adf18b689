"""Files that are damaged, no files at all, or archives that no program writes: one line, or the program itself."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import convfold
from convfold.cli import main
from convfold.frontends.torch.archive import load
from tests.traps.files import members, rewritten, save_net, zipped


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_net(tmp_path_factory.mktemp("files") / "net.pt2")


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return tmp_path / "bad.pt2"


def refused(path: Path, *said: str) -> None:
    """By the library and on the command line: one line, with these words."""
    with pytest.raises(convfold.InvalidInput) as e:
        convfold.fold(path)
    result = CliRunner().invoke(main, ["explain", str(path), "--quiet"])
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr == f"convfold: error: {e.value}\n"
    for words in (f"{path}: ", *said):
        assert words in str(e.value)


def test_flipped_bits(net: Path, bad: Path) -> None:
    data, whole = net.read_bytes(), load(net)
    chance = random.Random(0)
    refusals = 0
    for _ in range(300):
        flipped = bytearray(data)
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        bad.write_bytes(flipped)
        try:
            program = load(bad)
        except convfold.InvalidInput as e:
            assert str(e).startswith(f"{bad}: ") and "\n" not in str(e)
            refusals += 1
        else:
            assert str(program.graph) == str(whole.graph)
            assert all(torch.equal(program.state_dict[name], x) for name, x in whole.state_dict.items())
    assert refusals > 200


def test_cut_short(net: Path, bad: Path) -> None:
    data = net.read_bytes()
    for length in range(0, len(data), len(data) // 40):
        bad.write_bytes(data[:length])
        with pytest.raises(convfold.InvalidInput, match=r"bad\.pt2: not a \.pt2 file"):
            load(bad)


def test_words_changed(net: Path, bad: Path) -> None:
    """The archive whole, what its JSON says changed somewhere: one line, or a program torch takes."""
    chance = random.Random(0)
    parts = {name: content for name, content in members(net).items() if name.endswith("json")}
    refusals = 0
    for _ in range(150):
        name = chance.choice(list(parts))
        said = json.loads(parts[name])
        *way, last = chance.choice(list(_places(said)))
        at = said
        for step in way:
            at = at[step]
        at[last] = chance.choice([None, -1, 2**40, "", "conv2d", True, 1.5, [], {}, [1], {"as_int": 3}])
        try:
            load(rewritten(net, bad, {name: json.dumps(said).encode()}))
        except convfold.InvalidInput as e:
            assert str(e).startswith(f"{bad}: ") and "\n" not in str(e)
            refusals += 1
    assert refusals > 100


def _places(said: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ():
        yield (*way, key)
        yield from _places(value, (*way, key))


def test_nested_too_deep(net: Path, bad: Path) -> None:
    for data in (b"[" * 100_000, b'{"a":' * 100_000):
        refused(rewritten(net, bad, {"models/model.json": data}), "not a .pt2 file torch can load")


def info(name: str, **told: Any) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    for key, value in told.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (info("net/data/more", compress_type=zipfile.ZIP_DEFLATED), "member 'data/more' is compressed"),
        (info("net/data/more", compress_type=zipfile.ZIP_LZMA), "member 'data/more' is compressed"),
        (info("/etc/passwd"), "member '/etc/passwd' has a name no program gives"),
        (info("net/../../up"), "member '../../up' has a name no program gives"),
        (info("net/a\\b"), "has a name no program gives"),
        (info("net/a\nb"), "has a name no program gives"),
        (info("net/link", external_attr=0o120777 << 16), "member 'link' is a link"),
        (info("net/models/model.json"), "member models/model.json is there 2 times"),
    ],
    ids=lambda x: None if isinstance(x, str) else x.filename,
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_no_program_has(extra: zipfile.ZipInfo, said: str, net: Path, bad: Path) -> None:
    bad.write_bytes(net.read_bytes())
    with zipfile.ZipFile(bad, "a") as z:
        z.writestr(extra, b"0" * 1000)
    refused(bad, said)


def _patched(data: bytes, signature: bytes, name: bytes, field: slice, value: bytes) -> bytes:
    """One field of a member's header, local (PK\\3\\4) or in the directory (PK\\1\\2)."""
    sizes = {b"PK\x03\x04": 30, b"PK\x01\x02": 46}
    at = data.index(signature)
    while data[at + sizes[signature] :][: len(name)] != name:
        at = data.index(signature, at + 1)
    header = bytearray(data[at : at + sizes[signature]])
    header[field] = value
    return data[:at] + bytes(header) + data[at + len(header) :]


def test_headers_that_disagree(net: Path, bad: Path) -> None:
    """A member's name beside it and in the directory; a size larger than the file, or that only unpacking makes."""
    data = zipped(members(net))
    name = b"archive/data/weights/weight_0"
    other = bytearray(data)
    at = data.index(name)
    other[at : at + len(name)] = b"archive/data/weights/weight_9"
    bad.write_bytes(bytes(other))
    refused(bad, "differ")
    many = struct.pack("<L", 1 << 30)
    bad.write_bytes(_patched(data, b"PK\x01\x02", name, slice(24, 28), many))
    refused(bad, "member 'data/weights/weight_0' is compressed")
    bad.write_bytes(_patched(data, b"PK\x01\x02", name, slice(20, 28), many * 2))
    refused(bad, "the members of the file are larger than itself")


def test_members_that_lie_in_one_another(net: Path, bad: Path) -> None:
    """Many small headers for the same bytes would make much of little."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as z:
        z.writestr("net/0", b"0" * 10_000)
        for i in range(1, 50):
            again = zipfile.ZipInfo(f"net/{i}")
            for field in ("file_size", "compress_size", "CRC", "header_offset", "compress_type"):
                setattr(again, field, getattr(z.filelist[0], field))
            z.filelist.append(again)
        z._didModify = True
    bad.write_bytes(data.getvalue())
    refused(bad, "the members of the file are larger than itself")


def test_what_torch_saves_otherwise(bad: Path) -> None:
    model = torch.nn.Linear(3, 2)
    torch.save(model, bad)
    refused(bad, "asks for torch.nn.modules.linear.Linear")
    torch.save(model.state_dict(), bad)
    refused(bad, "not a .pt2 file torch can load: no program inside")
    torch.save(model.state_dict(), bad, _use_new_zipfile_serialization=False)
    refused(bad, "not a .pt2 file torch can load")
    bad.write_bytes(zipped({}))
    refused(bad, "no program inside")


def test_a_big_endian_machine(net: Path, bad: Path, tmp_path: Path) -> None:
    (tmp_path / "inputs.pt").write_bytes(members(net)["data/sample_inputs/model.pt"])
    inputs = rewritten(tmp_path / "inputs.pt", tmp_path / "big.pt", {"byteorder": b"big"}).read_bytes()
    refused(rewritten(net, bad, {"data/sample_inputs/model.pt": inputs}), "written on a big-endian machine")


def test_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.pt2")
    (tmp_path / "loop.pt2").symlink_to("loop.pt2")
    (tmp_path / "folder.pt2").mkdir()
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("socket.pt2")
        refused(Path("socket.pt2"), "is no regular file")
    refused(tmp_path / "pipe.pt2", "is no regular file; copy what it gives to one first")
    refused(tmp_path / "folder.pt2", "is a directory")
    refused(tmp_path / "gone.pt2", "no such file")
    refused(tmp_path / "pipe.pt2" / "net.pt2", "no such file")
    refused(tmp_path / "loop.pt2", "cannot be read: ")
    refused(Path("n" * 300 + ".pt2"), "cannot be read: ", "File name too long")
    with pytest.raises(convfold.InvalidInput, match="cannot be read: embedded null byte"):
        convfold.fold(Path("a\0b.pt2"))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "cannot be read: Permission denied"),
        (errno.ENOENT, "cannot be read: No such file or directory"),
        (errno.EIO, "cannot be read: Input/output error"),
    ],
)
def test_files_that_cannot_be_read(
    number: int, said: str, net: Path, bad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protected, gone since it was looked for, on a disk that fails."""
    bad.write_bytes(net.read_bytes())
    opened: Callable[..., Any] = Path.open

    def fails(path: Path, *how: Any) -> Any:
        if number != errno.EIO:
            raise OSError(number, os.strerror(number), str(path))
        stream = opened(path, *how)
        monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda *n: fails_to_read())
        return stream

    def fails_to_read() -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", fails)
    refused(bad, said)
