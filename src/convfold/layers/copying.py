"""Pads with copies of the data: nn.ConvNd with another padding_mode, nn.ReflectionPad, ReplicationPad, CircularPad.

Such a pad is no convolution, but a chain may still be one behind it: where it comes first and nothing is padded after,
and where every pad is circular, for what is periodic stays so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convfold.algebra import series
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.layers import convolution
from convfold.layers.examples import Draw, ModuleExample, dims_of, each, flag, module_example, space
from convfold.layers.known import module
from convfold.layers.links import Link
from convfold.layers.module import CONV, filled
from convfold.layers.padding import zero_padding
from convfold.layers.spelling import known_channels

_PADS: dict[str, tuple[type[Any], ...]] = {
    "reflect": (nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
    "replicate": (nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
    "circular": (nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d),
}


@module(*(kind for kinds in _PADS.values() for kind in kinds))
def of_pad(m: Any, channels: int | None = None, dims: int | None = None) -> Link:
    mode = next(name for name, kinds in _PADS.items() if isinstance(m, kinds))
    return pad(known_channels(m, channels), m.padding, mode, len(m.padding) // 2)


def pad(channels: int, pads: Sequence[int], mode: str, dims: int) -> Link:
    """A pad by itself, as F.pad takes it."""
    return Link(((zero_padding(channels, pads, dims),),), mode if any(pads) else None)


def joined(values: Sequence[Convolution], modes: Sequence[str | None]) -> tuple[list[Convolution], str | None]:
    """The chain, and the mode of the one pad it is all behind; None where nothing copies.

    Raises:
        NotFoldable: ``padding-mode``, where the chain is no convolution behind one pad.
    """
    steps: list[tuple[Convolution, str | None]] = []
    for value, mode in zip(values, modes, strict=True):
        alone = steps and steps[-1][1] is not None and all(w.taps == 1 for w in steps[-1][0].windows)
        if alone and mode is None and not any(w.lo > 0 or w.hi > 0 or w.upsample > 1 for w in value.windows):
            pad, before = steps.pop()  # a pad by itself belongs to what follows it
            steps.append((series.series(value, pad, endless=True), before))
        else:
            steps.append((value, mode))
    used = [i for i, (_, mode) in enumerate(steps) if mode is not None]
    kinds = sorted({mode for _, mode in steps if mode is not None})
    if not used:
        return list(values), None
    if len(kinds) > 1 or (len(used) > 1 and kinds != ["circular"]):
        raise NotFoldable("padding-mode", f"padding with copies more than once: {', '.join(kinds)}")
    (mode,) = kinds
    for i, (value, own) in enumerate(steps):
        if i > used[-1]:
            if any(w.lo or w.hi or w.upsample > 1 for w in value.windows):
                raise NotFoldable("padding-mode", f"padding_mode={mode!r} comes first and zeros are padded after it")
        elif own is None and not value.geometry.pointwise:
            raise NotFoldable("padding-mode", f"a layer before padding_mode={mode!r} reads neighbours")
        elif i < used[-1] and any(w.stride > 1 or w.slack for w in value.windows):
            raise NotFoldable("padding-mode", "what is circular does not stay so: its size changes")
    return [value for value, _ in steps], mode


class _Wrapping:
    """A circular convolution on signals shorter than its padding too, which goes round them several times then."""

    _reversed_padding_repeated_twice: list[int]

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        pads = self._reversed_padding_repeated_twice  # (lo, hi) from the last axis to the first, as F.pad takes them
        if torch.compiler.is_compiling() or all(
            max(pads[2 * i : 2 * i + 2]) <= x.shape[-1 - i] for i in range(len(pads) // 2)
        ):
            return super()._conv_forward(x, weight, bias)  # type: ignore[misc, no-any-return]
        y = _wrapped(x, pads)
        functions = (F.conv1d, F.conv2d, F.conv3d)
        f = functions[len(pads) // 2 - 1]
        return f(y, weight, bias, self.stride, 0, self.dilation, self.groups)  # type: ignore[attr-defined]


class CircularConv1d(_Wrapping, nn.Conv1d): ...


class CircularConv2d(_Wrapping, nn.Conv2d): ...


class CircularConv3d(_Wrapping, nn.Conv3d): ...


module(CircularConv1d, CircularConv2d, CircularConv3d)(convolution.of_module)

_CIRCULAR: dict[int, type[nn.Module]] = {1: CircularConv1d, 2: CircularConv2d, 3: CircularConv3d}


class Wrap(nn.Module):
    """Circular padding by any amount; ``pads`` as F.pad takes them."""

    def __init__(self, pads: Sequence[int]) -> None:
        super().__init__()
        self.pads = tuple(pads)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *space) → (N, C, *(lo + n + hi))"""
        return _wrapped(x, self.pads)

    def extra_repr(self) -> str:
        return f"{self.pads}"


