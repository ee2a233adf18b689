"""A scale and shift of channels passes a view that merges them with other axes: 1 ⊗ D ⊗ 1 behind it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import convfold
from convfold.algebra.layout import Layout
from tests.folding import Net, fold_checked

MACS = convfold.FoldConfig("macs")


def test_a_batch_norm_before_a_flatten() -> None:
    """ArcFace's embedding: batch norm, flatten, linear, batch norm."""
    layers = {"a": nn.BatchNorm2d(6), "b": nn.Linear(6 * 4 * 5, 7), "c": nn.BatchNorm1d(7)}
    net = Net(lambda m, x: m.c(m.b(torch.flatten(m.a(x), 1))), **layers)
    after = fold_checked(net, (2, 6, 4, 5), config=MACS).report.after
    assert (after.ops, after.batch_norms, after.macs) == (2, 0, 2 * 120 * 7)


MERGED: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "with what is behind": (lambda x: x.flatten(1, 2), 12),
    "with what is before": (lambda x: x.transpose(1, 2).flatten(1, 2), 12),
    "in the middle": (lambda x: x.permute(0, 2, 1, 3).reshape(x.shape[0], -1), 60),
    "written out": (lambda x: x.reshape(-1, 12, 5), 12),
}


@pytest.mark.parametrize("name", MERGED)
@pytest.mark.parametrize("kind", ["scale", "shift", "both"])
def test_a_view_between(name: str, kind: str) -> None:
    view, channels = MERGED[name]
    scale, shift = (torch.randn(3, 1, 1, generator=torch.Generator().manual_seed(i)).double() for i in range(2))

    def scaled(x: Tensor) -> Tensor:
        x = x if kind == "shift" else x * scale
        return x if kind == "scale" else x + shift

    def after(m: nn.Module, x: Tensor) -> Tensor:
        y = view(scaled(x))
        return m.b(y) if y.dim() == 2 else m.b(y.mT)

    report = fold_checked(Net(after, b=nn.Linear(channels, 4)), (2, 3, 4, 5), config=MACS).report
    assert report.after.ops == report.before.ops - {"scale": 1, "shift": 1, "both": 2}[kind]


def test_an_axis_of_unknown_length_is_left() -> None:
    """Merged with the batch, or with a height that is free: how often is known at run time only."""
    net = Net(lambda m, x: m.b((x * 2 + m.a(x)).reshape(-1, 5)), a=nn.BatchNorm2d(3), b=nn.Linear(5, 4))
    fold_checked(net, (2, 3, 4, 5))


def test_which_axes_are_merged() -> None:
    view = Layout.view((2, 3, 4, 5), (2, 12, 5), (2, 12, 5))
    assert view.merged(1) == (1, 1, 4) and view.merged(2) == (1, 3, 1)
    assert view.merged(0) is None and view.merged(3) is None  # they stay what they are
    assert Layout.view(("n", 3, 4), ("n", 12), (2, 12)).merged(1) == (1, 1, 4)
    assert Layout.view(("n", 3, 4), (6, 4), (6, 4)).merged(1) is None
    assert Layout.view((2, 12), (2, 3, 4), (2, 3, 4)).merged(1) is None
    assert Layout.view((2, 3, "h"), (2, "3h"), (2, 12)).merged(1) is None
    assert Layout.view((6, 4), (8, 3), (8, 3)).merged(0) is None
    assert Layout.permute((1, 0)).merged(0) is None
