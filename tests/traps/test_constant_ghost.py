"""A bias, a norm or a shift before a padded convolution: the zeros of the padding are not that bias."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import convfold
from tests.folding import Net, assert_calls, double, fold_checked, noise
from tests.laws.oracle import assert_close

CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
SPACE = {1: (19,), 2: (9, 12), 3: (5, 6, 7)}


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "options", [{}, {"stride": 2}, {"dilation": 2}, {"groups": 2}, {"padding": 3}, {"bias": False}]
)
def test_one_tap_then_padded(dims: int, options: dict[str, Any]) -> None:
    net = nn.Sequential(CONV[dims](3, 24, 1), CONV[dims](24, 2, 3, **{"padding": 1, **options}))
    assert_calls(fold_checked(net, (2, 3, *SPACE[dims])), **{f"conv{dims}d": 1, "add": 1})


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_decoder_step(dims: int) -> None:
    """U-Net: the upsampled branch goes into the convolution over the concat, the skip stays as it is."""
    net = Net(
        lambda m, x, skip: m.conv(torch.cat([skip, m.up(x)], 1)),
        up=TRANSPOSED[dims](8, 16, 2, stride=2),
        conv=CONV[dims](20, 4, 3, padding=1),
    )
    double_size = tuple(2 * n for n in SPACE[dims])
    result = fold_checked(net, (2, 8, *SPACE[dims]), (2, 4, *double_size))
    assert result.report.after.macs < result.report.before.macs


def test_strips_on_a_large_map() -> None:
    """Written into the border of the convolution's own result; export makes it functional again."""
    net = double(nn.Sequential(nn.Conv2d(3, 32, 1), nn.Conv2d(32, 8, (3, 5), padding=(1, 2)), nn.BatchNorm2d(8)))
    x = noise(2, 3, 96, 80)
    result = convfold.fold(net, (x,))
    calls = [str(n.target) for n in result.module.graph.nodes if n.op == "call_function"]
    assert calls.count("aten.add_.Tensor") == 4, calls
    exported = torch.export.export(result.module, (x,))
    with torch.no_grad():
        assert_close(result.module(x), net(x))
        assert_close(exported.module()(x), net(x))
    x.requires_grad_()
    (expected,) = torch.autograd.grad(net(x).square().sum(), x)
    (got,) = torch.autograd.grad(result.module(x).square().sum(), x)
    assert_close(got, expected)


def test_behind_a_view() -> None:
    """A linear layer on tokens, laid out as a map, then a padded depthwise convolution."""
    net = Net(
        lambda m, x: m.conv(m.fc(x).transpose(1, 2).unflatten(2, (6, 8))),
        fc=nn.Linear(5, 24),
        conv=nn.Conv2d(24, 2, 3, padding=1),
    )
    result = fold_checked(net, (2, 48, 5))
    assert result.report.after.macs < result.report.before.macs


def test_branches_with_biases_of_their_own() -> None:
    """DiverseBranchBlock: 1×1 - norm - 3×3, 1×1, 3×3: one convolution, one correction."""
    net = Net(
        lambda m, x: m.a(x) + m.norm(m.deep(m.inner(m.pointwise(x)))) + m.b(x),
        pointwise=nn.Conv2d(4, 4, 1),
        inner=nn.BatchNorm2d(4),
        deep=nn.Conv2d(4, 6, 3, padding=1),
        norm=nn.BatchNorm2d(6),
        a=nn.Conv2d(4, 6, 3, padding=1),
        b=nn.Conv2d(4, 6, 1),
    )
    assert_calls(fold_checked(net, (2, 4, 7, 9)), conv2d=1, add=1)


def test_then_a_pointwise_layer_and_a_view() -> None:
    net = Net(
        lambda m, x: m.fc(m.conv(m.first(x)).flatten(2).transpose(1, 2)),
        first=nn.Conv2d(3, 30, 1),
        conv=nn.Conv2d(30, 30, 3, padding=1),
        fc=nn.Linear(30, 2),
    )
    result = fold_checked(net, (2, 3, 7, 9))
    assert result.report.after.layers == 1
