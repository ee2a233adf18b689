"""Is there a file that a model can be read from? Asked of its name alone, before anything is loaded."""

from __future__ import annotations

import stat
from pathlib import Path

from convfold.errors import InvalidInput


def refuse_no_file(path: Path) -> None:
    """Raise unless it is a regular file of a kind that is read. A pipe is none: it would be waited for."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInput(f"{path}: no such file") from None
    except (OSError, ValueError) as e:  # a name no file can have is a ValueError
        raise InvalidInput(f"{path}: cannot be read: {getattr(e, 'strerror', None) or e}") from e
    if stat.S_ISDIR(mode):
        raise InvalidInput(f"{path}: is a directory; give a .pt2 file")
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"{path}: is no regular file; copy what it gives to one first")
    if path.suffix == ".onnx":
        raise InvalidInput(f"{path}: ONNX files are not read yet; give a .pt2 file or a module")
