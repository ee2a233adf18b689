"""Is there a file that a model can be read from? Asked of its name alone, before anything is loaded."""

from __future__ import annotations

import stat
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convfold.errors import InvalidInput


def is_onnx(model: Any) -> bool:
    """Is it one of ONNX: a file by its name, a model by its type?

    Raises:
        InvalidInput: it is, and what reads it is not installed.
    """
    if isinstance(model, str | Path):
        found = Path(model).suffix == ".onnx"
    else:
        found = type(model).__module__.partition(".")[0] in ("onnx", "onnx_ir")
    if found and not all(map(find_spec, ("onnx", "onnx_ir"))):
        raise InvalidInput("reading ONNX needs the extra: pip install 'convfold[onnx]'")
    return found


def refuse_no_file(path: Path) -> None:
    """Raise unless it is a regular file of a kind that is read. A pipe is none: it would be waited for."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInput(f"{path}: no such file") from None
    except (OSError, ValueError) as e:  # a name no file can have is a ValueError
        raise InvalidInput(f"{path}: cannot be read: {getattr(e, 'strerror', None) or e}") from e
    if stat.S_ISDIR(mode):
        raise InvalidInput(f"{path}: is a directory; give a .pt2 or .onnx file")
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"{path}: is no regular file; copy what it gives to one first")
