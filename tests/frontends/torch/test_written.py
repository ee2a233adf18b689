"""What was written is read again; a module follows its weights; sizes that are free, and some that are not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import convfold
from tests.folding import Net, double, noise
from tests.laws.oracle import assert_close

FREE = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},)
MACS = convfold.FoldConfig(objective="macs")


def test_an_index_is_made_where_the_weights_are() -> None:
    convs = [nn.Conv2d(c, d, 3, padding=1, padding_mode="circular") for c, d in ((3, 24), (24, 3))]
    module = convfold.fold(nn.Sequential(*convs), (torch.randn(2, 3, 9, 8),), dynamic_shapes=FREE, config=MACS).module
    moved = copy.deepcopy(module).to("meta")
    devices = [{str(n.kwargs["device"]) for n in m.graph.nodes if "device" in n.kwargs} for m in (module, moved)]
    assert devices == [{"cpu"}, {"meta"}]
    assert moved(torch.randn(1, 3, 5, 6, device="meta")).shape == (1, 3, 5, 6)
    x = noise(1, 3, 5, 6)
    with torch.no_grad():
        expected = nn.Sequential(*convs).double()(x)
        assert_close(module.double()(x), expected, "moved to another type", tolerance=1e-6)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_mean_of_copies_at_free_sizes(axis: int) -> None:
    """A number on an axis that is free is none of so many as it is long at the example."""
    net = Net(lambda m, x: m.conv(x).relu() + torch.stack([x, x * 3], axis).mean(axis), conv=nn.Conv2d(4, 4, 1))
    result = convfold.fold(double(net), (noise(2, 4, 5, 6),), dynamic_shapes=((FREE[0],),), config=MACS)
    assert len(result.report.free) == 3
    for size in ((5, 6), (1, 1), (8, 3)):
        x = noise(3, 4, *size)
        with torch.no_grad():
            assert_close(result.module(x), double(net)(x), f"{size}")


def test_a_cut_of_an_axis_that_tracing_pinned() -> None:
    """A product with a matrix says how long the axis is, although it was to be free."""
    matrix = torch.randn(6, 3, dtype=torch.float64)

    def forward(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ matrix, x.softmax(2).narrow(3, 1, 4)

    net = Net(forward, conv=nn.Conv2d(4, 4, 1))
    result = convfold.fold(net, (noise(2, 4, 5, 6),), dynamic_shapes=((FREE[0],),), config=MACS)
    assert len(result.report.free) == 2
    x = noise(3, 4, 7, 6)
    for got, expected in zip(result.module(x), net(x), strict=True):
        assert_close(got, expected)


def test_a_pad_that_is_none_at_the_example() -> None:
    """To a multiple of eight, as windowed attention has it."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        return m.conv(torch.nn.functional.pad(x, [0, -w % 8, 0, -h % 8]))

    net = Net(forward, conv=nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    result = convfold.fold(double(net), (noise(2, 4, 16, 24),), dynamic_shapes=((FREE[0],),), config=MACS)
    assert len(result.report.free) == 3
    for size in ((16, 24), (9, 13), (8, 17)):
        x = noise(1, 4, *size)
        with torch.no_grad():
            assert_close(result.module(x), double(net)(x), f"{size}")


def test_a_border_before_a_layer_on_tokens() -> None:
    """What is written in place of the tokens has fewer axes than the map that its pieces read."""
    net = Net(
        lambda m, x: m.tokens(m.conv(x.relu()).flatten(2).permute(0, 2, 1)),
        conv=nn.Sequential(nn.Conv2d(8, 32, 3, padding=1), nn.Conv2d(32, 4, 3, padding=1)),
        tokens=nn.Linear(4, 2),
    )
    result = convfold.fold(double(net), (noise(2, 8, 20, 24),), dynamic_shapes=((FREE[0],),), config=MACS)
    assert len(result.report.free) == 3 and result.report.borders
    again = convfold.fold(result.module, (noise(2, 8, 20, 24),), dynamic_shapes=FREE, config=MACS)
    for size in ((20, 24), (2, 9), (9, 2), (1, 1)):
        x = noise(1, 8, *size)
        with torch.no_grad():
            assert_close(result.module(x), double(net)(x), f"{size}")
            assert_close(again.module(x), double(net)(x), f"{size}, folded again")
