"""A program written to a file: whole, or not at all."""

from __future__ import annotations

import io
import re
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from convfold.atomic import refuse_unwritable, replacing
from convfold.errors import InvalidInput
from convfold.frontends.torch.quiet import quiet

if TYPE_CHECKING:  # whether a file can be written is asked before torch is loaded
    from torch.export import ExportedProgram


@quiet()
def save(program: ExportedProgram, path: Path) -> None:
    """Write a .pt2 or .onnx file.

    Raises:
        InvalidInput: the file cannot be written, its suffix is unknown, ONNX is not installed, or that kind of file
            cannot hold the program. What was there before is there still.
    """
    refuse_output(path)
    _refuse_constants(program, path)
    with replacing(path) as temporary:
        if path.suffix == ".pt2":
            _pt2(program, path, temporary)
        else:
            _onnx(program, path, temporary)


def refuse_output(path: Path) -> None:
    """Can a model be written here? Asked before the work is done as well as after it."""
    if path.suffix not in (".pt2", ".onnx"):
        raise InvalidInput(f"{path}: unknown kind of file; give a name that ends in .pt2 or .onnx")
    if path.suffix == ".onnx" and not all(map(find_spec, ("onnx", "onnxscript"))):
        raise InvalidInput("writing ONNX needs the extra: pip install 'convfold[onnx]'")
    refuse_unwritable(path)


def _refuse_constants(program: ExportedProgram, path: Path) -> None:
    """Returned beside tensors: torch writes text into a .pt2 file and does not read it; ONNX knows tensors only."""
    kind, refused = ("a .pt2", str) if path.suffix == ".pt2" else ("an ONNX", object)
    for spec in program.graph_signature.output_specs:
        x = getattr(spec.arg, "value", None)
        if x is not None and isinstance(x, refused):
            raise InvalidInput(
                f"{path}: the model returns {x!r} beside its tensors, which {kind} file cannot hold; leave it out of "
                "what is returned"
            )


class _Spool(io.BytesIO):
    """Passes on what is written until that fails, and then only remembers why.

    torch's writer ends its archive in a destructor, where an error, of a full disk say, aborts the process.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()  # a buffer to torch, and an empty one
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self.file.write(data)
            except OSError as e:
                self.error = e
        return len(data)


def _pt2(program: ExportedProgram, path: Path, temporary: Path) -> None:
    import torch

    with temporary.open("wb") as file:
        spool = _Spool(file)
        try:
            torch.export.save(program, spool)
        except Exception as e:  # torch's serialiser has no error of its own for what it cannot write
            raise InvalidInput(f"{path}: torch cannot save this program: {_words(e)}") from e
        if spool.error is not None:
            raise spool.error


def _onnx(program: ExportedProgram, path: Path, temporary: Path) -> None:
    import torch

    from convfold.frontends.torch.to_onnx import to_onnx

    bare = next((name for name, t in program.state_dict.items() if t.is_meta), None)
    if bare is not None:
        raise InvalidInput(
            f"{path}: weight {bare!r} is on the meta device and has no numbers to write; load them first"
        )
    try:
        onnx = to_onnx(program)
    except torch.onnx.OnnxExporterError as e:
        cause: BaseException = e
        while cause.__cause__ is not None:
            cause = cause.__cause__
        missing = re.search(r"No ONNX function found for .*op='([\w.]+)', overload='(\w+)'", str(cause))
        why = f"there is none for the operator {'.'.join(missing.groups())}" if missing else _words(cause)
        raise InvalidInput(
            f"{path}: torch cannot write this program as ONNX: {why}; save it as .pt2, or export `result.module` "
            "yourself, with torch.onnx.export(custom_translation_table=…)"
        ) from e
    onnx.save(temporary)


def _words(e: BaseException) -> str:
    return " ".join(str(e).split())[:300] or type(e).__name__
