"""Branches that meet behind a resize, and convolutions of more taps there: computed below it, where that is cheaper."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

import convfold
from tests.folding import BATCHES, Net, assert_calls, calls, double, fold_checked, noise
from tests.laws.oracle import assert_close_apart
from tests.layers.table import CONV, Case, check

Shape = tuple[int, ...]


def up(x: Tensor, **options: Any) -> Tensor:
    return F.interpolate(x, **{"scale_factor": 2, "mode": "bilinear", **options})


def folded(net: nn.Module, *shapes: Shape, macs: int) -> convfold.Result:
    """Folded and compared, on interior and border; ``macs`` multiply-adds are left for one item."""
    result = fold_checked(net, *shapes)
    batch = shapes[0][0]
    assert result.report.after.macs == macs * batch < result.report.before.macs
    reference = double(net)
    for n in BATCHES:
        inputs = [noise(n, *shape[1:], seed=40 + i) for i, shape in enumerate(shapes)]
        with torch.no_grad():
            assert_close_apart(result.module(*inputs), reference(*inputs), (2, 3), f"batch {n}")
    return result


def test_only_the_resized_columns_of_a_concat_move_below() -> None:
    """conv(cat(x, up(y))) = conv_x(x) + up(conv_y(y))"""
    net = Net(lambda m, x, y: m.conv(torch.cat([x, up(y)], 1)), conv=nn.Conv2d(3 + 5, 4, 1))
    result = folded(net, (2, 3, 10, 14), (2, 5, 5, 7), macs=4 * (3 * 10 * 14 + 5 * 5 * 7))
    assert_calls(result, conv2d=2, upsample_bilinear2d=1, add=1)


@pytest.mark.parametrize("options", [{}, {"mode": "bicubic", "align_corners": True}, {"mode": "nearest"}])
def test_one_resize_of_a_concat(options: dict[str, Any]) -> None:
    """conv(cat(up(x), up(y))): all of it below, whatever is joined first."""
    net = Net(lambda m, x, y: m.conv(torch.cat([up(x, **options), up(y, **options)], 1)), conv=nn.Conv2d(3 + 5, 4, 1))
    result = folded(net, (2, 3, 5, 7), (2, 5, 5, 7), macs=4 * (3 + 5) * 5 * 7)
    resizes = [n for name, n in calls(result).items() if "upsample" in name]
    assert resizes == [1]


def test_two_resizes_of_a_concat() -> None:
    """To one size from two: each part's columns where it is small."""
    net = Net(
        lambda m, x, y: m.conv(torch.cat([up(x), up(y, scale_factor=4, align_corners=True)], 1)),
        conv=nn.Conv2d(3 + 5, 4, 1),
    )
    result = folded(net, (2, 3, 4, 6), (2, 5, 2, 3), macs=4 * (3 * 4 * 6 + 5 * 2 * 3))
    assert_calls(result, conv2d=2, upsample_bilinear2d=2, add=1)


def test_a_concat_behind_layers() -> None:
    """conv(cat(a(x), up(b(y)))): the layers before fold into the columns too."""
    net = Net(
        lambda m, x, y: m.norm(m.conv(torch.cat([m.a(x), up(m.b(y))], 1))),
        a=nn.Conv2d(3, 6, 1),
        b=nn.Conv2d(5, 6, 1),
        conv=nn.Conv2d(12, 4, 1),
        norm=nn.BatchNorm2d(4),
    )
    result = folded(net, (2, 3, 8, 6), (2, 5, 4, 3), macs=4 * (3 * 8 * 6 + 5 * 4 * 3))
    assert_calls(result, conv2d=2, upsample_bilinear2d=1, add=1)


def test_a_sum_behind_one_resize() -> None:
    """conv(up(a(x)) + up(b(y))): one resize of the sum, three layers become two."""
    net = Net(
        lambda m, x, y: m.conv(up(m.a(x)) + up(m.b(y))),
        a=nn.Conv2d(3, 6, 1),
        b=nn.Conv2d(5, 6, 1),
        conv=nn.Conv2d(6, 4, 1),
    )
    result = folded(net, (2, 3, 5, 7), (2, 5, 5, 7), macs=4 * (3 + 5) * 5 * 7)
    assert_calls(result, conv2d=2, upsample_bilinear2d=1, add=1)


