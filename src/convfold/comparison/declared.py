"""At which inputs are two ONNX models compared? Drawn from what a model declares: types, and which sizes are free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd, prod
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from convfold.comparison.trials import Trial
from convfold.frontends.onnx.legal import legal
from convfold.frontends.onnx.running.spelled import tensor
from convfold.frontends.onnx.source import BEYOND, LEAST, Shapes, Source, drawn, free_places, inputs, opened

Check = Literal["quick", "full"]

#: How many times each size is tried where all is checked.
SEEDS = 3

#: How many further inputs are tried in doubt.
AGAIN = 8

#: What normal random numbers are multiplied by.
LARGE = 8

#: How many numbers of inputs are few: more than the example's are tried only then.
FEW = 1 << 18

#: What part of the example's size an odd one is: a half, or if the model does not run at that, all of it.
PARTS = (2, 1)


def declared(source: Source, check: Check, seed: int = 0) -> Iterator[list[Trial]]:
    """Trials, each with what is tried in its place where the model does not run at it.

    At an odd size of about half the example's (where sizes are free) in float64; and where all is checked also at the
    smallest, several times and of a batch of several, in float64, at twice the example's where that is little, and at
    the odd one, large numbers, and the example's in the models' own types unless in doubt.
    """
    free = free_places(source.model)
    if not free:
        yield _trials(source, "example", source.example, seed, True)
        for k in range(1, SEEDS if check == "full" else 1):
            yield _trials(source, "example", source.example, seed + k, False)
    else:
        odd, least, larger = _sizes(source, free)
        if odd is None:
            yield _trials(source, "example", source.example, seed, True)
        else:
            yield _trials(source, "odd", odd, seed, True)
        if check == "full":
            for k in range(SEEDS if least is not None else 0):
                yield _trials(source, "smallest", least or {}, seed + k, True)
            if larger is not None:
                yield _trials(source, "larger", larger, seed, True)
            if odd is not None:
                yield _trials(source, "odd", odd, seed + 2, False)
            yield _trials(source, "example", source.example, seed + 1, False)
    yield _trials(source, "example", source.example, seed + SEEDS, True, spare=True)
    yield _trials(source, "example", source.example, seed + SEEDS + 1, True, spare=True)


def again(source: Source, seed: int = 0) -> Iterator[list[Trial]]:
    """Further random inputs of the first size, where a few numbers leave doubt."""
    free = free_places(source.model)
    odd = _sizes(source, free)[0] if free else None
    for k in range(AGAIN):
        yield _trials(source, "odd" if odd else "example", odd or source.example, seed + 3 * (k + SEEDS), True)


def _sizes(
    source: Source, free: dict[str, list[tuple[str, int]]]
) -> tuple[Shapes | None, Shapes | None, Shapes | None]:
    """An odd one, the smallest, and one twice as large, of those that the model is known to run at."""
    model, steps = opened(source.original), _steps(source, free)
    odd = (
        _sized(
            source.example,
            free,
            {s: _odd(source.example, at, steps[s], i, k) for i, (s, at) in enumerate(free.items())},
        )
        for k in PARTS
    )
    batch = {s for s, ((_, axis), *_) in free.items() if axis == 0}
    every = (_sized(source.example, free, {s: k * steps[s] * (2 if s in batch else 1) for s in free}) for k in LEAST)
    within = (shapes for shapes in every if _volume(shapes) <= _volume(source.example))
    double = {s: source.example[name][axis] * (2 if axis else 1) for s, ((name, axis), *_) in free.items()}
    larger = [_sized(source.example, free, double)] if batch != set(free) else []
    few = (shapes for shapes in larger if _volume(shapes) <= FEW)
    first = [next((shapes for shapes in sizes if legal(model, shapes)), None) for sizes in (odd, within, few)]
    return first[0], first[1], first[2]


def _volume(shapes: Shapes) -> int:
    return sum(map(prod, shapes.values()))


def text(model: ir.Model) -> str:
    """What a model takes that cannot be drawn, in words."""
    for x in inputs(model):
        if not isinstance(x.type, ir.TensorType):
            return "what is no tensor"
        if x.dtype == ir.DataType.STRING:
            return "text"
    return ""


def _trials(source: Source, what: str, shapes: Shapes, seed: int, exact: bool, spare: bool = False) -> list[Trial]:
    name = f"{what} {' '.join('x'.join(map(str, s)) for s in shapes.values())}"
    return [
        Trial(name, (tuple(map(tensor, given.values())), {}), exact, spare=spare)
        for given in _values(source, shapes, seed)
    ]


def _values(source: Source, shapes: Shapes, seed: int) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """From a normal distribution, between 0 and 1, and large; whole numbers small, if they are refused all 1, or all 0.

    Large ones reach what is never positive for others.
    """
    given = drawn(source.model, shapes, seed)
    given = {name: _varied(x, seed % 3) if _real(x) else x for name, x in given.items()}
    yield given
    if not all(map(_real, given.values())):
        for n in (1, 0):
            yield {name: x if _real(x) else np.full_like(x, n) for name, x in given.items()}


def _varied(x: np.ndarray[Any, Any], how: int) -> np.ndarray[Any, Any]:
    return x if how == 0 else (np.abs(np.remainder(x, 1)) if how == 1 else x * LARGE).astype(x.dtype)


def _real(x: np.ndarray[Any, Any]) -> bool:
    return bool(x.dtype.kind == "f") or x.dtype.name == "bfloat16"


def _steps(source: Source, free: dict[str, list[tuple[str, int]]]) -> dict[str, int]:
    """What all sizes the model was found to run at are multiples of; of a batch 1."""
    found = {}
    for symbol, at in free.items():
        name, axis = at[0]
        sizes = [shapes[name][axis] for shapes in source.tried[1 : 1 + len(BEYOND)]]
        found[symbol] = gcd(*sizes) if axis else 1
    return found


def _odd(example: Shapes, at: Sequence[tuple[str, int]], step: int, i: int, part: int) -> int:
    """Of a map that part of the example's size or a little more; no two sizes are the same."""
    name, axis = at[0]
    if axis == 0:
        return 1
    return (max(example[name][axis] // step // part | 1, 3) + 2 * i) * step


def _sized(example: Shapes, free: dict[str, list[tuple[str, int]]], sizes: dict[str, int]) -> Shapes:
    found = {name: list(shape) for name, shape in example.items()}
    for symbol, at in free.items():
        for name, axis in at:
            found[name][axis] = sizes[symbol]
    return {name: tuple(shape) for name, shape in found.items()}
