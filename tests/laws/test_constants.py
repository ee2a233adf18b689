"""Constants are values: what an affine stretch makes of one is one, is added where it is, and is computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convfold
from tests.folding import Net, randomised

H, W = 9, 7


def constant(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MAP, ROWS, TOKEN = constant(8, H, W), constant(1, H, 1), constant(1, 1, 8)


def folded(net: nn.Module, x: Tensor, sizes: Any = "static", objective: str = "macs") -> convfold.Result:
    """Equal on two inputs, and on another batch where that is free."""
    net = randomised(net).double().eval()
    config = convfold.FoldConfig(objective, verify=False)
    result = convfold.fold(net, (x,), dynamic_shapes=sizes, config=config)
    inputs = [x, constant(*x.shape, seed=5)] + ([] if sizes == "static" else [constant(3, *x.shape[1:], seed=7)])
    with torch.no_grad():
        for y in inputs:
            torch.testing.assert_close(result.module(y), net(y), rtol=1e-10, atol=1e-10)
    again = convfold.fold(result.module, (x,), dynamic_shapes=sizes, config=config)
    assert not again.report.changed
    return result


def conv(c_in: int, c_out: int, kernel: int = 1, **how: Any) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, **how)


SUMS: dict[str, Callable[[Tensor], Tensor]] = {
    "added": lambda y: y + MAP,
    "added to": lambda y: MAP + y,
    "taken off": lambda y: y - MAP,
    "taken from": lambda y: MAP - y,
    "a multiple": lambda y: torch.add(y, MAP, alpha=-0.5),
    "twice": lambda y: (y + MAP) - 2 * MAP.flip(1),
    "a cut of it": lambda y: y + MAP[:, :, :1],
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("sizes", ["static", None])
def test_a_map_between_two_layers(name: str, sizes: Any) -> None:
    """One layer, and one addition of what the second makes of the map."""
    net = Net(lambda m, x: m.b(SUMS[name](m.a(x))), a=conv(3, 8), b=conv(8, 4))
    result = folded(net, constant(2, 3, H, W), sizes)
    assert (result.report.after.layers, result.report.after.ops) == (1, 2)
    assert result.report.after.macs == 2 * H * W * 3 * 4


def test_behind_layers_that_read_neighbours() -> None:
    """At the border too the map is what it was: padded with zeros where the layer pads."""
    net = Net(lambda m, x: m.b(m.a(x) + MAP), a=conv(3, 8, 3, padding=1), b=conv(8, 2, 3, padding=1, stride=2))
    result = folded(net, constant(1, 3, H, W))
    assert result.report.after.macs < result.report.before.macs / 2


def coordinates(x: Tensor) -> Tensor:
    """As CoordConv's authors write them: the batch, which may be free, repeated."""
    n, _, h, w = x.shape
    rows = torch.arange(h).repeat(1, w, 1).transpose(1, 2) / (h - 1) * 2 - 1
    columns = torch.arange(w).repeat(1, h, 1) / (w - 1) * 2 - 1
    both = [t.repeat(n, 1, 1, 1).to(x) for t in (rows, columns)]
    return torch.cat([x, *both, torch.sqrt((both[0] - 0.5) ** 2 + (both[1] - 0.5) ** 2)], 1)


@pytest.mark.parametrize("sizes", ["static", None])
def test_coordinate_channels(sizes: Any) -> None:
    """Only the signal's own channels are multiplied."""
    net = Net(lambda m, x: m.n(m.a(coordinates(x.float()).double())), a=conv(6, 8, 3, padding=1), n=nn.BatchNorm2d(8))
    found = convfold.explain(randomised(net).double().eval(), (constant(2, 3, H, W),), dynamic_shapes=sizes)
    assert found.before.ops > found.after.ops
    net = Net(lambda m, x: m.n(m.a(coordinates(x))), a=conv(6, 8, 3, padding=1), n=nn.BatchNorm2d(8))
    net = randomised(net).float().eval()
    result = convfold.fold(net, (constant(2, 3, H, W).float(),), dynamic_shapes=sizes)
    assert result.report.after.macs == 2 * H * W * 3 * 8 * 9
    assert result.report.after.ops == 2
    assert result.report.error is not None and result.report.error.passed


@pytest.mark.parametrize("first", [True, False])
def test_zeros_beside_a_signal(first: bool) -> None:
    """Channels that are nothing but zeros are not multiplied, nor is anything added for them."""

    def forward(m: Any, x: Tensor) -> Tensor:
        zeros = x.new_zeros(x.shape[0], 5, *x.shape[2:])
        return m.a(torch.cat([zeros, x] if first else [x, zeros], 1))

    result = folded(Net(forward, a=conv(8, 4, 3, padding=1)), constant(2, 3, H, W), None)
    assert (result.report.after.macs, result.report.after.ops) == (2 * H * W * 3 * 4 * 9, 1)


