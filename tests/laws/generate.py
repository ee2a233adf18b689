"""Random operators: one generator, driven by Hypothesis (which shrinks) or by a seed (which is fast)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor

from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from tests.laws.oracle import CONV, CONV_TRANSPOSE, applied

T = TypeVar("T")


class Chooser(Protocol):
    """Where choices come from. The first option and the smallest integer are the simplest."""

    def pick(self, options: Sequence[T]) -> T: ...
    def integer(self, low: int, high: int) -> int: ...


@dataclass
class Seeded:
    rng: random.Random

    @classmethod
    def of(cls, seed: int) -> Seeded:
        return cls(random.Random(seed))

    def pick(self, options: Sequence[T]) -> T:
        return self.rng.choice(options)

    def integer(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)


@dataclass
class Drawn:
    draw: Callable[..., Any]

    def pick(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))


@dataclass(frozen=True)
class Layer:
    """A value of the algebra and the torch operation it claims to be."""

    value: Convolution
    torch: Callable[[Tensor], Tensor]
    text: str

    def __repr__(self) -> str:
        return self.text


def numbers(c: Chooser, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(c.integer(0, 2**31 - 1))
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def bias(c: Chooser, channels: int, period: Sequence[int] = ()) -> Tensor | None:
    return numbers(c, channels, *period) if c.pick([False, True]) else None


def channels(c: Chooser, c_in: int | None) -> tuple[int, int, int]:
    """(c_out, c_in, groups); given c_in, groups divide it."""
    if c_in is None:
        groups = c.pick([1, 1, 2, 3, 4])
        return (
            groups * c.integer(1, 3 if groups == 1 else 2),
            groups * c.integer(1, 4 if groups == 1 else 2),
            groups,
        )
    groups = c.pick([g for g in range(1, c_in + 1) if c_in % g == 0])
    return groups * c.integer(1, 3 if groups < 3 else 2), c_in, groups


def window(c: Chooser, taps: int = 4) -> Window:
    """Any window, pads asymmetric and negative too."""
    return Window(
        c.integer(1, taps),
        c.integer(1, 3),
        c.integer(1, 3),
        c.integer(1, 3),
        c.integer(-2, 4),
        c.integer(-2, 4),
    )


def convolution(c: Chooser, dims: int, c_in: int | None = None, windows: Sequence[Window] | None = None) -> Layer:
    """Any convolution, its bias None, constant or periodic; its torch spelling is the oracle's."""
    c_out, c_in, groups = channels(c, c_in)
    if windows is None:
        windows = [window(c, 4 if dims < 3 else 3) for _ in range(dims)]
    kernel = numbers(c, c_out, c_in // groups, *(w.taps for w in windows))
    period = tuple(c.integer(1, 3) for _ in windows) if c.pick([False, False, True]) else ()
    value = Convolution(kernel, bias(c, c_out, period), groups, tuple(windows))
    return Layer(value, lambda x: applied(value, x), repr(value))


def conv(
    c: Chooser,
    dims: int,
    c_in: int | None = None,
    *,
    padding: str = "any",
    biased: bool | None = None,
    pointwise: bool = False,
    stride: int = 3,
) -> Layer:
    """F.convNd with random parameters, translated by hand. ``padding``: any, none, full (d·(T−1)) or more."""
    c_out, c_in, groups = channels(c, c_in)
    k = tuple(1 if pointwise else c.integer(1, 4 if dims < 3 else 3) for _ in range(dims))
    s = tuple(c.integer(1, stride) for _ in range(dims))
    d = tuple(c.integer(1, 3) for _ in range(dims))
    reach = tuple(b * (a - 1) for a, b in zip(k, d, strict=True))
    p = tuple({"none": 0, "full": r + c.integer(0, 1), "any": c.integer(0, 3)}[padding] for r in reach)
    weight = numbers(c, c_out, c_in // groups, *k)
    b = bias(c, c_out) if biased is None else numbers(c, c_out) if biased else None
    value = Convolution(weight, b, groups, tuple(Window(*a) for a in zip(k, s, (1,) * dims, d, p, p, strict=True)))
    return Layer(
        value,
        lambda x: CONV[dims](x, weight, b, s, p, d, groups),
        f"conv{dims}d({c_in}→{c_out}, k={k}, s={s}, p={p}, d={d}, groups={groups}, bias={b is not None})",
    )


def conv_transpose(
    c: Chooser,
    dims: int,
    c_in: int | None = None,
    *,
    padding: str = "any",
    biased: bool | None = None,
    stride: int = 3,
) -> Layer:
    """F.conv_transposeNd with random parameters, translated by hand. ``padding``: any or none."""
    c_out, c_in, groups = channels(c, c_in)
    k = tuple(c.integer(1, 4 if dims < 3 else 3) for _ in range(dims))
    s = tuple(c.integer(1, stride) for _ in range(dims))
    d = tuple(c.integer(1, 2) for _ in range(dims))
    p = tuple(c.integer(0, 2) if padding == "any" else 0 for _ in range(dims))
    q = tuple(c.integer(0, max(a, b) - 1) for a, b in zip(s, d, strict=True))
    weight = numbers(c, c_in, c_out // groups, *k)
    b = bias(c, c_out) if biased is None else numbers(c, c_out) if biased else None
    kernel = torch.cat([w.transpose(0, 1) for w in weight.chunk(groups)]).flip(tuple(range(2, dims + 2)))
    windows = []
    for k1, s1, d1, p1, q1 in zip(k, s, d, p, q, strict=True):
        reach = d1 * (k1 - 1)
        windows.append(Window(k1, 1, s1, d1, reach - p1, reach - p1 + q1))
    value = Convolution(kernel, b, groups, tuple(windows))
    return Layer(
        value,
        lambda x: CONV_TRANSPOSE[dims](x, weight, b, s, p, q, groups, d),
        f"conv_transpose{dims}d({c_in}→{c_out}, k={k}, s={s}, p={p}, q={q}, d={d}, groups={groups}, "
        f"bias={b is not None})",
    )


def sizes_of(layers: Sequence[Layer], space: Sequence[int]) -> list[tuple[int, ...]]:
    """Output sizes after each layer; raises ValueError where torch would, for want of positions."""
    sizes = []
    for layer in layers:
        out = []
        for n, w in zip(space, layer.value.windows, strict=True):
            length = (n - 1) * w.upsample + 1 + w.lo + w.hi
            if length < 1 + w.dilation * (w.taps - 1):
                raise ValueError(f"{n} positions are too few for {layer}")
            out.append((length - 1 - w.dilation * (w.taps - 1)) // w.stride + 1)
        space = tuple(out)
        sizes.append(space)
    return sizes


def legal_spaces(layers: Sequence[Layer], among: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Those input sizes at which no signal in the chain is empty."""
    kept = []
    for space in among:
        try:
            sizes_of(layers, space)
        except ValueError:
            continue
        kept.append(tuple(space))
    return kept


def in_turn(layers: Sequence[Layer]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer.torch(x)
        return x

    return run


@st.composite
def layers(draw: Callable[..., Any], make: Callable[..., Layer], *args: Any, **options: Any) -> Layer:
    """A strategy of what ``make(chooser, *args, **options)`` gives."""
    return make(Drawn(draw), *args, **options)


@st.composite
def any_layer(draw: Callable[..., Any], dims: int | None = None, c_in: int | None = None) -> Layer:
    """Any convolution by its windows, or as F.convNd or F.conv_transposeNd spells it, in 0 … 3 D."""
    c = Drawn(draw)
    if dims is None:
        dims = c.pick([1, 2, 0, 3])
    makers: list[Callable[..., Layer]] = [conv, conv_transpose, convolution]
    make = c.pick(makers) if dims else convolution
    return make(c, dims, c_in)


def spaces(dims: int, low: int = 1, high: int | None = None) -> st.SearchStrategy[tuple[int, ...]]:
    """Sizes of the space axes, small enough to read a matrix off."""
    top = high or {0: 1, 1: 14, 2: 7, 3: 4}[dims]
    return st.tuples(*[st.integers(low, top)] * dims)
