"""A .pt2 file → the program in it. The only way a model comes out of a file, and nothing in the file is run.

``torch.export.load`` unpickles freely where its restricted unpickler refuses, evaluates sizes as Python, looks up
operators in all of torch, imports what trees of containers name, and loads compiled code. So every member is looked at
before any is loaded, and torch is handed what it can do no harm with: tensors, and a program `schema.check` has passed.
"""

from __future__ import annotations

from pathlib import Path

from torch.export import ExportedProgram

from convfold.errors import InvalidInput
from convfold.files import refuse_no_file
from convfold.frontends.torch.members import Archive


def load(path: Path) -> ExportedProgram:
    """The program of a .pt2 file saved by ``torch.export.save``.

    Raises:
        InvalidInput: there is no such file, it cannot be read, is none of torch's or damaged, or could run code.
    """
    refuse_no_file(path)
    try:
        with path.open("rb") as stream:
            archive = Archive.of(stream)
            archive.refuse_code()
            from convfold.frontends.torch.packaged import program  # torch's reader takes a while to import

            return program(archive)
    except InvalidInput as e:
        raise InvalidInput(f"{path}: {e}") from e
    except OSError as e:
        raise InvalidInput(f"{path}: cannot be read: {e.strerror or e}") from e
    except Exception as e:  # whatever torch makes of a file that is none of its own, or damaged
        why = " ".join(str(e).split())[:200] or type(e).__name__
        raise InvalidInput(f"{path}: not a .pt2 file torch can load: {why}; save one with torch.export.save") from e
