"""Patches as columns, and columns added up where they overlap: aten im2col, col2im (``F.unfold``, ``F.fold``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from convfold.algebra import window as axis
from convfold.algebra.convolution import Convolution
from convfold.algebra.layout import Layout
from convfold.algebra.realisation import OwnCall
from convfold.errors import NotFoldable
from convfold.layers.examples import Draw, Example, each, example
from convfold.layers.spelling import Call, Convolved, Step, Value, aten

#: Kernels of more numbers are none: nearly all of them are zeros.
LARGEST = 1 << 22


def columns(channels: int, taps: Sequence[int]) -> Tensor:
    """(channels · ∏taps, 1, *taps): output c·∏taps + t is tap t of channel c."""
    many = prod(taps)
    if channels * many**2 > LARGEST:
        raise NotFoldable("too-large", f"patches of {many} positions in {channels} channels")
    return torch.eye(many, dtype=torch.float64).reshape(many, 1, *taps).repeat(channels, *(1,) * (1 + len(taps)))


@aten("im2col.default")
def read(call: Call) -> Step:
    """A one-hot convolution in C groups, and the positions as one axis."""
    x = call["self"]
    taps, channels = call.numbers("kernel_size"), _channels(x, 4)
    stride, pad, dilation = (call.numbers(name) for name in ("stride", "padding", "dilation"))
    op = Convolution(columns(channels, taps), None, channels, stride=stride, padding=pad, dilation=dilation)
    space = op.geometry.size(x.shape[2:])
    apart = replace(x.signal, shape=(x.shape[0], op.c_out, *space))
    patches = Step(Convolved(op, 1, OwnCall(gives=(op.c_out, *space))), (x,), apart)
    return Step(_view(x, (op.c_out, *space), (op.c_out, prod(space))), (patches,))


@aten("col2im.default")
def read_back(call: Call) -> Step:
    """Its transpose: the positions as two axes, and a one-hot transposed convolution in C groups."""
    x = call["self"]
    taps, many = call.numbers("kernel_size"), _channels(x, 3)
    channels = many // prod(taps)
    size, stride, pad, dilation = (call.numbers(n) for n in ("output_size", "stride", "padding", "dilation"))
    reach = [d * (t - 1) + 1 for d, t in zip(dilation, taps, strict=True)]
    space = [(n + 2 * p - r) // s + 1 for n, p, r, s in zip(size, pad, reach, stride, strict=True)]
    extra = [n + 2 * p - r - (m - 1) * s for n, p, r, m, s in zip(size, pad, reach, space, stride, strict=True)]
    windows = tuple(axis.transposed(*n) for n in zip(taps, stride, dilation, pad, extra, strict=True))
    kernel = columns(channels, taps).flip(2, 3)  # of output c, by its taps: in one group a channel
    op = Convolution(kernel.reshape(channels, prod(taps), *taps), groups=channels, windows=windows)
    apart = replace(x.signal, shape=(x.shape[0], many, *space))
    patches = Step(_view(x, (many, prod(space)), (many, *space)), (x,), apart)
    return Step(Convolved(op, 1, OwnCall(takes=(many, prod(space)))), (patches,))


def _channels(x: Value, dim: int) -> int:
    if x.dim != dim or not all(map(x.is_fixed, range(1, dim))):
        raise NotFoldable("not-affine", "one signal without a batch, or of sizes that are free")
    return x.shape[1]


def _view(x: Value, before: Sequence[int], after: Sequence[int]) -> Layout:
    """Between shapes behind the batch, which may be free."""
    batch = x.shape[0] if x.is_fixed(0) else -1
    return Layout.own((x.symbols[0], *before), (x.symbols[0], *after), (batch, *after))


@example("im2col.default")
def drawn(draw: Draw, spelling: str) -> Example:
    n, c, height, width = each(draw, 4, 1, 3)
    taps, stride, dilation, pad = ([draw.integer(low, 2) for _ in range(2)] for low in (1, 1, 1, 0))
    x = draw.signal(n, c, height + 2, width + 2)
    if draw.integer(0, 4) == 4:
        return Example((x[0], taps, dilation, pad, stride), refused="not-affine")
    return Example((x, taps, dilation, pad, stride))


@example("col2im.default")
def drawn_back(draw: Draw, spelling: str) -> Example:
    n, c = each(draw, 2, 1, 3)
    taps, stride, dilation, pad = ([draw.integer(low, 2) for _ in range(2)] for low in (1, 1, 1, 0))
    size = [draw.integer(5, 7) for _ in range(2)]
    reach = [d * (t - 1) + 1 for d, t in zip(dilation, taps, strict=True)]
    space = [(m + 2 * p - r) // s + 1 for m, p, r, s in zip(size, pad, reach, stride, strict=True)]
    x = draw.signal(n, c * prod(taps), prod(space))
    if draw.integer(0, 4) == 4:
        return Example((x[0], size, taps, dilation, pad, stride), refused="not-affine")
    return Example((x, size, taps, dilation, pad, stride))
