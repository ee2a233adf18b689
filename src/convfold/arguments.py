"""Words of the command line that have a grammar of their own: models, shapes of inputs, and which sizes stay free.

No torch here: what is wrong with a word is said before anything is loaded.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from convfold.errors import InvalidInput
from convfold.files import refuse_no_file

#: torch's types that an input can be drawn in.
DTYPES = {
    *("float64", "float32", "float16", "bfloat16", "double", "float", "half"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    *("complex128", "complex64", "cdouble", "cfloat"),
    *("int64", "int32", "int16", "int8", "long", "int", "short", "uint64", "uint32", "uint16", "uint8", "bool"),
}

#: What models can be timed in: the names in `convfold.runtimes`.
RUNTIMES = ("eager", "inductor", "onnxruntime", "openvino")

#: What torch can count: dimensions of a tensor, and its elements.
MOST_DIMS, MOST_ELEMENTS = 64, 2**63 - 1

_NUMBERS = "[0-9]+(?:,[0-9]+)*"
_NAME = r"[^\W\d]\w*"


class BadUsage(InvalidInput):
    """What was typed does not parse, contradicts itself or does not fit the model it names."""


@dataclass(frozen=True)
class Origin:
    """IN: a file, a folder of files, ``-`` for standard input, or ``package.module:factory``."""

    word: str
    path: Path | None  # None for a factory, and for standard input

    @property
    def stdin(self) -> bool:
        return self.word == "-" and self.path is None

    @property
    def is_folder(self) -> bool:
        return self.path is not None and self.path.is_dir()

    @classmethod
    def parse(cls, text: str, folders: bool = False) -> Origin:
        """``folders``: may it be one?

        Raises:
            InvalidInput: there is no such file, it cannot be read, or it is none.
        """
        if not text or "\0" in text:
            raise InvalidInput(f"{text!r} names no model; give a .pt2 or .onnx file, or package.module:factory")
        if text == "-":
            return cls(text, None)
        path = Path(text)
        if folders and path.is_dir():
            return cls(text, path)
        if os.path.exists(path) or path.suffix in (".pt2", ".onnx"):
            refuse_no_file(path)
            return cls(text, path)
        if not all(text.partition(":")):
            raise InvalidInput(f"{short(text)}: no such file; give a .pt2 or .onnx file, or package.module:factory")
        return cls(text, None)


@dataclass(frozen=True)
class Shape:
    """``[name:]1,3,224,224[:float32]``: an input, to be drawn at random."""

    name: str | None
    sizes: tuple[int, ...]
    dtype: str | None

    @classmethod
    def parse(cls, text: str) -> Shape:
        found = re.fullmatch(rf"(?:({_NAME}):)?({_NUMBERS})(?::(\w+))?", text.replace(" ", ""))
        sizes = _numbers(text, found[2]) if found else ()
        if not found or 0 in sizes:
            raise BadUsage(f"{short(text)!r}: write name:1,3,224,224 or name:1,3,224,224:float32, sizes from 1")
        if len(sizes) > MOST_DIMS:
            raise BadUsage(f"{short(text)!r}: {len(sizes)} dimensions; a tensor has at most {MOST_DIMS}")
        if prod(sizes) > MOST_ELEMENTS:
            raise BadUsage(f"{short(text)!r}: more elements than a tensor may have ({MOST_ELEMENTS:.1e})")
        if found[3] and found[3] not in DTYPES:
            raise BadUsage(f"{short(text)!r}: {short(found[3])!r} is no torch type; write float32, float16, int64, …")
        return cls(found[1], sizes, found[3])

    def __str__(self) -> str:
        return "×".join(map(str, self.sizes))


@dataclass(frozen=True)
class Free:
    """``batch``, ``all``, ``none`` or ``name:0,2,3``: which sizes may change later."""

    word: str
    dims: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Free:
        if text in ("batch", "all", "none"):
            return cls(text)
        found = re.fullmatch(rf"({_NAME}):({_NUMBERS})", text.replace(" ", ""))
        if not found:
            raise BadUsage(f"{short(text)!r}: write batch, all, none, or name:0,2,3")
        return cls(found[1], _numbers(text, found[2]))

    @property
    def of_all(self) -> bool:
        """Is it about every input at once?"""
        return not self.dims


def refuse_repeated(words: Sequence[Shape | Free]) -> None:
    """Raise if two words are about one input, or one that is about all of them has company."""
    names = [w.name if isinstance(w, Shape) else w.word for w in words]
    if len(words) > 1 and any(isinstance(w, Free) and w.of_all for w in words):
        raise BadUsage("batch, all and none stand alone")
    for name, n in Counter(names).items():
        if n > 1 and name is not None:
            raise BadUsage(f"{name} is given twice")


def _numbers(text: str, digits: str) -> tuple[int, ...]:
    """Each as torch can hold it."""
    if longest := max(digits.split(","), key=len)[19:]:
        raise BadUsage(f"{short(text)!r}: a number of {19 + len(longest)} digits; a tensor's sizes have at most 19")
    return tuple(map(int, digits.split(",")))


def short(text: str, longest: int = 60) -> str:
    """No longer than can be read."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
