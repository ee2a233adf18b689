"""A program written to a file: whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from convfold.errors import InvalidInput

if TYPE_CHECKING:  # whether a file can be written is asked before torch is loaded
    from torch.export import ExportedProgram


def save(program: ExportedProgram, path: Path) -> None:
    """Write a .pt2 or .onnx file.

    Raises:
        InvalidInput: the folder is missing or cannot be written, the suffix is unknown, or ONNX is not installed.
    """
    import torch

    refuse_output(path)
    with replacing(path) as temporary:
        if path.suffix == ".pt2":
            torch.export.save(program, temporary)
        else:
            _onnx(program, temporary)


def refuse_output(path: Path) -> None:
    """Can a model be written here? Asked before the work is done as well as after it."""
    if path.suffix not in (".pt2", ".onnx"):
        raise InvalidInput(f"{path}: unknown kind of file; give a name that ends in .pt2 or .onnx")
    if path.suffix == ".onnx" and find_spec("onnxscript") is None:
        raise InvalidInput("writing ONNX needs the extra: pip install 'convfold[onnx]'")
    if not path.parent.is_dir():
        raise InvalidInput(f"{path}: the folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise InvalidInput(f"{path}: is a directory; give the name of a file")
    os.rmdir(_scratch(path))


def _scratch(path: Path) -> str:
    try:
        return tempfile.mkdtemp(prefix=".convfold-", dir=path.parent)
    except OSError as e:
        raise InvalidInput(f"{path}: cannot write in {path.parent}: {e.strerror}") from e


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends well, and vanishes if not."""
    scratch = _scratch(path)
    temporary = Path(scratch) / path.name
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as e:
        raise InvalidInput(f"{path}: cannot be written: {e.strerror}") from e
    finally:
        for left in Path(scratch).iterdir():
            left.unlink()
        os.rmdir(scratch)


def _onnx(program: ExportedProgram, path: Path) -> None:
    import torch

    onnx = torch.onnx.export(program, dynamo=True, verbose=False)
    assert onnx is not None
    onnx.save(path)
