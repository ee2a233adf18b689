"""Pads with copies of the data, beside convolutions of every type: they were made in float64 whatever the layer's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

import convfold
from tests.folding import double, noise
from tests.laws.oracle import assert_close, refused

CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
PADS: dict[str, Sequence[Any]] = {
    "reflect": (nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
    "replicate": (nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
    "circular": (nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d),
    "zeros": (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 5e-2}
SPACE = {1: (9,), 2: (7, 8), 3: (5, 6, 7)}

types = pytest.mark.parametrize("dtype", TOLERANCE)
every_dims = pytest.mark.parametrize("dims", [1, 2, 3])


def assert_merges(dtype: torch.dtype, dims: int, *modules: nn.Module) -> nn.Module:
    chain = double(nn.Sequential(*modules)).to(dtype)
    merged = convfold.merge(*chain)
    assert {p.dtype for p in merged.parameters()} == {dtype}
    for more in (0, 3):
        x = noise(2, 3, *(n + more for n in SPACE[dims]), dtype=dtype)
        with torch.no_grad():
            y, z = merged(x), chain(x)
        assert y.dtype == dtype
        assert_close(y.double(), z.double(), f"{chain}", TOLERANCE[dtype] * float(z.abs().max()))
    return merged


@types
@every_dims
@pytest.mark.parametrize("mode", PADS)
def test_a_pad_and_a_convolution(mode: str, dims: int, dtype: torch.dtype) -> None:
    """What is asked most: a pad by itself, then an unpadded convolution; even on all sides and not."""
    pad, conv = PADS[mode][dims - 1], CONV[dims]
    merged = assert_merges(dtype, dims, pad(1), conv(3, 4, 3))
    if mode != "zeros":
        assert isinstance(merged, conv) and merged.padding_mode == mode
    assert_merges(dtype, dims, pad((2, 1, 0, 1, 1, 2)[: 2 * dims]), conv(3, 4, 2, stride=2, bias=False))
    assert_merges(dtype, dims, conv(3, 5, 1), pad(1), conv(5, 4, 3), conv(4, 2, 1))


@types
@every_dims
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_a_padding_mode(mode: str, dims: int, dtype: torch.dtype) -> None:
    conv = CONV[dims]
    merged = assert_merges(dtype, dims, conv(3, 4, 3, padding=1, padding_mode=mode), conv(4, 2, 2))
    assert isinstance(merged, conv) and merged.padding_mode == mode
    assert_merges(dtype, dims, conv(3, 4, 3, padding=2, dilation=2, padding_mode=mode), nn.Identity(), conv(4, 2, 1))


@every_dims
def test_circular_twice(dims: int) -> None:
    pad, conv = PADS["circular"][dims - 1], CONV[dims]
    assert_merges(torch.float32, dims, pad(1), conv(3, 4, 3), pad(1), conv(4, 2, 3))


@every_dims
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_zeros_after_copies_are_no_copies(mode: str, dims: int) -> None:
    """The pad took the zeros that the convolution pads for its own: wrong in the ring, and said nothing."""
    pad, conv = PADS[mode][dims - 1], CONV[dims]
    for second in (conv(3, 4, 3, padding=1), nn.Sequential(PADS["zeros"][dims - 1](1), conv(3, 4, 3))):
        with refused("padding-mode"):
            convfold.merge(pad(1), second)
    with refused("padding-mode"):
        convfold.merge(conv(3, 3, 1, padding=1, padding_mode=mode), conv(3, 4, 3, padding=1))
    assert_merges(torch.float64, dims, pad(2), PADS["zeros"][dims - 1](-1), conv(3, 4, 3))
