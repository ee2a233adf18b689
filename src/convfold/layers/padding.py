"""Zero padding and cropping of the space axes: nn.ZeroPad; aten pad, constant_pad_nd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from convfold.algebra import spelling
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.layers.spelling import Call, Map, Step, aten, depthwise, known_channels


def zero_padding(channels: int, pads: Sequence[int], dims: int) -> Convolution:
    """A depthwise one with pads; ``pads`` in PyTorch's order: last axis first, (lo, hi) each."""
    pairs = list(zip(pads[::2], pads[1::2], strict=True))
    windows = [Window()] * (dims - len(pairs)) + [Window(lo=lo, hi=hi) for lo, hi in reversed(pairs)]
    return depthwise(channels, windows, 1.0)


@aten("pad.default", "constant_pad_nd.default")
def read(call: Call) -> Step:
    x, pads = call["self"], call["pad"]
    if call["mode"] not in (None, "constant") or call["value"] not in (None, 0, 0.0):
        raise NotFoldable("padding-mode", "padding with copies of the data, or with another value than zero")
    dims = x.dim - 2
    pads = list(pads)
    while len(pads) >= 2 and pads[-2:] == [0, 0]:
        del pads[-2:]
    if not 1 <= dims <= 3 or len(pads) > 2 * dims or not all(isinstance(p, int) for p in pads):
        raise NotFoldable("padding-mode", "padding of the batch or channel axis, or by an unknown amount")
    return Step(Map(zero_padding(x.shape[1], pads, dims), 1, moves=True), (x,))


@spelling.of.register(nn.ZeroPad1d)
@spelling.of.register(nn.ZeroPad2d)
@spelling.of.register(nn.ZeroPad3d)
@spelling.of.register(nn.ConstantPad1d)
@spelling.of.register(nn.ConstantPad2d)
@spelling.of.register(nn.ConstantPad3d)
def of_module(m: Any, channels: int | None = None, dims: int | None = None) -> Convolution:
    if m.value != 0:
        raise NotFoldable("padding-mode", f"pads with {m.value}, not zero")
    return zero_padding(known_channels(m, channels), m.padding, len(m.padding) // 2)
