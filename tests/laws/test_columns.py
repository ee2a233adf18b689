"""Channels picked one by one before an operator are which of them it reads: one operator, whatever picked them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import convfold
from tests.folding import Net, fold_checked

MACS = convfold.FoldConfig("macs")

PICKED: dict[str, Callable[[Tensor], Tensor]] = {
    "slices": lambda x: torch.cat([x[:, 2:3], x[:, 1:2], x[:, 0:1]], 1),
    "selected": lambda x: torch.stack([x[:, 2], x[:, 1], x[:, 0]], 1),
    "unbound": lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "chunks": lambda x: torch.cat(x.chunk(3, 1)[::-1], 1),
    "by an index": lambda x: x[:, [2, 1, 0]],
    "narrowed": lambda x: torch.cat([x.narrow(1, 2, 1), x.narrow(1, 1, 1), x.narrow(1, 0, 1)], 1),
    "flipped": lambda x: x.flip(1),
}


@pytest.mark.parametrize("name", PICKED)
@pytest.mark.parametrize("padding", [0, 1])
def test_channels_in_another_order(name: str, padding: int) -> None:
    net = Net(lambda m, x: m.c(PICKED[name](x)), c=nn.Conv2d(3, 8, 3, padding=padding))
    after = fold_checked(net, (2, 3, 7, 6), config=MACS).report.after
    assert (after.ops, after.macs) == (1, 8 * 27 * 2 * (7 if padding else 5) * (6 if padding else 4))


@pytest.mark.parametrize("shifts", [(0, 0, 0), (1, 0, -1), (0.5, -0.25, 2)])
def test_each_channel_scaled_by_hand(shifts: tuple[float, ...]) -> None:
    """Inception's ``transform_input``, and the same with the channels' axis gone in between."""

    def unsqueezed(x: Tensor) -> Tensor:
        return torch.cat([x[:, i].unsqueeze(1) * (i + 2) / 3 + s for i, s in enumerate(shifts)], 1)

    def stacked(x: Tensor) -> Tensor:
        return torch.stack([(x[:, i] * (i + 2) + s) / 3 for i, s in enumerate(shifts)], 1)

    for scaled in (unsqueezed, stacked):
        after = fold_checked(Net(lambda m, x, f=scaled: m.c(f(x)), c=nn.Conv2d(3, 8, 3)), (2, 3, 7, 6), config=MACS)
        assert after.report.after.ops == 1
        padded = Net(lambda m, x, f=scaled: m.c(f(x)), c=nn.Conv2d(3, 8, 3, padding=1))
        assert fold_checked(padded, (2, 3, 7, 6), config=MACS).report.after.ops <= 2  # what lies outside is not shifted


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_least_slice_that_has_both(n: int) -> None:
    """Of eight channels only those that are read; every second one too."""
    layers = {"a": nn.Conv1d(1, 5, 3), "b": nn.Conv1d(1, 5, 3)}
    net = Net(lambda m, x: m.a(x[:, 2:3]) + m.b(x[:, 2 + n : 3 + n]), **layers)
    after = fold_checked(net, (2, 8, 11), config=MACS).report.after
    assert (after.ops, after.macs) == (2, 2 * 9 * 5 * 3 * 2)


def test_halves_that_do_not_pay() -> None:
    """A 1×1 of one half and a 5×5 of the other are dearer as a 5×5 of both."""
    net = Net(lambda m, x: m.a(x[:, :4]) + m.b(x[:, 4:]), a=nn.Conv2d(4, 6, 1), b=nn.Conv2d(4, 6, 5, padding=2))
    report = fold_checked(net, (1, 8, 9, 9), config=MACS).report
    assert report.after.macs == report.before.macs


def test_a_half_as_it_is_beside_an_operator_of_the_other() -> None:
    net = Net(lambda m, x: m.d(x[:, :4] + m.a(x[:, 4:])), a=nn.Conv2d(4, 4, 1), d=nn.Conv2d(4, 3, 1))
    after = fold_checked(net, (2, 8, 5, 5), config=MACS).report.after
    assert (after.ops, after.macs) == (1, 2 * 25 * 8 * 3)


@pytest.mark.parametrize("wide", [False, True])
def test_behind_a_border(wide: bool) -> None:
    """Each half through two padded layers: paths that end at the border, of operators that read both."""
    layers = {name: nn.Conv2d(2, 2, 3, padding=1) for name in "abcd"}
    net = Net(lambda m, x: m.b(m.a(x[:, ::2])) + m.d(m.c(x[:, 1::2])), **layers)
    fold_checked(net, (1, 4, 8, 9), config=convfold.FoldConfig("macs" if wide else "time"))
