"""Resizing in every mode, by size and by factor: nn.Upsample, F.interpolate; nearest by a whole number convolves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import Net, noise
from tests.laws.oracle import assert_close, refused
from tests.layers.table import CONV, SPACE, Case, check

#: Every mode, by the number of space axes.
MODES: dict[int, dict[str, dict[str, Any]]] = {
    1: {
        "nearest": {"mode": "nearest"},
        "nearest-exact": {"mode": "nearest-exact"},
        "area": {"mode": "area"},
        "linear": {"mode": "linear"},
        "linear, corners aligned": {"mode": "linear", "align_corners": True},
    },
    2: {
        "nearest": {"mode": "nearest"},
        "nearest-exact": {"mode": "nearest-exact"},
        "area": {"mode": "area"},
        "bilinear": {"mode": "bilinear"},
        "bilinear, corners aligned": {"mode": "bilinear", "align_corners": True},
        "bilinear, antialiased": {"mode": "bilinear", "antialias": True},
        "bilinear, both": {"mode": "bilinear", "align_corners": True, "antialias": True},
        "bicubic": {"mode": "bicubic"},
        "bicubic, corners aligned": {"mode": "bicubic", "align_corners": True},
        "bicubic, antialiased": {"mode": "bicubic", "antialias": True},
        "bicubic, both": {"mode": "bicubic", "align_corners": True, "antialias": True},
    },
    3: {
        "nearest": {"mode": "nearest"},
        "nearest-exact": {"mode": "nearest-exact"},
        "area": {"mode": "area"},
        "trilinear": {"mode": "trilinear"},
        "trilinear, corners aligned": {"mode": "trilinear", "align_corners": True},
    },
}

#: Space before, and the size it is given; up, down, and one axis each way.
SIZES = {
    1: [((1,), (3,)), ((2,), (5,)), ((3,), (1,)), ((13,), (6,))],
    2: [((1, 1), (2, 3)), ((2, 3), (5, 4)), ((3, 2), (1, 7)), ((8, 6), (4, 3)), ((7, 5), (13, 3))],
    3: [((1, 2, 3), (2, 3, 1)), ((3, 2, 4), (6, 4, 8)), ((5, 3, 2), (2, 5, 7)), ((4, 6, 8), (2, 3, 4))],
}
#: Space before, and the factor.
WHOLE = {1: [((7,), 2.0)], 2: [((4, 5), (3.0, 2.0))], 3: [((3, 4, 2), 2.0)]}
#: The same; what a fraction means depends on whether it is recomputed from the sizes.
FRACTION = {
    1: [((11,), 0.37), ((3,), 2.25)],
    2: [((5, 7), (2.25, 0.6))],
    3: [((5, 4, 7), (0.6, 2.25, 0.5))],
}


class Resize(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, **self.options)


def requests(dims: int) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """Space before, and the arguments that ask for the other."""
    yield from ((space, {"size": size}) for space, size in SIZES[dims])
    yield from ((space, {"scale_factor": factor}) for space, factor in WHOLE[dims])
    for (space, factor), again in product(FRACTION[dims], (False, True)):
        yield space, {"scale_factor": factor, "recompute_scale_factor": again}


@pytest.mark.parametrize(("dims", "mode"), [(dims, mode) for dims, modes in MODES.items() for mode in modes])
def test_pointwise_layers_meet_where_there_are_fewest_positions(dims: int, mode: str) -> None:
    cases = []
    for space, request in requests(dims):
        resize = Resize(**request, **MODES[dims][mode])
        positions = min(prod(space), resize(torch.zeros(1, 1, *space)).numel())
        cases.append(
            Case(
                f"{space} {request}",
                nn.Sequential(CONV[dims](3, 8, 1), resize, CONV[dims](8, 2, 1)),
                (3, *space),
                layers=1,
                macs=3 * 2 * positions,
                space=tuple(range(2, 2 + dims)),
            )
        )
    check(cases)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_nearest_between_convolutions(dims: int) -> None:
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
            Case(f"{mode} behind two taps", nn.Sequential(conv(2, 4, 2), up, conv(4, 2, 2)), shape, merges=True),
        ]
    check(cases)


def test_functional_spellings() -> None:
    """However the resize is written, one layer is left of two."""
    a, b = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 2, 1)

    def case(name: str, resize: Any, layers: int | None = 1) -> Case:
        return Case(name, Net(lambda m, x: m.b(resize(m.a(x))), a=a, b=b), (2, 4, 5), layers=layers, space=(2, 3))

    nearest = {"mode": "nearest"}
    check(
        [
            case("by a factor", lambda y: F.interpolate(y, scale_factor=2)),
            case("by factors", lambda y: F.interpolate(y, scale_factor=(2.0, 3.0), **nearest)),
            case("to a size", lambda y: F.interpolate(y, (8, 10))),
            case("to a size from the shape", lambda y: F.interpolate(y, (y.shape[2] * 3, y.shape[3] * 2))),
            case("recomputed", lambda y: F.interpolate(y, scale_factor=2, recompute_scale_factor=True)),
            case("not at all", lambda y: F.interpolate(y, scale_factor=1)),
            case("not at all, smoothly", lambda y: F.interpolate(y, (4, 5), mode="bicubic")),
            case("unevenly", lambda y: F.interpolate(y, scale_factor=1.5)),
            case("to an uneven size", lambda y: F.interpolate(y, (7, 10))),
            case("downwards", lambda y: F.interpolate(y, scale_factor=0.5)),
            case("to half the size", lambda y: F.interpolate(y, (2, 5))),
            case("twice", lambda y: F.interpolate(F.interpolate(y, (7, 9), mode="bilinear"), scale_factor=2)),
            case("there and back", lambda y: F.interpolate(F.interpolate(y, (2, 11), mode="area"), (4, 5))),
            case("repeated", lambda y: y.repeat_interleave(2, 2).repeat_interleave(3, 3), None),
            case("expanded", lambda y: y[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(-1, 8, 8, 10)),
            case("tiled", lambda y: y.repeat(1, 1, 2, 2), None),
        ]
    )


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_a_factor_that_only_looks_whole(mode: str) -> None:
    """⌊2 · 2.25⌋ = 4 is twice 2, yet position 2 reads ⌊2 / 2.25⌋ = 0: the factor counts, not the sizes."""
    check(
        [
            Case(
                f"{space} by {factor}",
                nn.Sequential(nn.Conv2d(2, 4, 1), Resize(scale_factor=factor, mode=mode), nn.Conv2d(4, 2, 1)),
                (2, *space),
                layers=1,
            )
            for space in ((2, 2), (4, 2))
            for factor in (2.25, 2.4, 1.9, (2.49, 2.0), 3.3)
        ]
    )


def test_in_a_free_space() -> None:
    """Free height and width: a factor is one still; a size is not. Pointwise layers pass either.

    Four of five then read one input and are one convolution; the fifth pools first.
    """
    requests: tuple[dict[str, Any], ...] = (
        {"scale_factor": 2},
        {"size": (12, 8)},
        {"scale_factor": 1.5, "mode": "bilinear"},
        {"scale_factor": 2, "mode": "bicubic", "align_corners": True},
        {"size": (3, 5), "mode": "area"},
    )
    auto, branches = (
        torch.export.Dim.AUTO,
        [nn.Sequential(nn.Conv2d(2, 8, 1), Resize(**request), nn.Conv2d(8, 2, 1)) for request in requests],
    )
    net = Net(lambda m, x: [branch(x) for branch in m.branches], branches=nn.ModuleList(branches))
    result = convfold.fold(net.double().eval(), noise(2, 2, 6, 4), dynamic_shapes=(({0: auto, 2: auto, 3: auto},),))
    assert result.report.after.layers == 2 and len(result.report.free) == 3
    assert result.report.after.macs == 2 * (4 * 6 * 4 + 3 * 5) * 2 * 2
    with torch.no_grad():
        for space in ((6, 4), (5, 7), (3, 2)):
            x = noise(1, 2, *space)
            for request, y, z in zip(requests, net(x), result.module(x), strict=True):
                assert_close(z, y, f"{request} at {space}")


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
