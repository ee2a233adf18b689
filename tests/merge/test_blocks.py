"""Blocks with a forward of their own: exported with every size free, folded, and one module if one value remains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import convfold
from convfold.errors import NotFoldable
from convfold.layers.bordered import Bordered
from tests.folding import Net, double, noise
from tests.laws.oracle import assert_close
from tests.merge.blocks import BORDERED, ONE, RepVGG, built, sizes


@pytest.mark.parametrize("name", ONE)
@torch.no_grad()
def test_a_block_is_one_layer(name: str) -> None:
    net, shape = built(ONE[name])
    before = {key: t.clone() for key, t in net.state_dict().items()}
    merged, value = convfold.merge(net), convfold.Convolution.of(net)
    assert not isinstance(merged, Bordered) and sum(len(list(m.children())) == 0 for m in merged.modules()) <= 2
    for size in sizes(net, shape):
        x = noise(2, *size)
        assert_close(merged(x), net(x), f"merge at {size}")
        assert_close(value(x), net(x), f"of at {size}")
    after = net.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[key], t) for key, t in before.items())


@pytest.mark.parametrize("name", BORDERED)
@torch.no_grad()
def test_a_block_with_a_border(name: str) -> None:
    net, shape = built(BORDERED[name])
    with pytest.raises(NotFoldable) as refusal:
        convfold.Convolution.of(net)
    assert refusal.value.code in ("ghost-depends-on-data", "ghost-is-constant")
    with pytest.raises(NotFoldable) as refusal:
        convfold.merge(net, border="refuse")
    assert refusal.value.code in ("ghost-depends-on-data", "ghost-is-constant")
    merged = convfold.merge(net)
    assert isinstance(merged, Bordered)
    again = convfold.merge(merged)  # which is a known layer
    for size in sizes(net, shape):
        x = noise(2, *size)
        assert_close(merged(x), net(x), f"at {size}")
        assert_close(again(x), net(x), f"again, at {size}")


@torch.no_grad()
def test_blocks_among_layers() -> None:
    """A block without weights is told its channels and axes by its neighbours."""
    half = Net(lambda m, x: torch.cat([x[:, 2:], 0.5 * x[:, :2]], 1))
    net = double(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), half, nn.Conv2d(4, 2, 1)))
    first = double(nn.Sequential(half, nn.AvgPool2d(2), nn.Conv2d(4, 2, 1)))
    alone = double(nn.Sequential(nn.AvgPool1d(2), RepVGG(3, 1)))
    for module, shape in ((net, (3, 6, 7)), (first, (4, 6, 7)), (alone, (3, 8))):
        x = noise(2, *shape)
        assert_close(convfold.merge(*module)(x), module(x))
        assert_close(convfold.merge(module)(x), module(x))
