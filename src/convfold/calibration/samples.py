"""Calls of every kind at sizes that networks have, drawn at random: what a target is fitted to, and tried on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import exp, log
from typing import Any

#: Of a sample no more multiply-adds and numbers than this: a call of milliseconds.
MACS, NUMBERS = 1 << 28, 1 << 23

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """One call: what it is (`as_torch`, `as_onnx` write it), the shapes it takes, and its other arguments."""

    call: str
    shapes: tuple[Shape, ...]
    given: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.given.items())
        return f"{self.call}({' + '.join('×'.join(map(str, s)) for s in self.shapes)}{', ' + given if given else ''})"


def drawn(kind: str, count: int, seed: int) -> Iterator[Sample]:
    """So many of a kind; the same for the same seed."""
    rng = random.Random(f"{kind} {seed}")
    found = 0
    while found < count:
        sample, macs, numbers = KINDS[kind](rng)
        if macs <= MACS and numbers <= NUMBERS:
            found += 1
            yield sample


Drawn = tuple[Sample, int, int]


def _size(rng: random.Random, least: int, most: int, step: int = 1) -> int:
    """Small ones as often as large ones, a multiple of ``step``."""
    n = exp(rng.uniform(log(least), log(most)))
    return max(step, round(n / step) * step)


def _channels(rng: random.Random, most: int = 512) -> int:
    return rng.choice((1, 3, _size(rng, 4, 32, 4))) if rng.random() < 0.25 else _size(rng, 8, most, 8)


def _maps(rng: random.Random, channels: int, most: int = 160) -> Shape:
    n = _size(rng, 7, most)
    return (rng.choice((1, 1, 1, 4)), channels, n, n if rng.random() < 0.7 else _size(rng, 7, most))


def _convolution(rng: random.Random, taps: int, groups: int, c_in: int, c_out: int, stride: int) -> Drawn:
    shape = _maps(rng, c_in)
    out = shape[0] * c_out * (shape[2] // stride) * (shape[3] // stride)
    given = {"c_out": c_out, "taps": taps, "stride": stride, "groups": groups}
    macs = out * (c_in // groups) * taps * taps
    return Sample("convolution", (shape,), given), macs, out + shape[0] * c_in * shape[2] * shape[3]


def _dense(rng: random.Random) -> Drawn:
    return _convolution(
        rng, rng.choice((2, 3, 3, 3, 5, 7)), 1, _channels(rng), _channels(rng), rng.choice((1, 1, 1, 2))
    )


def _pointwise(rng: random.Random) -> Drawn:
    return _convolution(rng, 1, 1, _channels(rng), _channels(rng), rng.choice((1, 1, 1, 1, 2)))


def _grouped(rng: random.Random) -> Drawn:
    groups = rng.choice((2, 4, 8, 32))
    c_in, c_out = (groups * rng.choice((1, 2, 4, 8, 16, 32)) for _ in range(2))
    c_out *= 2 if c_in == c_out == groups else 1
    return _convolution(rng, rng.choice((1, 3, 3, 5)), groups, c_in, c_out, rng.choice((1, 1, 2)))


def _depthwise(rng: random.Random) -> Drawn:
    c = _size(rng, 8, 512, 8)
    return _convolution(rng, rng.choice((3, 3, 3, 5, 7)), c, c, c, rng.choice((1, 1, 2)))


def _transposed(rng: random.Random) -> Drawn:
    c_in, c_out, stride = _channels(rng, 256), _channels(rng, 128), rng.choice((2, 2, 2, 4))
    taps = stride * rng.choice((1, 2)) + rng.choice((0, 0, 1))
    shape = _maps(rng, c_in, 64)
    positions = shape[0] * shape[2] * shape[3]
    given = {"c_out": c_out, "taps": taps, "stride": stride}
    sample = Sample("transposed", (shape,), given)
    return sample, positions * c_in * c_out * taps * taps, positions * (c_in + c_out * stride * stride)


def _product(rng: random.Random) -> Drawn:
    rows, c_in, c_out = _size(rng, 1, 4096), _channels(rng, 1024), _channels(rng, 1024)
    shape = (rows, c_in) if rng.random() < 0.3 else (rng.choice((1, 4)), rows, c_in)
    rows *= shape[0] if len(shape) == 3 else 1
    return Sample("product", (shape,), {"c_out": c_out}), rows * c_in * c_out, rows * (c_in + c_out)


def _simple(call: str, **choices: tuple[Any, ...]) -> Callable[[random.Random], Drawn]:
    """A call on one signal, each argument one of these."""

    def draw(rng: random.Random) -> Drawn:
        shape = _maps(rng, _channels(rng))
        given = {name: rng.choice(values) for name, values in choices.items()}
        growth = given.get("rate", 1) ** 2
        return Sample(call, (shape,), given), 0, shape[0] * shape[1] * shape[2] * shape[3] * (1 + growth)

    return draw


def _sum(rng: random.Random) -> Drawn:
    shape = _maps(rng, _channels(rng))
    return Sample("sum", (shape, shape)), 0, 3 * shape[0] * shape[1] * shape[2] * shape[3]


def _copy(rng: random.Random) -> Drawn:
    if rng.random() < 0.5:
        return _simple("pad", amount=(1, 1, 2, 3))(rng)
    first = _maps(rng, _channels(rng))
    second = (first[0], _channels(rng), *first[2:])
    numbers = first[0] * first[2] * first[3] * (first[1] + second[1])
    return Sample("concat", (first, second)), 0, 2 * numbers


#: Every kind of call that a target has prices for.
KINDS: dict[str, Callable[[random.Random], Drawn]] = {
    "dense": _dense,
    "pointwise": _pointwise,
    "grouped": _grouped,
    "depthwise": _depthwise,
    "transposed": _transposed,
    "product": _product,
    "scale": _simple("scale"),
    "sum": _sum,
    "copy": _copy,
    "view": _simple("view"),
    "permute": _simple("permute"),
    "slice": _simple("slice", step=(1, 1, 2)),
    "gather": _simple("gather"),
    "pool": _simple("pool", taps=(2, 3, 4)),
    "nearest": _simple("resize", mode=("nearest",), rate=(2, 2, 4)),
    "linear": _simple("resize", mode=("bilinear",), rate=(2, 2, 4)),
    "cubic": _simple("resize", mode=("bicubic",), rate=(2,)),
}
