"""What torch writes in other words, in place or with fewer numbers: the same few laws, the same cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import Net, fold_checked

MACS = convfold.FoldConfig("macs")
ROWS = torch.arange(16.0, dtype=torch.float64).reshape(2, 8) / 16 - 0.4


def written(y: Tensor, at: slice, by: Callable[[Tensor], Tensor]) -> Tensor:
    z = y.clone()
    z[:, at] = by(z[:, at])
    return z


def gathered(y: Tensor) -> Tensor:
    z = torch.zeros_like(torch.cat([y, y], 1))
    z[:, ::2] = y
    z[:, 1::2] = -y
    return z


#: Maps of eight channels between two 1×1: one is left, whatever it is called.
MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "composite arithmetic": lambda y: y.true_divide(3).subtract(0.5).multiply(1.5).negative(),
    "degrees": torch.deg2rad,
    "stacks of other names": lambda y: torch.hstack([y[:, 4:], y[:, :4]]),
    "column_stack": lambda y: torch.column_stack([y[:, 6:], y[:, :6]]),
    "fliplr": torch.fliplr,
    "tensor_split": lambda y: torch.cat(y.tensor_split(3, 1)[::-1], 1),
    "unsafe_chunk": lambda y: torch.cat(torch.unsafe_chunk(y, 2, 1)[::-1], 1),
    "differences": lambda y: torch.diff(y, dim=1),
    "trapezoids": lambda y: torch.cumulative_trapezoid(y, dim=1),
    "stacked beside each other": lambda y: torch.stack([y, 0.5 * y], 2).flatten(1, 2),
    "laid between others": lambda y: torch.cat([y.unflatten(1, (2, 4)), y[:, None, 2:6]], 1).flatten(1, 2),
    "two of where": lambda y: torch.where(torch.arange(8)[:, None, None] > 3, y, -0.5 * y),
    "numbers of where": lambda y: torch.where(torch.arange(8)[:, None, None] > 3, y, 1.5),
    "filled": lambda y: y.masked_fill((torch.arange(8) > 5)[:, None, None], -2.0),
    "their mean taken off": lambda y: y - y.mean(1, keepdim=True),
    "their sum added": lambda y: y.sum(1, keepdim=True) + y,
    "an einsum of three axes": lambda y: torch.einsum("nchw,cab->nabhw", y, ROWS.reshape(8, 2, 1)).flatten(1, 2),
    "an einsum of heads": lambda y: torch.einsum("nabhw,abo->nohw", y.unflatten(1, (2, 4)), ROWS.reshape(2, 4, 2)),
    "an einsum that weighs": lambda y: torch.einsum("nchw,c->nchw", y, ROWS[0]),
    "tensordot of two axes": lambda y: torch.tensordot(
        y.unflatten(1, (2, 4)), ROWS.reshape(2, 4, 2), dims=([1, 2], [0, 1])
    ).movedim(-1, 1),
    "inner": lambda y: torch.inner(y.movedim(1, -1), ROWS).movedim(-1, 1),
    "some written over": lambda y: written(y, slice(2, 5), lambda part: 0.5 * part),
    "one written over": lambda y: torch.select_scatter(y, y[:, 1], 1, 6),
    "gathered in place": gathered,
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_between_layers(name: str) -> None:
    with torch.no_grad():
        wide = MAPS[name](torch.zeros(2, 8, 6, 5, dtype=torch.float64)).shape[1]
    net = Net(lambda m, x: m.b(MAPS[name](m.a(x))), a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(wide, 4, 1))
    after = fold_checked(net, (2, 3, 6, 5), config=MACS).report.after
    assert (after.macs, after.ops) == (2 * 30 * 12, 1)


def test_by_a_vector() -> None:
    """The axis is gone, and comes back: one channel lies between two layers."""
    net = Net(
        lambda m, x: m.b((m.a(x).movedim(1, -1) @ ROWS[1]).unsqueeze(1)), a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(1, 4, 1)
    )
    assert fold_checked(net, (2, 3, 6, 5), config=MACS).report.after.macs == 2 * 30 * (3 + 4)


def spread(x: Tensor, into: Callable[[Tensor], Tensor]) -> Tensor:
    y = into(x)
    y[:, :, ::2, ::2] = x
    return y


UPSAMPLED: dict[str, Callable[[Tensor], Tensor]] = {
    "written into zeros": lambda x: spread(x, lambda x: x.new_zeros(x.shape[0], 4, 12, 10)),
    "written into zeros of a larger map": lambda x: spread(
        x, lambda x: torch.zeros_like(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    ),
    "padded": lambda x: F.pad(x[:, :, :, None, :, None], (0, 1, 0, 0, 0, 1)).reshape(x.shape[0], 4, 12, 10),
    "as its own layer": lambda x: F.conv_transpose2d(
        x, torch.ones(4, 1, 1, 1, dtype=x.dtype), stride=2, output_padding=1, groups=4
    ),
}


@pytest.mark.parametrize("name", UPSAMPLED)
def test_zeros_between_positions(name: str) -> None:
    """A layer behind it reads what is there: a quarter of its taps at every position."""
    net = Net(lambda m, x: m.a(UPSAMPLED[name](x)), a=nn.Conv2d(4, 4, 3, padding=1))
    after = fold_checked(net, (2, 4, 6, 5), config=MACS).report.after
    assert (after.macs, after.ops) == (2 * 30 * 16 * 9, 1)


def test_what_overlaps_itself_is_refused() -> None:
    """Which number is copied first decides what is read: torch's own result is no function that could be proved."""

    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Any:
            y = self.a(x).clone()
            y[:, 1:, :2] = y[:, :-1, :2]
            return self.a(y)

    with pytest.raises(convfold.InvalidInput, match=r"overlapping part of itself.*clone"):
        convfold.fold(Shift(), (torch.randn(2, 5, 8),))
