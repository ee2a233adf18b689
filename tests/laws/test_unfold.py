"""A matrix on patches is a convolution, and one before columns are added up a transposed convolution."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import Net, fold_checked

MACS = convfold.FoldConfig("macs")

PATCHES: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "a matrix on the left": lambda m, x: m.l.weight @ F.unfold(x, 3, padding=1),
    "a matrix on the right": lambda m, x: (F.unfold(x, 3, padding=1).mT @ m.l.weight.mT).mT,
    "a linear layer": lambda m, x: m.l(F.unfold(x, 3, padding=1).mT).mT,
    "an einsum": lambda m, x: torch.einsum("oc,ncl->nol", m.l.weight, F.unfold(x, 3, padding=1)),
    "a layer of nn": lambda m, x: m.l.weight @ m.u(x),
}


@pytest.mark.parametrize("name", PATCHES)
def test_a_convolution_by_hand(name: str) -> None:
    """As lectures write it: one convolution."""
    net = Net(
        lambda m, x: PATCHES[name](m, x).reshape(x.shape[0], 6, 7, 5),
        l=nn.Linear(36, 6, bias=name == "a linear layer"),
        u=nn.Unfold(3, padding=1),
    )
    after = fold_checked(net, (2, 4, 7, 5), config=MACS).report.after
    assert (after.ops, after.macs) == (1, 2 * 35 * 6 * 36)


def test_strides_and_dilation() -> None:
    net = Net(lambda m, x: m.l(F.unfold(x, (2, 3), (2, 1), (1, 0), (1, 2)).mT), l=nn.Linear(24, 6))
    report = fold_checked(net, (2, 4, 7, 8), config=MACS).report
    assert report.after.macs == report.before.macs and report.after.ops <= report.before.ops


def test_patches_alone_stay_the_call_that_they_are() -> None:
    net = Net(lambda m, x: torch.softmax(F.unfold(torch.tanh(x), 3, stride=2), 1))
    assert not fold_checked(net, (2, 4, 7, 9), config=MACS).report.changed


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_added_up_where_they_overlap(stride: int) -> None:
    """A layer before them and one behind."""
    size = (2 + 3 * stride, 2 + 2 * stride)
    net = Net(
        lambda m, x: m.b(F.fold(m.a(x).flatten(2), size, 2, stride=stride)),
        a=nn.Conv2d(3, 16, 1, bias=False),
        b=nn.Conv2d(4, 2, 1),
    )
    report = fold_checked(net, (2, 3, 4, 3), config=MACS).report
    assert report.after.macs < report.before.macs


def test_there_and_back() -> None:
    """How often each position is read: a scale of positions."""
    net = Net(lambda m, x: m.b(F.fold(F.unfold(m.a(x), 3, padding=1), (6, 5), 3, padding=1)), **_layers())
    fold_checked(net, (2, 3, 6, 5), config=MACS)


def test_a_free_size_is_left() -> None:
    net = Net(lambda m, x: m.b(F.unfold(m.a(x), 3).mT), a=nn.Conv2d(3, 4, 1), b=nn.Linear(36, 2)).double().eval()
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    h = torch.export.Dim("h", min=4)
    result = convfold.fold(net, (x,), dynamic_shapes=(({2: h},),), config=MACS)
    y = torch.randn(2, 3, 9, 5, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(result.module(y), net(y), rtol=1e-10, atol=1e-10)


def _layers() -> dict[str, nn.Module]:
    return {"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(4, 2, 1)}