@module(Wrap)
def of_wrap(m: Wrap, channels: int | None = None, dims: int | None = None) -> Link:
    return pad(known_channels(m, channels), m.pads, "circular", len(m.pads) // 2)


def _wrapped(x: Tensor, pads: Sequence[int]) -> Tensor:
    for i, (lo, hi) in enumerate(zip(pads[::2], pads[1::2], strict=True), start=1):
        n = x.shape[-i]
        x = x.index_select(-i, torch.arange(-lo, n + hi, device=x.device) % n)
    return x


def to_module(value: Convolution, mode: str, attached: bool) -> nn.Module:
    """The convolution behind one pad: with that padding_mode, or after a pad where its ends differ."""
    pairs = [(w.lo, w.hi) for w in value.windows]
    if min(min(pair) for pair in pairs) < 0:
        raise NotFoldable("padding-mode", f"padding_mode={mode!r} and a crop")
    if all(lo == hi for lo, hi in pairs):
        kind: Any = (_CIRCULAR if mode == "circular" else CONV)[value.dims]
        layer = kind(
            value.c_in,
            value.c_out,
            tuple(w.taps for w in value.windows),
            tuple(w.stride for w in value.windows),
            tuple(lo for lo, _ in pairs),
            tuple(w.dilation for w in value.windows),
            value.groups,
            padding_mode=mode,
            device="meta",
            dtype=value.kernel.dtype,
        )
        return filled(layer, value.kernel, value.bias, attached)
    plain = tuple(Window(w.taps, w.stride, w.upsample, w.dilation) for w in value.windows)
    inner = Convolution(value.kernel, value.bias, value.groups, plain).to_module(attached)
    flat = tuple(n for pair in reversed(pairs) for n in pair)
    return nn.Sequential(Wrap(flat) if mode == "circular" else _PADS[mode][len(pairs) - 1](flat), inner)


@module_example(*(kind for kinds in _PADS.values() for kind in kinds), Wrap)
def drawn(draw: Draw, cls: Any) -> ModuleExample:
    """A pad copies no more than there is; `Wrap` goes round as often as it takes."""
    dims, most = (draw.integer(1, 3), 5) if cls is Wrap else (dims_of(cls), 3)
    space = each(draw, dims, 1 if cls is Wrap else 4, 6)
    pads = each(draw, 2 * dims, 0, most)
    x = draw.signal(draw.integer(1, 2), draw.integer(1, 3), *space)
    return ModuleExample(cls(pads), x, "padding-mode" if any(pads) else None)


@module_example(*_CIRCULAR.values())
def drawn_wrapping(draw: Draw, cls: Any) -> ModuleExample:
    """On signals shorter than the padding too."""
    dims, c = dims_of(cls), draw.integer(1, 3)
    taps, padding = each(draw, dims, 1, 3), each(draw, dims, 1, 4)
    m = cls(c, draw.integer(1, 3), taps, draw.integer(1, 2), padding, bias=flag(draw), padding_mode="circular")
    return ModuleExample(m, draw.signal(draw.integer(1, 2), c, *space(draw, dims)), "padding-mode")
