"""Program files to tamper with, and what to put into them."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from tests.folding import double, noise


class Net(nn.Module):
    """Weights, a buffer, a constant, an input by name; a convolution and a norm to fold."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, (3, 2), bias=False), nn.BatchNorm2d(4)
        self.shift = noise(4, 1, 1, seed=2)

    def forward(self, x: Tensor, *, scale: Tensor) -> Tensor:
        return self.norm(self.conv(x)) * scale + self.shift


def save_net(path: Path) -> Path:
    """With the batch free, and a file of the user's own in the archive."""
    inputs = (noise(2, 3, 7, 6),), {"scale": noise(4, 1, 1, seed=3)}
    program = torch.export.export(double(Net()), *inputs, dynamic_shapes={"x": {0: Dim.AUTO}, "scale": None})
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


def rewritten(path: Path, to: Path, changes: Mapping[str, bytes | None]) -> Path:
    """The same archive with members changed, added, or left out (None)."""
    parts = {**members(path), **changes}
    to.write_bytes(zipped({name: content for name, content in parts.items() if content is not None}))
    return to


def reworded(path: Path, to: Path, edit: Callable[[Any], None], name: str = "models/model.json") -> Path:
    """The same archive with what a member of JSON says edited in place."""
    said = json.loads(members(path)[name])
    edit(said)
    return rewritten(path, to, {name: json.dumps(said).encode()})


class Call:
    """Pickled, it is a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


#: A code for ``posix.mkdir`` among copyreg's extensions.
EXTENSION = 42


def payloads(marker: Path) -> dict[str, bytes]:
    """What creates the marker, a folder, when it is unpickled, by how it asks for the function that does."""
    call = Call(exec, f"import os; os.mkdir({str(marker)!r})")
    word = b"S" + repr(str(marker)).encode() + b"\n"
    mkdir, called = b"cposix\nmkdir\n", b"(" + word + b"tR"
    words = b"\x80\x04\x8c\x05posix\x94\x8c\x05mkdir\x940\x8c\x05torch\x8c\x04Size00h\x00h\x01\x93"
    return {
        **{f"protocol {n}": pickle.dumps(call, n) for n in range(6)},
        "os.mkdir": pickle.dumps(Call(os.mkdir, str(marker)), 1),
        "no end": mkdir + called,
        "after another": pickle.dumps(None, 2) + pickle.dumps(call, 2),
        "INST": b"(" + word + b"iposix\nmkdir\n.",
        "OBJ": b"(" + mkdir + word + b"o.",
        "an extension": b"\x80\x02\x82" + bytes([EXTENSION]) + called + b".",
        "a name from the memo": words + called + b".",
        "beside a tensor's size": pickle.dumps((torch.Size((2, 3)), call), 2),
        "torch.save": torch_saved(((call,), {})),
        "torch.save, protocol 5": torch_saved(((call,), {}), pickle_protocol=5),
        "torch.save of old": torch_saved(((call,), {}), _use_new_zipfile_serialization=False),
    }


def torch_saved(value: Any, **how: Any) -> bytes:
    data = io.BytesIO()
    torch.save(value, data, **how)
    return data.getvalue()