def test_a_sum_of_pyramid_levels() -> None:
    """conv(a(x) + up(b(y)) + up²(c(z))): every level at its own size, no bias counted twice."""
    net = Net(
        lambda m, x, y, z: m.conv(m.a(x) + up(m.b(y) + up(m.c(z)))),
        a=nn.Conv2d(3, 6, 1),
        b=nn.Conv2d(4, 6, 1),
        c=nn.Conv2d(5, 6, 1),
        conv=nn.Conv2d(6, 2, 1),
    )
    macs = 2 * (3 * 8 * 12 + 4 * 4 * 6 + 5 * 2 * 3)
    result = folded(net, (2, 3, 8, 12), (2, 4, 4, 6), (2, 5, 2, 3), macs=macs)
    assert result.report.after.layers == 3


def test_both_branches_of_one_input() -> None:
    """conv(up(a(x)) + up(b(x))): one operator, one resize."""
    net = Net(
        lambda m, x: m.conv(up(m.a(x)) - up(m.b(x))),
        a=nn.Conv2d(3, 6, 1),
        b=nn.Conv2d(3, 6, 1),
        conv=nn.Conv2d(6, 4, 1),
    )
    result = folded(net, (2, 3, 5, 7), macs=3 * 4 * 5 * 7)
    assert_calls(result, conv2d=1, upsample_bilinear2d=1)


