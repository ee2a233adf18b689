"""How a form is computed: small maps in one product, one resize for all that end in it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import Net, call_name, double, noise
from tests.laws.oracle import assert_close

MODE = {1: "linear", 2: "bilinear", 3: "trilinear"}
CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOL: dict[int, Any] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
SPACE = {1: (2048,), 2: (48, 40), 3: (16, 12, 14)}


def calls(result: convfold.Result) -> list[str]:
    return [name for n in result.module.graph.nodes if (name := call_name(n))]


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_pyramid_of_pools_is_added_in_one_product(dims: int, kernel: int) -> None:
    """Pool, 1×1, resize, concat, k×k: nothing is resized any more."""

    def forward(m: Any, x: Tensor) -> Tensor:
        pooled = (conv(POOL[dims](x, n)) for conv, n in zip(m.convs, (1, 2, 3), strict=True))
        maps = [F.interpolate(y, x.shape[2:], mode=MODE[dims]) for y in pooled]
        return m.last(torch.cat([x, *maps], 1))  # type: ignore[no-any-return]

    net = Net(
        forward,
        convs=nn.ModuleList(CONV[dims](32, 16, 1) for _ in range(3)),
        last=CONV[dims](80, 32, kernel, padding=kernel // 2),
    )
    x = noise(2, 32, *SPACE[dims])
    result = convfold.fold(double(net), (x,))
    assert result.report.after.macs < result.report.before.macs
    assert not any("upsample" in name for name in calls(result)), calls(result)
    for batch in (1, 3):
        x = noise(batch, 32, *SPACE[dims], seed=batch)
        with torch.no_grad():
            assert_close(result.module(x), net(x))


def test_one_resize_for_all_that_end_in_it() -> None:
    net = Net(
        lambda m, x, y: m.c(torch.cat([F.interpolate(m.a(x), scale_factor=4.0, mode="bicubic"),
                                       F.interpolate(m.b(y), scale_factor=4.0, mode="bicubic")], 1)),
        a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(5, 8, 1), c=nn.Conv2d(16, 4, 1),
    )  # fmt: skip
    x, y = noise(2, 3, 14, 15), noise(2, 5, 14, 15)
    result = convfold.fold(double(net), (x, y))
    assert calls(result).count("upsample_bicubic2d") == 1 and result.report.after.layers == 2
    with torch.no_grad():
        assert_close(result.module(x, y), net(x, y))


@pytest.mark.parametrize("join", [lambda m, x: m.a(x.flip(1)) + m.b(x), lambda m, x: m.c(torch.cat([x.flip(1), x], 1))])
def test_one_leaf_read_in_two_ways(join: Any) -> None:
    net = Net(join, a=nn.Conv1d(4, 3, 1), b=nn.Conv1d(4, 3, 1), c=nn.Conv1d(8, 3, 1))
    x = noise(2, 4, 9)
    result = convfold.fold(double(net), (x,))
    with torch.no_grad():
        assert_close(result.module(x), net(x))


def test_groups_do_not_move_to_where_they_would_be_written_out() -> None:
    """A grouped 1×1 behind a permute: as a linear layer on the last axis it would be dense."""
    net = Net(
        lambda m, x: m.conv(m.norm(x).permute(0, 3, 1, 2)), norm=nn.LayerNorm(4), conv=nn.Conv2d(4, 8, 1, groups=4)
    )
    result = convfold.fold(double(net), (noise(3, 4, 7, 4),))
    assert result.report.after.macs <= result.report.before.macs
