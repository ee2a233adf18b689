"""Pixel shuffle, unshuffle and channel shuffle: nn.PixelShuffle, PixelUnshuffle, ChannelShuffle; their aten calls; ONNX
DepthToSpace, SpaceToDepth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import OwnCall
from convfold.algebra.shuffle import shuffled, unshuffled
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    ModuleExample,
    OnnxExample,
    each,
    example,
    module_example,
    onnx_example,
    opset,
    space,
)
from convfold.layers.known import module
from convfold.layers.spelling import Call, Convolved, Step, aten, known_channels, onnx


def pixel_shuffle(channels: int, r: int) -> Convolution:
    """(C, H, W) → (C/r², rH, rW): a one-hot transposed convolution, stride r, in C/r² groups.

    Phase (i, j) of output channel c is input channel c·r² + i·r + j. Kernel: (C/r², r², r, r), flipped.
    """
    return shuffled(channels // r**2, (r, r))


def pixel_unshuffle(channels: int, r: int) -> Convolution:
    """(C, rH, rW) → (C·r², H, W): a one-hot convolution, stride r, in C groups. Kernel: (C·r², 1, r, r)."""
    return unshuffled(channels, (r, r))


def channel_shuffle(channels: int, groups: int) -> Convolution:
    """A permutation of the channels: output i·g + j is input j·(C/g) + i. One group: any output may read any input."""
    order = torch.arange(channels).reshape(groups, -1).t().flatten()
    return Convolution(torch.eye(channels, dtype=torch.float64)[order])


def _maps(call: Call, r: int, op: Convolution) -> Step:
    x = call["self"]
    if x.dim < 3:
        raise NotFoldable("not-affine", "a shuffle of fewer than three axes")
    return Step(Convolved(op, x.dim - 1 - op.dims, OwnCall()), (x,))


@aten("pixel_shuffle.default")
def read_shuffle(call: Call) -> Step:
    r = call["upscale_factor"]
    return _maps(call, r, pixel_shuffle(call["self"].shape[-3], r))


@aten("pixel_unshuffle.default")
def read_unshuffle(call: Call) -> Step:
    r = call["downscale_factor"]
    if any(n is not None and n % r for n in call["self"].signal.known(call["self"].dim - 3, 2)):
        raise NotFoldable("not-affine", "a size that the factor does not divide")
    return _maps(call, r, pixel_unshuffle(call["self"].shape[-3], r))


@aten("channel_shuffle.default")
def read_channels(call: Call) -> Step:
    return Step(Convolved(channel_shuffle(call["self"].shape[1], call["groups"]), 1, OwnCall()), (call["self"],))


@onnx("DepthToSpace")
def read_onnx(call: Call) -> Step:
    """CRD is the order of torch; of DCR, and before opset 11, the phases come first: channel p·(C/r²) + c."""
    x, r = call["input"], call["blocksize"]
    op = pixel_shuffle(x.shape[1], r)
    if call["mode"] != "CRD":
        op = op @ Convolution(_phases_last(x.shape[1], r))
    return Step(Convolved(op, 1, OwnCall()), (x,))


@onnx("SpaceToDepth")
def read_onnx_depth(call: Call) -> Step:
    """The phases come first: the other way round than in torch."""
    x, r = call["input"], call["blocksize"]
    if any(n is not None and n % r for n in x.signal.known(1, 2)):
        raise NotFoldable("not-affine", "a size that the factor does not divide")
    op = Convolution(_phases_last(x.shape[1] * r * r, r).t()) @ pixel_unshuffle(x.shape[1], r)
    return Step(Convolved(op, 1, OwnCall()), (x,))


def _phases_last(channels: int, r: int) -> Tensor:
    """(C, C): channel c·r² + p of the result is channel p·(C/r²) + c."""
    order = torch.arange(channels).reshape(r * r, -1).t().flatten()
    return torch.eye(channels, dtype=torch.float64)[order]


@module(nn.PixelShuffle)
def of_shuffle(m: nn.PixelShuffle, channels: int | None = None, dims: int | None = None) -> Convolution:
    return pixel_shuffle(known_channels(m, channels), m.upscale_factor)


@module(nn.PixelUnshuffle)
def of_unshuffle(m: nn.PixelUnshuffle, channels: int | None = None, dims: int | None = None) -> Convolution:
    return pixel_unshuffle(known_channels(m, channels), m.downscale_factor)


@module(nn.ChannelShuffle)
def of_channels(m: nn.ChannelShuffle, channels: int | None = None, dims: int | None = None) -> Convolution:
    return channel_shuffle(known_channels(m, channels), m.groups)


@example("pixel_shuffle.default", "pixel_unshuffle.default")
def drawn(draw: Draw, spelling: str) -> Example:
    r, c, (h, w) = draw.integer(1, 3), draw.integer(1, 3), each(draw, 2, 1, 4)
    before = draw.pick(((2,), (1,), (), (2, 2)))
    whole = (c * r * r, h, w) if "unshuffle" not in spelling else (c, r * h, r * w)
    return Example((draw.signal(*before, *whole), r))


@example("channel_shuffle.default")
def drawn_channels(draw: Draw, spelling: str) -> Example:
    groups = draw.integer(1, 3)
    c = groups * draw.integer(1, 3)
    return Example((draw.signal(draw.integer(1, 2), c, *space(draw, draw.integer(1, 3))), groups))


@module_example(nn.PixelShuffle, nn.PixelUnshuffle)
def drawn_module(draw: Draw, cls: Any) -> ModuleExample:
    r, c, (h, w) = draw.integer(1, 3), draw.integer(1, 3), each(draw, 2, 1, 4)
    whole = (c * r * r, h, w) if cls is nn.PixelShuffle else (c, r * h, r * w)
    return ModuleExample(cls(r), draw.signal(draw.integer(1, 2), *whole))


@module_example(nn.ChannelShuffle)
def drawn_shuffle(draw: Draw, cls: Any) -> ModuleExample:
    groups = draw.integer(1, 3)
    c = groups * draw.integer(1, 3)
    return ModuleExample(cls(groups), draw.signal(draw.integer(1, 2), c, *space(draw, draw.integer(1, 3))))


@onnx_example("DepthToSpace", "SpaceToDepth")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    r, c, (h, w), version = draw.integer(1, 3), draw.integer(1, 3), each(draw, 2, 1, 4), opset(draw)
    n, how = draw.integer(1, 2), {"blocksize": r}
    if spelling == "SpaceToDepth":
        return OnnxExample((draw.signal(n, c, r * h, r * w),), how, opset=version)
    mode = {"mode": draw.pick(("DCR", "CRD"))} if version >= 11 else {}
    return OnnxExample((draw.signal(n, c * r * r, h, w),), how | mode, opset=version)
