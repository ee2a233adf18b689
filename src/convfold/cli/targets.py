"""Which models are meant, and where each is written to: files, a folder of them, standard output, or in place."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from convfold.arguments import BadUsage, Origin
from convfold.errors import InvalidInput
from convfold.saving import refuse_output

#: What a folder is searched for.
KINDS = (".onnx", ".pt2")


@dataclass(frozen=True)
class Target:
    """A model and the file it becomes; None: standard output. ``backup``: what was there is kept beside it."""

    origin: Origin
    path: Path | None
    backup: bool = False
    word: str = ""  # the file's name as it was given

    def keep(self) -> None:
        """Copy what is there to NAME.bak; a copy from before stays, for it is the original."""
        assert self.path is not None
        kept = self.path.with_name(f"{self.path.name}.bak")
        if self.backup and not kept.exists():
            shutil.copy2(self.path, kept)


def targets(origins: Sequence[Origin], output: Path | None, in_place: bool) -> list[Target]:
    """
    Raises:
        BadUsage: it is not said where to, or of several models that they become one file.
        InvalidInput: a folder has no model in it, or a file cannot be written.
    """
    found = [origin for given in origins for origin in _within(given)]
    if in_place == (output is not None):
        raise BadUsage("say where to write: --output FILE, FOLDER or -, or --in-place")
    if in_place:
        for origin in found:
            if origin.path is None:
                raise BadUsage(f"-i: {origin.word} is no file")
        made = [Target(origin, origin.path, backup=True) for origin in found]
    elif str(output) == "-":
        if len(found) > 1:
            raise BadUsage(f"-o -: {len(found)} models; standard output takes one")
        made = [Target(found[0], None)]
    else:
        assert output is not None
        made = _into(output, found, many=len(found) > 1 or any(o.is_folder for o in origins))
    for target in made:
        if target.path is not None:
            refuse_output(target.path)
    return [replace(t, path=t.path and t.path.absolute(), word=str(t.path)) for t in made]  # code may change the folder


def _within(origin: Origin) -> list[Origin]:
    if not origin.is_folder:
        return [origin]
    assert origin.path is not None
    files = sorted(p for p in origin.path.iterdir() if p.suffix in KINDS and p.is_file())
    if not files:
        raise InvalidInput(f"{origin.word}: no {' or '.join(KINDS)} file in this folder")
    return [Origin(str(p), p) for p in files]


def _into(output: Path, origins: Sequence[Origin], many: bool) -> list[Target]:
    if not many and (not output.is_dir() or output.suffix in KINDS or origins[0].path is None):
        return [Target(origins[0], output)]
    if not output.is_dir():
        raise BadUsage(f"-o {output}: {len(origins)} models need a folder that exists")
    names = [origin.path.name if origin.path else None for origin in origins]
    for origin, name in zip(origins, names, strict=True):
        if name is None:
            raise BadUsage(f"-o {output}: {origin.word} has no file's name; fold it by itself")
        if names.count(name) > 1:
            raise BadUsage(f"-o {output}: two models are called {name}")
    return [Target(origin, output / name) for origin, name in zip(origins, names, strict=True) if name]


@contextmanager
def stored(origins: Sequence[Origin]) -> Iterator[list[Origin]]:
    """Standard input as a file of its own, while the block lasts."""
    if not any(origin.stdin for origin in origins):
        yield list(origins)
        return
    if [origin.stdin for origin in origins].count(True) > 1:
        raise BadUsage("standard input is one model")
    with tempfile.TemporaryDirectory(prefix="convfold-") as folder:
        data = sys.stdin.buffer.read()
        if not data:
            raise InvalidInput("-: standard input is empty")
        path = Path(folder) / f"stdin{'.pt2' if data[:2] == b'PK' else '.onnx'}"
        path.write_bytes(data)
        yield [Origin("-", path) if origin.stdin else origin for origin in origins]
