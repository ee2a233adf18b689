"""What did a model return? Its tensors and numbers as one list, each with its place and in a form to compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

NO_TENSOR = "no tensor"


@dataclass(frozen=True)
class Output:
    """``value`` holds real numbers, whole numbers or truth values; None for text and other objects."""

    place: str
    kind: str  # "float32 (2, 3)", "float", "str"
    value: Tensor | None
    unit: float | None = None  # one in the last place of its floating-point type; None for whole numbers
    coarsest: float = 0.0  # the same of the narrowest type that went into it
    text: str = ""  # of what is no number
    why: str = NO_TENSOR  # there is no value
    proves: bool = True  # not so a whole number that is no tensor: it may be a constant of the program's

    @property
    def drowned(self) -> float:
        """What is off by more than this proves nothing by being within twice that: the root of a unit."""
        return sqrt(max(self.unit or 0.0, self.coarsest))


def outputs(returned: Any, apart: Callable[[Tensor], Tensor], coarsest: float = 0.0) -> list[Output]:
    """Every leaf of nested containers, dataclasses among them; tensors as ``apart`` of them."""
    leaves, _ = pytree.tree_flatten_with_path(pytree.tree_map(_opened, returned))
    found = [_output(pytree.keystr(path), apart(x) if isinstance(x, Tensor) else x) for path, x in leaves]
    return [replace(y, coarsest=coarsest) for y in found]


def paired(first: list[Output], second: list[Output]) -> list[Output]:
    """The second in the order of the first: by place where they have the same places."""
    places = {y.place: y for y in second}
    if len(places) == len(first) == len(second) and all(y.place in places for y in first):
        return [places[y.place] for y in first]
    return second


def _opened(x: Any) -> Any:
    """A dataclass that is no registered container is a leaf to torch: a dictionary of its fields."""
    if is_dataclass(x) and not isinstance(x, type):
        return {f.name: pytree.tree_map(_opened, getattr(x, f.name)) for f in fields(x)}
    return x


def _output(place: str, x: Any) -> Output:
    kind = type(x).__name__
    match x:
        case Tensor():
            kind = f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
            if x.device.type == "meta":
                return Output(place, kind, None, why="without values (meta)")
            return Output(place, kind, _real(x), _unit(x.dtype))
        case bool() | int():
            return Output(place, kind, torch.tensor(x), proves=False)
        case float() | complex():  # computed by tensors of float32, as likely as not
            value = torch.tensor(x, dtype=torch.float64 if isinstance(x, float) else torch.complex128)
            return Output(place, kind, _real(value), _unit(torch.float32))
        case str() | bytes():
            return Output(place, kind, None, text=repr(x), proves=False)
    return Output(place, kind, None, proves=False)


def _real(x: Tensor) -> Tensor:
    """Plain numbers: complex ones as pairs."""
    if x.is_quantized:
        x = x.dequantize()
    if x.layout is not torch.strided and not x.is_nested:
        x = x.to_dense()
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else _endless(x)


def _endless(x: Tensor) -> Tensor:
    """The largest number of a type, which masks are filled with, stands for infinity: of a wider type it is another.

    In float64 that of float32 does, too: a program that was exported in it keeps it as a constant.
    """
    if x.is_nested or x.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return x
    size = x.abs()
    ends = size == torch.finfo(x.dtype).max
    if x.dtype == torch.float64:
        ends |= size == torch.finfo(torch.float32).max
    return torch.where(ends, x.sign() * torch.inf, x) if bool(ends.any()) else x


def _unit(dtype: torch.dtype) -> float | None:
    return torch.finfo(dtype).eps if dtype.is_floating_point or dtype.is_complex else None
