"""Nearest-neighbour upsampling by a whole number: nn.Upsample, F.interpolate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convfold
from tests.folding import Net, fold_checked, noise
from tests.laws.oracle import assert_close, refused
from tests.layers.table import CONV, SPACE, Case, check


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_between_convolutions(dims: int) -> None:
    conv, shape = CONV[dims], (2, *(n - 2 for n in SPACE[dims]))
    factors = (2, 3, 2)[:dims]
    cases = []
    for mode in ("nearest", "nearest-exact"):
        up = nn.Upsample(scale_factor=factors if dims > 1 else 2, mode=mode)
        cases += [
            Case(f"{mode}, then one tap", nn.Sequential(up, conv(2, 3, 1)), shape, merges=True),
            Case(f"{mode}, then 3×3", nn.Sequential(up, conv(2, 3, 3)), shape, merges=True),
            Case(f"{mode}, then padded 3×3", nn.Sequential(up, conv(2, 3, 3, padding=1)), shape, merges=True),
            Case(f"{mode} behind one tap", nn.Sequential(conv(2, 8, 1), up, conv(8, 2, 1)), shape, merges=True),
            Case(f"{mode} behind a norm", nn.Sequential(conv(2, 4, 2), up, conv(4, 2, 2)), shape, merges=True),
        ]
    check(cases)


def test_functional_spellings() -> None:
    a, b = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 2, 1)

    def case(name: str, resize: Any) -> Case:
        return Case(name, Net(lambda m, x: m.b(resize(m.a(x))), a=a, b=b), (2, 4, 5))

    nearest = {"mode": "nearest"}
    check(
        [
            case("by a factor", lambda y: F.interpolate(y, scale_factor=2)),
            case("by factors", lambda y: F.interpolate(y, scale_factor=(2.0, 3.0), **nearest)),
            case("to a size", lambda y: F.interpolate(y, (8, 10))),
            case("to a size from the shape", lambda y: F.interpolate(y, (y.shape[2] * 3, y.shape[3] * 2))),
            case("recomputed", lambda y: F.interpolate(y, scale_factor=2, recompute_scale_factor=True)),
            case("not at all", lambda y: F.interpolate(y, scale_factor=1)),
            case("unevenly", lambda y: F.interpolate(y, scale_factor=1.5)),
            case("to an uneven size", lambda y: F.interpolate(y, (7, 10))),
            case("downwards", lambda y: F.interpolate(y, scale_factor=0.5)),
            case("to half the size", lambda y: F.interpolate(y, (2, 5))),
            case("linearly", lambda y: F.interpolate(y, scale_factor=2, mode="bilinear")),
            case(
                "linearly, corners aligned",
                lambda y: F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True),
            ),
            case("cubically", lambda y: F.interpolate(y, scale_factor=2, mode="bicubic")),
            case("by area", lambda y: F.interpolate(y, (2, 5), mode="area")),
            case("repeated", lambda y: y.repeat_interleave(2, 2).repeat_interleave(3, 3)),
            case("expanded", lambda y: y[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(-1, 8, 8, 10)),
            case("tiled", lambda y: y.repeat(1, 1, 2, 2)),
        ]
    )


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("scale", [2.25, 2.4, 1.9, (2.49, 2.0), 3.3])
def test_a_factor_that_only_looks_whole(mode: str, scale: Any) -> None:
    """⌊2 · 2.25⌋ = 4 is twice 2, yet position 2 reads ⌊2 / 2.25⌋ = 0: the factor counts, not the sizes."""
    net = Net(
        lambda m, x: m.b(F.interpolate(m.a(x), scale_factor=scale, mode=mode)),
        a=nn.Conv2d(2, 4, 1),
        b=nn.Conv2d(4, 2, 1),
    )
    for space in ((2, 2), (4, 2)):
        fold_checked(net, (2, 2, *space))


def test_to_a_size_in_a_free_space() -> None:
    """Free height and width: a factor is one still; a size is not."""
    auto = torch.export.Dim.AUTO
    free = (({0: auto, 2: auto, 3: auto},),)
    for resize in (lambda y: F.interpolate(y, scale_factor=2), lambda y: F.interpolate(y, (12, 8))):
        net = Net(lambda m, x, r=resize: m.b(r(m.a(x))), a=nn.Conv2d(2, 8, 1), b=nn.Conv2d(8, 2, 1)).double().eval()
        result = convfold.fold(net, noise(2, 2, 6, 4), dynamic_shapes=free)
        with torch.no_grad():
            for space in ((6, 4), (5, 7), (3, 2)):
                x = noise(1, 2, *space)
                assert_close(result.module(x), net(x), str(space))


def test_as_modules() -> None:
    x = noise(2, 3, 4, 5)
    up = nn.Upsample(scale_factor=(2, 3))
    assert_close(convfold.Convolution.of(up, channels=3, dims=2).to(torch.float64)(x), up(x))
    for other in (
        nn.Upsample(scale_factor=1.5),
        nn.Upsample(size=(8, 15)),
        nn.Upsample(scale_factor=2, mode="bilinear"),
    ):
        with refused("not-affine"):
            convfold.Convolution.of(other, channels=3, dims=2)