def test_a_token_and_positions() -> None:
    """A class token laid before the others, positions added, all but the token read: the token is not computed."""
    positions = constant(1, H + 1, 8)

    def forward(m: Any, x: Tensor) -> Tensor:
        y = torch.cat([TOKEN.expand(x.shape[0], -1, -1), m.a(x)], 1) + positions
        return m.b(y[:, 1:])

    result = folded(Net(forward, a=nn.Linear(3, 8), b=nn.Linear(8, 2)), constant(2, H, 3), None)
    assert (result.report.after.layers, result.report.after.macs) == (1, 2 * H * 3 * 2)


def test_a_constant_that_is_returned_stays_as_long_as_the_batch() -> None:
    """What depends on no input, but on the batch's length, is written as long."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = torch.cat([TOKEN.expand(x.shape[0], -1, -1).transpose(1, 2), x.transpose(1, 2)], 2)
        return (2 * y + 1).transpose(1, 2).relu()

    folded(Net(forward), constant(2, H, 8), None)


def test_along_a_free_axis_it_stays_what_it_was() -> None:
    """A 3×3 over a row that is repeated to a height that is free reads zeros at its ends."""
    net = randomised(Net(lambda m, x: m.b(m.a(x) + ROWS.mT), a=conv(3, 8), b=conv(8, 4, 3, padding=1))).double().eval()
    with pytest.raises(RuntimeError):
        net(constant(1, 3, 5, 6))
    h = torch.export.Dim("h", min=2)
    x = constant(2, 3, 6, H)
    result = convfold.fold(net, (x,), dynamic_shapes=(({2: h},),), config=convfold.FoldConfig("macs", verify=False))
    for y in (x, constant(2, 3, 11, H)):
        with torch.no_grad():
            torch.testing.assert_close(result.module(y), net(y), rtol=1e-10, atol=1e-10)


def test_a_map_that_trains_still_does() -> None:
    """What is computed of a weight is a weight, and has a gradient if that had one; of a buffer it has none."""
    for trains in (True, False):
        layer = nn.Linear(W, 8 * H, bias=False).requires_grad_(trains)
        net = Net(lambda m, x: m.b(m.a(x) + m.map.weight.reshape(8, H, W)), a=conv(3, 8), b=conv(8, 4), map=layer)
        for part in (net.a, net.b):
            part.requires_grad_(False)
        result = folded(net, constant(1, 3, H, W))
        found = {name: p.requires_grad for name, p in result.module.named_parameters() if "constant" in name}
        assert list(found.values()) == [trains]


def test_infinities_are_left() -> None:
    """A mask of −inf composed with a layer would be NaN."""
    mask = torch.where(MAP > 0, 0.0, -torch.inf).double()
    net = randomised(Net(lambda m, x: m.b(m.a(x) + mask), a=conv(3, 8), b=conv(8, 4))).double().eval()
    result = convfold.fold(net, (constant(1, 3, H, W),), config=convfold.FoldConfig(verify=False))
    assert result.report.after.layers == 2


def test_one_convolution_only_without_a_map() -> None:
    """A block with a map of its own is no convolution."""
    with pytest.raises(convfold.NotFoldable):
        convfold.Convolution.of(Net(lambda m, x: m.a(x) + constant(1, 8, 1, 4), a=conv(3, 8)), channels=3)


def test_a_map_is_written_once_for_a_whole_batch() -> None:
    """A batch that is fixed does not make it larger."""
    net = Net(lambda m, x: m.b(m.a(x) + MAP), a=conv(3, 8), b=conv(8, 4))
    result = folded(net, constant(5, 3, H, W))
    assert {p.shape for name, p in result.module.named_parameters() if "constant" in name} == {(1, 4, H, W)}


@pytest.mark.parametrize("pads", [(1, 1, 2, 0), (0, 3), (-1, 1, 2, -2)])
@pytest.mark.parametrize("sizes", ["static", None])
def test_a_pad_with_a_number(pads: tuple[int, ...], sizes: Any) -> None:
    """It is a pad with zeros and a map of that number: two layers are one, and one addition."""
    step = nn.ConstantPad2d([*pads, *(0,) * (4 - len(pads))], -1.5)
    net = Net(lambda m, x: m.b(m.step(m.a(x))), a=conv(3, 8), b=conv(8, 4, 3), step=step)
    result = folded(net, constant(2, 3, H, W), sizes)
    assert result.report.after.layers == 1


def test_a_border_is_mended_in_a_value_of_its_own() -> None:
    """Where the same operator is applied to the same value without a border, that one is left as it was."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        return m.b(y) + m.b(torch.nn.functional.pad(y, (1, 1, 1, 1)))[:, :, 1:-1, 1:-1]

    folded(Net(forward, a=conv(3, 8), b=conv(8, 4, 3, padding=1)), constant(1, 3, H, W))
