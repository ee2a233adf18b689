"""A file written whole, or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convfold.errors import InvalidInput


def refuse_unwritable(path: Path) -> None:
    """Raise unless a file of this name can be written, or written over."""
    folder = _target(path).parent
    if not folder.is_dir():
        raise InvalidInput(f"{path}: the folder {folder} does not exist; create it first")
    if path.is_dir():
        raise InvalidInput(f"{path}: is a directory; give the name of a file")
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        raise InvalidInput(f"{path}: is there and no regular file; give the name of one")
    if mode is not None and not (mode & 0o222 and os.access(path, os.W_OK)):
        raise InvalidInput(f"{path}: is write-protected; make it writable, or give another name")
    _scratch(path).cleanup()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends well, and vanishes if not.

    What else the block leaves in the temporary file's folder (ONNX's weights, where they are large) goes along, first.
    A link stays one, and what it points to is replaced; a file keeps its permissions.
    """
    target, mode = _target(path), _mode(path)
    try:
        with _scratch(path) as folder:
            yield (temporary := Path(folder) / target.name)
            for written in sorted(temporary.parent.iterdir(), key=temporary.__eq__):
                with written.open("r+b") as file:
                    os.fsync(file.fileno())
                if mode is not None:
                    written.chmod(stat.S_IMODE(mode))
                written.replace(target.with_name(written.name))
    except OSError as e:
        raise InvalidInput(f"{path}: cannot be written: {e.strerror or e}") from e


def _target(path: Path) -> Path:
    """Where the file is if ``path`` is a link to it."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except OSError:
        return None


def _scratch(path: Path) -> tempfile.TemporaryDirectory[str]:
    folder = _target(path).parent
    try:
        return tempfile.TemporaryDirectory(prefix=".convfold-", dir=folder)
    except OSError as e:
        raise InvalidInput(f"{path}: cannot write in {folder}: {e.strerror}") from e
