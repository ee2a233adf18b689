"""What the blur is to convfold: the convolution it computes, and calls to try that on."""

from __future__ import annotations

import torch

import own_layer
from convfold import Convolution
from convfold.layers import Call, Step, convolved, operator
from convfold.layers.examples import Draw, Example, example


@operator("own_layer.blur.default")
def read(call: Call) -> Step:
    x = call["x"]
    taps = torch.tensor(own_layer.TAPS, dtype=torch.float64)
    channels = x.shape[1]
    kernel = torch.outer(taps, taps).expand(channels, 1, 3, 3)  # (C, 1, 3, 3)
    return convolved(Convolution(kernel, None, channels, stride=call["stride"] or 1, padding=1), x)


@example("own_layer.blur.default")
def drawn(draw: Draw, spelling: str) -> Example:
    size = (draw.integer(1, 3), draw.integer(1, 4), draw.integer(1, 7), draw.integer(1, 7))
    return Example((draw.signal(*size), draw.integer(1, 3)))
