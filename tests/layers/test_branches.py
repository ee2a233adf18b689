"""Sums of several branches and concats of channels: aten add, cat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.folding import Net
from tests.layers.table import Case, check

SHAPE = (4, 6, 7)


def conv(c_in: int, c_out: int, size: Any = 1, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, size, **options)


def normed(c_in: int, c_out: int, size: Any = 1, **options: Any) -> nn.Sequential:
    return nn.Sequential(conv(c_in, c_out, size, bias=False, **options), nn.BatchNorm2d(c_out))


class Sum(nn.Module):
    """The sum of branches, and of the input if ``skip``."""

    def __init__(self, *branches: nn.Module, skip: bool = False) -> None:
        super().__init__()
        self.branches, self.skip = nn.ModuleList(branches), skip

    def forward(self, x: Tensor) -> Tensor:
        total = x if self.skip else None
        for branch in self.branches:
            total = branch(x) if total is None else total + branch(x)
        assert total is not None
        return total


class Concat(nn.Module):
    """Branches side by side."""

    def __init__(self, *branches: nn.Module, axis: int = 1) -> None:
        super().__init__()
        self.branches, self.axis = nn.ModuleList(branches), axis

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([b(x) for b in self.branches], self.axis)


def test_sums() -> None:
    one, p = {"conv2d": 1}, {"padding": 1}
    check(
        [
            Case("one kernel twice", Sum(conv(4, 5, 3, **p), conv(4, 5, 3, **p)), SHAPE, one),
            Case("RepVGG", Sum(normed(4, 4, 3, **p), normed(4, 4), nn.BatchNorm2d(4)), SHAPE, one),
            Case("RepVGG, strided", Sum(normed(4, 6, 3, stride=2, **p), normed(4, 6, stride=2)), SHAPE, one),
            Case("a skip", Sum(conv(4, 4, 3, **p), skip=True), SHAPE, one),
            Case("a skip, grouped", Sum(conv(4, 4, 3, groups=2, **p), skip=True), SHAPE, one),
            Case("a skip, depthwise", Sum(conv(4, 4, 3, groups=4, **p), skip=True), SHAPE, one),
            Case(
                "depthwise of several sizes",
                Sum(*(conv(4, 4, k, groups=4, padding=k // 2) for k in (5, 3, 1))),
                SHAPE,
                one,
            ),
            Case(
                "crossing",
                Sum(conv(4, 5, (3, 3), **p), conv(4, 5, (1, 3), padding=(0, 1)), conv(4, 5, (3, 1), padding=(1, 0))),
                SHAPE,
                one,
            ),
            Case("two skips", Net(lambda m, x: x + m.b(x + m.a(x)), a=conv(4, 4, 3, **p), b=conv(4, 4)), SHAPE, one),
            Case("dilated apart", Sum(conv(4, 5, 3, padding=2, dilation=2), conv(4, 5, 3, **p)), SHAPE, layers=None),
            Case(
                "strides differ",
                Sum(conv(4, 5, (3, 3), stride=2, **p), nn.Sequential(conv(4, 5), nn.AvgPool2d(2, ceil_mode=True))),
                (4, 6, 8),
            ),
            Case(
                "of different inputs",
                Net(lambda m, x: m.a(x) + m.b(x.relu()), a=conv(4, 5), b=conv(4, 5)),
                SHAPE,
                {"conv2d": 2, "add": 1, "relu": 1},
            ),
            Case("linear", Sum(nn.Linear(7, 7), nn.Linear(7, 7, bias=False), skip=True), SHAPE, {"linear": 1}),
            Case("subtracted", Net(lambda m, x: m.a(x) - m.b(x) - x, a=conv(4, 4), b=conv(4, 4)), SHAPE, one),
            Case(
                "with alpha",
                Net(lambda m, x: torch.add(m.a(x), m.b(x), alpha=-0.5), a=conv(4, 4), b=conv(4, 4)),
                SHAPE,
                one,
            ),
            Case(
                "sub with alpha",
                Net(lambda m, x: torch.sub(m.a(x), m.b(x), alpha=3), a=conv(4, 4), b=conv(4, 4)),
                SHAPE,
                one,
            ),
            Case("then one tap", nn.Sequential(Sum(conv(4, 8, 3, **p), conv(4, 8)), conv(8, 2)), SHAPE, one),
            Case(
                "behind one tap", nn.Sequential(conv(4, 8, bias=False), Sum(conv(8, 4, 3, **p), conv(8, 4))), SHAPE, one
            ),
            Case("then a norm", nn.Sequential(Sum(conv(4, 5, 3, **p), conv(4, 5)), nn.BatchNorm2d(5)), SHAPE, one),
            Case("a sum of sums", Sum(Sum(conv(4, 5), conv(4, 5)), Sum(conv(4, 5, 3, **p), normed(4, 5))), SHAPE, one),
            Case("added to its mean", Net(lambda m, x: m.a(x) + m.a(x).mean((2, 3), True), a=conv(4, 5)), SHAPE),
            Case(
                "stacked and summed",
                Net(lambda m, x: torch.stack([m.a(x), m.b(x)]).sum(0), a=conv(4, 5), b=conv(4, 5)),
                SHAPE,
            ),
        ]
    )


def test_a_long_chain_of_residuals_is_gathered_at_each_sum() -> None:
    """x + conv(x), repeated: one kernel, not 2^n paths."""
    blocks = [Sum(conv(3, 3, bias=False), skip=True) for _ in range(24)]
    check([Case("24 residuals", nn.Sequential(*blocks), (3, 5, 6), {"conv2d": 1})])


def test_concats() -> None:
    two, one = {"conv2d": 2, "add": 1}, {"conv2d": 1}
    check(
        [
            Case("of two readings of one", Concat(conv(4, 3), conv(4, 2)), SHAPE, one),
            Case("of other sizes", Concat(conv(4, 3, 3, padding=1), conv(4, 2)), SHAPE),
            Case("of another branch of the input", Concat(conv(4, 3), nn.Identity()), SHAPE),
            Case("then one tap", nn.Sequential(Concat(conv(4, 6), conv(4, 6)), conv(12, 2)), SHAPE, one),
            Case("then a norm", nn.Sequential(Concat(conv(4, 3, 3), conv(4, 2, 3)), nn.BatchNorm2d(5)), SHAPE, one),
            Case(
                "of other inputs, then one tap",
                Net(lambda m, x: m.c(torch.cat([m.a(x), m.b(x.relu())], 1)), a=conv(4, 8), b=conv(4, 8), c=conv(16, 2)),
                SHAPE,
                {**two, "relu": 1},
            ),
            Case(
                "the input and its half, then one tap",
                Net(lambda m, x: m.c(torch.cat([x, m.a(x)], 1)), a=conv(4, 2), c=conv(6, 4)),
                SHAPE,
                one,
            ),
            Case("nested", nn.Sequential(Concat(Concat(conv(4, 2), conv(4, 2)), conv(4, 4)), conv(8, 2)), SHAPE, one),
            Case(
                "then grouped along the parts",
                nn.Sequential(Concat(conv(4, 4, 3), conv(4, 4, 3)), conv(8, 2, groups=2)),
                SHAPE,
                one,
            ),
            Case(
                "then grouped across the parts",
                nn.Sequential(Concat(conv(4, 2, 3), conv(4, 6, 3)), conv(8, 2, groups=2)),
                SHAPE,
            ),
            Case("then depthwise", nn.Sequential(Concat(conv(4, 2), conv(4, 6)), conv(8, 8, 3, groups=8)), SHAPE),
            Case("of sums", nn.Sequential(Concat(Sum(conv(4, 4), conv(4, 4)), conv(4, 4)), conv(8, 2)), SHAPE, one),
            Case(
                "with a constant",
                Net(
                    lambda m, x: m.c(torch.cat([m.a(x), m.p.expand(x.shape[0], 2, 6, 7)], 1)),
                    a=conv(4, 6),
                    c=conv(8, 2),
                    p=nn.Parameter(torch.randn(1, 2, 1, 1)),
                ),
                SHAPE,
            ),
            Case("along height", nn.Sequential(Concat(conv(4, 6), conv(4, 6), axis=2), conv(6, 2)), SHAPE),
            Case(
                "along width, by the last axis",
                nn.Sequential(Concat(conv(4, 6), conv(4, 6), axis=-1), nn.BatchNorm2d(6)),
                SHAPE,
            ),
            Case("of the batch", nn.Sequential(Concat(conv(4, 6), conv(4, 6), axis=0), conv(6, 2)), SHAPE),
            Case(
                "of channels last",
                nn.Sequential(Concat(nn.Linear(7, 8), nn.Linear(7, 4), axis=-1), nn.Linear(12, 3)),
                SHAPE,
                {"linear": 1},
            ),
            Case(
                "the same twice",
                Net(lambda m, x: (y := m.a(x), m.c(torch.cat([y, y], 1)))[1], a=conv(4, 8), c=conv(16, 2)),
                SHAPE,
                one,
            ),
            Case(
                "hypercolumn",
                Net(
                    lambda m, x: m.c(torch.cat([x, (y := m.a(x)), m.b(y)], 1)), a=conv(4, 2), b=conv(2, 2), c=conv(8, 3)
                ),
                SHAPE,
            ),
        ]
    )
