"""Program files to tamper with, and what to put into them."""

from __future__ import annotations

import copyreg
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from tests.folding import double, noise

SHAPE = (2, 3, 7, 6)


class Net(nn.Module):
    """A parameter, a buffer, a constant, an input by name, a size that is free."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, (3, 2), bias=False), nn.BatchNorm2d(4)
        self.shift = torch.randn(4, 1, 1, dtype=torch.float64)

    def forward(self, x: Tensor, *, scale: Tensor) -> Tensor:
        return self.norm(self.conv(x)) * scale + self.shift


def saved(path: Path) -> Path:
    x, scale = noise(*SHAPE), noise(4, 1, 1)
    program = torch.export.export(double(Net()), (x,), {"scale": scale}, dynamic_shapes={"x": {0: Dim.AUTO}, "scale": None})
    torch.export.save(program, path, extra_files={"notes.txt": "about the model"})
    return path


def members(path: Path) -> dict[str, bytes]:
    """By their names below the archive's folder."""
    with zipfile.ZipFile(path) as z:
        return {name.partition("/")[2]: z.read(name) for name in z.namelist()}


def zipped(parts: Mapping[str, bytes], folder: str = "archive/") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as z:
        for name, content in parts.items():
            z.writestr(folder + name, content)
    return data.getvalue()


def rewritten(path: Path, changes: Mapping[str, bytes | None]) -> Path:
    """The same archive with members changed, added or (None) left out."""
    parts = {**members(path), **changes}
    path.write_bytes(zipped({name: content for name, content in parts.items() if content is not None}))
    return path


def reworded(path: Path, edit: Callable[[Any], None], name: str = "models/model.json") -> Path:
    """The same program file, its JSON edited."""
    said = json.loads(members(path)[name])
    edit(said)
    return rewritten(path, {name: json.dumps(said).encode()})


class Reduced:
    """Pickled, it is a call."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.call = call, args

    def __reduce__(self) -> Any:
        return self.call


def payloads(marker: Path) -> dict[str, bytes]:
    """Pickles that create the marker when they are loaded, by how they ask for the function that does."""
    call = Reduced(exec, f"open({str(marker)!r}, 'w').close()")
    plain = {f"protocol {n}": pickle.dumps(call, n) for n in range(6)}
    opened = b"open\n(S" + repr(str(marker)).encode() + b"\nS'w'\n"
    inputs = ((call,), {})
    return {
        **plain,
        "without an end": plain["protocol 0"][:-1],
        "INST": b"(S" + repr(str(marker)).encode() + b"\nS'w'\nio\nopen\n.",
        "OBJ": b"(cio\n" + opened.removesuffix(b"").replace(b"open\n(", b"open\n", 1) + b"o.",
        "extension code": b"\x80\x02\x82\x2a(S" + repr(str(marker)).encode() + b"\nS'w'\ntR.",
        "computed name": b"\x80\x04\x8c\x02io\x94\x8c\x04open\x940h\x00h\x01\x93(S" + repr(str(marker)).encode() + b"\nS'w'\ntR.",
        "beneath a tensor": pickle.dumps((torch.Size((2, 3)), call), 2),
        "torch.save": _torch_saved(inputs),
        "torch.save, protocol 4": _torch_saved(inputs, pickle_protocol=4),
        "torch.save of old": _torch_saved(inputs, _use_new_zipfile_serialization=False),
        "archive in an archive": zipped({"data.pkl": zipped({"data.pkl": plain["protocol 2"]})}),
    }


def _torch_saved(value: Any, **how: Any) -> bytes:
    data = io.BytesIO()
    torch.save(value, data, **how)
    return data.getvalue()