#: Space before and behind, where nine taps below cost a fraction of nine above.
TAPPED: dict[int, tuple[Shape, Shape]] = {1: ((6,), (40,)), 2: ((3, 5), (20, 17)), 3: ((2, 3, 2), (9, 8, 10))}
SMOOTH: dict[int, tuple[dict[str, Any], ...]] = {
    1: ({"mode": "linear"}, {"mode": "nearest"}),
    2: ({"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True}, {"mode": "bicubic"}),
    3: ({"mode": "trilinear"}, {"mode": "trilinear", "align_corners": True}),
}


ZERO: dict[int, type[nn.Module]] = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d}


def behind(before: Shape, after: Shape, name: str, first: nn.Module, conv: nn.Module, options: dict[str, Any]) -> Case:
    net = Net(lambda m, x: m.conv(F.interpolate(m.first(x), after, **options)), first=first, conv=conv)
    return Case(f"{name} behind {options}", net, (24, *before), space=tuple(range(2, 2 + len(before))))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_taps_below_a_resize(dims: int) -> None:
    """Any windows, with a bias where some tap never reads outside: one layer, and a matrix product an axis."""
    before, after = TAPPED[dims]
    conv = CONV[dims]
    windows: dict[str, dict[str, Any]] = {
        "3 taps": {"kernel_size": 3, "padding": 1},
        "3 taps, unpadded": {"kernel_size": 3},
        "2 taps": {"kernel_size": 2, "padding": 1, "bias": False},
        "strided": {"kernel_size": (3, 2, 3)[:dims], "stride": 2, "padding": (1, 0, 1)[:dims]},
        "dilated": {"kernel_size": 3, "dilation": (2, 1, 2)[:dims], "padding": (2, 1, 0)[:dims]},
        "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    }
    zeros = ZERO[dims]((2, 0, 0, 1, 1, 0)[: 2 * dims])
    cases = []
    for options in SMOOTH[dims]:
        uneven = nn.Sequential(zeros, conv(24, 4, 3, bias=False))
        cases.append(behind(before, after, "3 taps, padded unevenly", nn.Identity(), uneven, options))
        for name, window in windows.items():
            first = conv(24, 24, 1) if name == "3 taps" else nn.Identity()
            cases.append(behind(before, after, name, first, conv(24, 4, **window), options))
    result = check(cases)
    assert calls(result)["matmul"] == dims * len(cases)
    assert calls(result)[f"conv{dims}d"] == len(cases)
    assert result.report.after.macs < result.report.before.macs


@pytest.mark.parametrize("dims", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("named", ["factors", "sizes"])
def test_taps_below_a_resize_at_free_sizes(dims: int, named: str, tmp_path: Path) -> None:
    """By the model's own resize, one axis after the other; as many multiply-adds as the taps take below."""
    modes = [*SMOOTH[dims], *([{"mode": "nearest-exact"}] if dims == 2 else [])]
    factors, conv = (2.5, 2, 3)[:dims], CONV[dims]
    space = tuple(range(2, 2 + dims))
    for k, options in enumerate(modes):

        def forward(m: Net, x: Tensor, options: dict[str, Any] = options) -> Tensor:
            if named == "factors":
                return m.conv(F.interpolate(x, scale_factor=factors, **options))
            sizes = [int(2 * f) * n // 2 for f, n in zip(factors, x.shape[2:], strict=True)]
            return m.conv(F.interpolate(x, sizes, **options))

        taps = (3, 2, 3)[:dims]
        net = Net(forward, conv=conv(24, 4, taps, padding=(1, 0, 1)[:dims], dilation=(1, 2, 1)[:dims], bias=k == 0))
        free = (({axis: Dim.AUTO for axis in (0, *space)},),)
        before = (8, 6, 4)[:dims]
        config = convfold.FoldConfig(objective="macs")
        result = convfold.fold(double(net), (noise(2, 24, *before),), dynamic_shapes=free, config=config)
        if options["mode"] == "nearest" and named == "factors":
            continue
        assert len(result.report.free) == 1 + dims, options
        assert result.report.after.macs == 2 * 24 * 4 * prod(taps) * prod(before) < result.report.before.macs
        result.save(tmp_path / "taps.pt2")
        saved = torch.export.load(tmp_path / "taps.pt2").module()
        for size in (before, (2, 3, 5)[:dims], (11, 2, 3)[:dims]):
            x = noise(3, 24, *size)
            with torch.no_grad():
                expected = double(net)(x)
                assert_close_apart(result.module(x), expected, space, f"{options} at {size}")
                assert_close_apart(saved(x), expected, space, f"saved, {options} at {size}")


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("objective", ["macs", "time"])
def test_a_norm_between_a_resize_and_its_taps_at_free_sizes(groups: int, objective: str) -> None:
    """Its shift ends where the padding begins: mended above the resize, where it is, or not at all."""
    net = Net(
        lambda m, x: m.conv(m.norm(up(x.relu()))),
        norm=nn.BatchNorm2d(64),
        conv=nn.Conv2d(64, 8, 3, padding=1, groups=groups),
    )
    free = (({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},),)
    config = convfold.FoldConfig(objective=objective)
    result = convfold.fold(double(net), (noise(2, 64, 30, 20),), dynamic_shapes=free, config=config)
    assert len(result.report.free) == 3
    for size in ((30, 20), (11, 9), (1, 2)):
        x = noise(3, 64, *size)
        with torch.no_grad():
            assert_close_apart(result.module(x), double(net)(x), (2, 3), f"{size}")


@pytest.mark.parametrize(
    ("options", "taps"),
    [
        ({"mode": "bilinear"}, {"kernel_size": 3, "padding": 1}),
        ({"mode": "bilinear", "align_corners": True}, {"kernel_size": 3, "padding": 1, "bias": False}),
        ({"mode": "bicubic"}, {"kernel_size": 3, "padding": 1}),
    ],
)
def test_a_decoder_head(options: dict[str, Any], taps: dict[str, Any]) -> None:
    """64 channels from 8×8 to 64×64, then 3×3: nine taps at 8×8, and a matrix an axis."""
    net = Net(lambda m, x: m.conv(F.interpolate(x, (64, 64), **options)), conv=nn.Conv2d(64, 64, **taps))
    below, brought_together = 9 * 64 * 64 * 8 * 8, 64 * (24 * 24 * 64 + 24 * 64 * 64)
    result = folded(net, (1, 64, 8, 8), macs=below + brought_together)
    assert calls(result)["conv2d"] == 1 and calls(result)["matmul"] == 2
    assert result.report.before.macs == 9 * 64 * 64 * 64 * 64 > 10 * result.report.after.macs


def test_where_it_does_not_pay() -> None:
    """Twice the size and few channels: the products would cost more than the taps save."""
    net = Net(lambda m, x: m.conv(up(x)), conv=nn.Conv2d(2, 8, 3, padding=1))
    result = fold_checked(net, (2, 2, 12, 14))
    assert_calls(result, upsample_bilinear2d=1, conv2d=1)


def test_a_bias_that_no_tap_can_bear() -> None:
    """Every tap reads outside somewhere: with a bias the taps stay behind the resize, without one they do not."""
    for bias in (True, False):
        net = Net(
            lambda m, x: m.conv(F.interpolate(x, (40,), mode="linear")),
            conv=nn.Conv1d(24, 4, 2, padding=1, dilation=1, bias=bias),
        )
        result = fold_checked(net, (2, 24, 6))
        assert ("matmul" in calls(result)) is not bias
