"""Options of the command line that have a grammar of their own: shapes of inputs, and which sizes stay free."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from convfold.errors import InvalidInput


class BadUsage(InvalidInput):
    """What was typed does not parse, contradicts itself or does not fit the model it names."""


@dataclass(frozen=True)
class Shape:
    """``[name:]1,3,224,224[:float32]``: an input, to be drawn at random."""

    name: str | None
    sizes: tuple[int, ...]
    dtype: torch.dtype | None

    @classmethod
    def parse(cls, text: str) -> Shape:
        found = re.fullmatch(r"(?:([A-Za-z_]\w*):)?(\d+(?:,\d+)*)(?::(\w+))?", text.replace(" ", ""))
        sizes = tuple(map(int, found[2].split(","))) if found else ()
        if not found or 0 in sizes:
            raise BadUsage(f"{text!r}: write name:1,3,224,224 or name:1,3,224,224:float32, sizes from 1")
        dtype = getattr(torch, found[3] or "float32", None)
        if not isinstance(dtype, torch.dtype):
            raise BadUsage(f"{text!r}: {found[3]!r} is no torch type; write float32, float16, int64, …")
        return cls(found[1], sizes, dtype if found[3] else None)

    def draw(self, dtype: torch.dtype) -> Tensor:
        """Standard normal, of ``dtype`` unless this says one; integers are 0 or 1, which any embedding takes."""
        dtype = self.dtype or dtype
        generator = torch.Generator().manual_seed(0)
        try:
            if dtype.is_floating_point or dtype.is_complex:
                return torch.randn(self.sizes, generator=generator).to(dtype)
            return torch.randint(0, 2, self.sizes, generator=generator).to(dtype)
        except RuntimeError as e:
            raise InvalidInput(f"cannot make an input of shape {self.sizes}, type {dtype}: not enough memory") from e


@dataclass(frozen=True)
class Free:
    """``batch``, ``all``, ``none`` or ``name:0,2,3``: which sizes may change later."""

    word: str
    dims: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Free:
        if text in ("batch", "all", "none"):
            return cls(text)
        found = re.fullmatch(r"([A-Za-z_]\w*):(\d+(?:,\d+)*)", text.replace(" ", ""))
        if not found:
            raise BadUsage(f"{text!r}: write batch, all, none, or name:0,2,3")
        return cls(found[1], tuple(map(int, found[2].split(","))))
