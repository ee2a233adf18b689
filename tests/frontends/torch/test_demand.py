"""What nobody reads is not computed, behind whatever lies between the cut and where the numbers come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import Net, assert_same, double, fold_checked

MACS = convfold.FoldConfig("macs")


class Block(nn.Module):
    """A transformer's, before its norms."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        parts = self.qkv(self.first(x)).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.second(x))))


def test_a_head_that_reads_one_token_needs_one_row_of_the_last_block() -> None:
    """Projection and both layers of the MLP; keys and values of all tokens, and with them, from one layer, queries."""
    d, t = 8, 11
    net = Net(
        lambda m, x: m.head(m.norm(m.two(m.one(x)))[:, 0]),
        one=Block(d, 2), two=Block(d, 2), norm=nn.LayerNorm(d), head=nn.Linear(d, 5),
    )  # fmt: skip
    result = fold_checked(net, (3, t, d), config=MACS)
    whole = t * 12 * d * d  # torch's counter counts no attention
    last = t * 3 * d * d + 9 * d * d
    assert result.report.before.macs == 3 * (2 * whole + 5 * d)
    assert result.report.after.macs <= 3 * (whole + last + 5 * d)


def conv(c_in: int, c_out: int, kernel: int = 3, **how: Any) -> nn.Module:
    return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, **how)


def both(z: Tensor, first: slice, second: slice) -> Tensor:
    return z[:, first] * z[:, second].sigmoid()


BEHIND: dict[str, Callable[[Any, Tensor], Any]] = {
    "relu": lambda m, y: F.relu(y)[:, :3],
    "select": lambda m, y: F.relu(y)[:, 2],
    "a chain of curves": lambda m, y: torch.tanh(F.gelu(y))[:, 1:4],
    "a norm": lambda m, y: F.relu(m.norm(F.relu(y)))[:, 2:5],
    "in groups": lambda m, y: F.relu(m.grouped(F.relu(y)))[:, 4:6],
    "depthwise": lambda m, y: F.relu(m.deep(F.relu(y)))[:, :2],
    "a pool": lambda m, y: F.max_pool2d(F.relu(y), 2)[:, :2],
    "a product of signals": lambda m, y: (y.sigmoid() * y)[:, :3],
    "a concatenation": lambda m, y: torch.cat([F.relu(y), y.sigmoid()], 1)[:, 9:12],
    "a softmax of space": lambda m, y: y.flatten(2).softmax(-1)[:, :3],
    "halves": lambda m, y: F.relu(y).chunk(2, 1)[0],
    "all but one of a split": lambda m, y: F.relu(y).split([3, 4, 1], 1)[1],
    "two readers": lambda m, y: both(F.silu(y), slice(0, 2), slice(2, 4)),
    "read by a mean": lambda m, y: F.relu(y).mean((2, 3))[:, :3],
    "expanded": lambda m, y: F.relu(y).mean((2, 3), keepdim=True).expand(-1, -1, 6, 5)[:, 1:3],
    "a stride": lambda m, y: F.relu(y)[:, 0:4:2],
}


@pytest.mark.parametrize("name", BEHIND)
def test_channels_that_nobody_reads(name: str) -> None:
    net = Net(
        lambda m, x: BEHIND[name](m, m.a(x)),
        a=conv(4, 8), norm=nn.BatchNorm2d(8), grouped=conv(8, 8, groups=4), deep=conv(8, 8, groups=8),
    )  # fmt: skip
    result = fold_checked(net, (3, 4, 6, 5), config=MACS)
    assert result.report.after.macs < result.report.before.macs


KEPT: dict[str, Callable[[Any, Tensor], Any]] = {
    "both halves are read": lambda m, y: both(F.relu(y), slice(0, 4), slice(4, 8)),
    "an end that is read on either side": lambda m, y: both(F.relu(y), slice(0, 1), slice(7, 8)),
    "a softmax of channels": lambda m, y: y.softmax(1)[:, :3],
    "it is an output too": lambda m, y: [z := F.relu(y), z[:, :3].exp()],
    "a sum of channels": lambda m, y: F.relu(y).sum(1, keepdim=True).expand(-1, 8, -1, -1)[:, :3],
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_read_is_computed(name: str) -> None:
    net = Net(lambda m, x: KEPT[name](m, m.a(x)), a=conv(4, 8))
    result = fold_checked(net, (3, 4, 6, 5), config=MACS)
    assert result.report.after.macs == result.report.before.macs


def test_nearly_all_that_is_read_is_not_cut_for_time() -> None:
    """A cut has its price too."""
    net = Net(lambda m, x: F.relu(m.a(x))[:, :7], a=conv(4, 8))
    assert fold_checked(net, (3, 4, 6, 5), config=convfold.FoldConfig("time")).report.after.macs == 3 * 4 * 8 * 9 * 30
    assert fold_checked(net, (3, 4, 6, 5), config=MACS).report.after.macs == 3 * 4 * 7 * 9 * 30


def test_a_little_is_not_worth_a_call() -> None:
    """A small block: the cuts where its branches begin cost more than what they spare."""
    d = 8
    net = Net(lambda m, x: m.head(m.norm(m.one(x))[:, 0]), one=Block(d, 2), norm=nn.LayerNorm(d), head=nn.Linear(d, 5))
    time, macs = (fold_checked(net, (3, 11, d), config=convfold.FoldConfig(o)).report for o in ("time", "macs"))
    assert time.after.macs == time.before.macs == macs.before.macs > 2 * macs.after.macs


def test_excluded_modules_compute_all() -> None:
    net = Net(lambda m, x: F.relu(m.a(x))[:, :2], a=nn.Sequential(conv(4, 8), nn.ReLU()))
    config = convfold.FoldConfig("macs", exclude=("a*",))
    assert fold_checked(net, (3, 4, 6, 5), config=config).report.after.macs == 3 * 4 * 8 * 9 * 30


def test_it_is_in_the_report() -> None:
    net = Net(lambda m, x: F.relu(m.a(x))[:, :2], a=nn.Sequential(conv(4, 8), nn.ReLU()))
    report = fold_checked(net, (3, 4, 6, 5), config=MACS).report
    (applied,) = (a for a in report.applied if a.after == "the same, on positions that are read")
    assert applied.before == "1 conv2d, 2 relu"
    assert (applied.macs_before, applied.macs_after) == (report.before.macs, report.after.macs)


def test_another_checkpoint() -> None:
    """Its weights are cut as those before were."""
    net = Net(lambda m, x: F.relu(m.norm(F.relu(m.a(x))))[:, 2:5], a=conv(4, 8), norm=nn.BatchNorm2d(8))
    result = fold_checked(net, (3, 4, 6, 5), config=MACS)
    other = double(Net(net.function, a=conv(4, 8), norm=nn.BatchNorm2d(8)), seed=5)
    again = result.load_original(other.state_dict())
    assert again.report.after.macs == result.report.after.macs
    assert_same(again.module, other, [(3, 4, 6, 5)])


def test_what_trains_still_does() -> None:
    """Of weights of which a part is read gradients are what they were there, statistics have none."""
    net = Net(lambda m, x: F.relu(m.norm(F.relu(m.a(x))))[:, 2:5], a=conv(4, 8), norm=nn.BatchNorm2d(8))
    module = fold_checked(net, (3, 4, 6, 5), config=MACS).module
    module(torch.randn(3, 4, 6, 5, dtype=torch.float64)).sum().backward()
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad)
    assert sum(p.requires_grad for p in module.parameters()) >= 2
