"""Weights that are computed from others: 7 of 214 models, 280 layers. They are constants all the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from tests.folding import Net, assert_calls, calls, fold_checked


def standardised(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """BiT and the ResNets of big transfer: zero mean, unit variance over each output's weights."""
    w = conv.weight
    w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.var((1, 2, 3), keepdim=True, unbiased=False) + 1e-8).sqrt()
    return F.conv2d(x, w, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def test_weight_standardisation() -> None:
    net = Net(lambda m, x: m.norm(standardised(m.conv, x)).relu(), conv=nn.Conv2d(3, 4, (3, 2)), norm=nn.BatchNorm2d(4))
    assert_calls(fold_checked(net, (2, 3, 7, 6)), conv2d=1, relu=1)


def test_weight_standardisation_by_batch_norm() -> None:
    """timm's StdConv2d normalises its weight with F.batch_norm in training mode: that one may stay."""

    def std(conv: nn.Conv2d, x: Tensor) -> Tensor:
        w = F.batch_norm(conv.weight.reshape(1, 4, -1), None, None, training=True, momentum=0.0).reshape_as(conv.weight)
        return F.conv2d(x, w, conv.bias)

    net = Net(lambda m, x: m.norm(std(m.conv, x)).relu(), conv=nn.Conv2d(3, 4, (3, 2)), norm=nn.BatchNorm2d(4))
    result = fold_checked(net, (2, 3, 7, 6))
    assert calls(result)["conv2d"] == 1 and result.report.after.batch_norms == 0


@pytest.mark.parametrize(
    "computed",
    [
        parametrizations.weight_norm,
        lambda layer: parametrizations.weight_norm(layer, dim=None),
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    ],
    ids=["weight_norm", "weight_norm of all", "spectral_norm", "orthogonal", "pruned"],
)
@pytest.mark.parametrize("kind", ["conv", "linear", "transposed"])
def test_parametrisations(computed: Any, kind: str) -> None:
    layer, norm, shape = {
        "conv": (nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4), (2, 3, 7, 6)),
        "linear": (nn.Linear(5, 4), nn.BatchNorm1d(4), (2, 5)),
        "transposed": (nn.ConvTranspose2d(3, 4, (3, 2), stride=2), nn.BatchNorm2d(4), (2, 3, 7, 6)),
    }[kind]
    net = nn.Sequential(computed(layer), norm, nn.ReLU())
    result = fold_checked(net, shape)
    found = calls(result)
    assert found["conv2d"] + found["conv_transpose2d"] + found["linear"] == 1
    # Exact zeros at a kernel's edge (pruned, or of an orthogonal map) are cut off, which may leave a crop.
    assert found.keys() <= {"conv2d", "conv_transpose2d", "linear", "relu", "constant_pad_nd", "add"}


class LowRank(nn.Module):
    """W + s · B A, as LoRA adds it to a linear layer's weight."""

    def __init__(self, c_out: int, c_in: int, rank: int) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(rank, c_in)), nn.Parameter(torch.randn(c_out, rank))

    def forward(self, w: Tensor) -> Tensor:
        return w + 0.5 * (self.b @ self.a)


def test_a_low_rank_update_of_the_weight() -> None:
    layer = nn.Linear(6, 5)
    parametrize.register_parametrization(layer, "weight", LowRank(5, 6, 2))
    assert_calls(fold_checked(nn.Sequential(layer, nn.BatchNorm1d(5), nn.ReLU()), (2, 6)), linear=1, relu=1)


def test_a_low_rank_update_beside_the_layer() -> None:
    """peft's spelling: linear(x) + s · B(A(dropout(x))). One linear layer in eval mode."""
    net = Net(
        lambda m, x: m.base(x) + 2.0 * m.b(m.a(m.dropout(x))),
        base=nn.Linear(8, 8),
        dropout=nn.Dropout(),
        a=nn.Linear(8, 2, bias=False),
        b=nn.Linear(2, 8, bias=False),
    )
    assert_calls(fold_checked(net, (2, 3, 8)), linear=1)


def test_a_low_rank_update_of_a_convolution() -> None:
    """3×3 to a few channels, 1×1 back, added to the 3×3 it adapts."""
    net = Net(
        lambda m, x: m.base(x) + m.b(m.a(x)),
        base=nn.Conv2d(6, 8, (3, 5), padding=(1, 2)),
        a=nn.Conv2d(6, 2, (3, 5), padding=(1, 2), bias=False),
        b=nn.Conv2d(2, 8, 1, bias=False),
    )
    assert_calls(fold_checked(net, (2, 6, 7, 9)), conv2d=1)


def test_a_kernel_put_together_from_parts() -> None:
    """Two kernels concatenated, one of them flipped and scaled by a learnt number."""
    net = Net(
        lambda m, x: m.norm(F.conv2d(x, torch.cat([m.a, m.b.flip(3) * m.s]), m.c.repeat(2))).relu(),
        a=nn.Parameter(torch.randn(2, 3, 3, 2)),
        b=nn.Parameter(torch.randn(2, 3, 3, 2)),
        s=nn.Parameter(torch.randn(())),
        c=nn.Parameter(torch.randn(2)),
        norm=nn.BatchNorm2d(4),
    )
    assert_calls(fold_checked(net, (2, 3, 7, 6)), conv2d=1, relu=1)


def test_a_kernel_computed_from_the_input_is_no_constant() -> None:
    def dynamic(m: Any, x: Tensor) -> Tensor:
        y: Tensor = m.norm(F.conv2d(x, m.w * x.mean(), m.norm.bias)).relu()
        return y

    net = Net(dynamic, w=nn.Parameter(torch.randn(4, 3, 3, 2)), norm=nn.BatchNorm2d(4))
    result = fold_checked(net, (2, 3, 7, 6))
    assert calls(result)["conv2d"] == 1 and result.report.refused == ()


def test_a_batch_norm_written_out() -> None:
    """torchvision's and DETR's FrozenBatchNorm2d: four buffers and arithmetic."""

    def frozen(m: Any, x: Tensor) -> Tensor:
        scale = (m.weight * (m.var.abs() + 1e-5).rsqrt()).reshape(1, -1, 1, 1)
        bias = (m.bias - m.mean * m.weight * (m.var.abs() + 1e-5).rsqrt()).reshape(1, -1, 1, 1)
        y: Tensor = m.conv(x) * scale + bias
        return y.relu()

    buffers = {name: torch.randn(4) for name in ("weight", "bias", "mean", "var")}
    result = fold_checked(Net(frozen, conv=nn.Conv2d(3, 4, (3, 2), bias=False), **buffers), (2, 3, 7, 6))
    assert_calls(result, conv2d=1, relu=1)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_computed_weight_trains_if_what_it_is_computed_from_does(frozen: bool) -> None:
    layer = parametrizations.weight_norm(nn.Conv2d(3, 4, (3, 2)))
    net = nn.Sequential(layer, nn.BatchNorm2d(4), nn.ReLU()).requires_grad_(not frozen)
    result = fold_checked(net, (2, 3, 7, 6))
    assert {p.requires_grad for p in result.module.parameters()} == {not frozen}
