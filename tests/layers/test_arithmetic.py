"""Scale and shift by numbers and per-channel constants: aten add, sub, rsub, mul, div, neg, addcmul."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.folding import Net
from tests.layers.table import Case, check

Step = Callable[[Any, Tensor], Tensor]

STEPS: dict[str, Step] = {
    "add": lambda m, y: y + 0.5,
    "add from the left": lambda m, y: 0.5 + y,
    "add with alpha": lambda m, y: torch.add(y, 0.5, alpha=3),
    "add whole": lambda m, y: y + 2,
    "add true": lambda m, y: y + True,
    "sub": lambda m, y: y - 0.5,
    "sub with alpha": lambda m, y: torch.sub(y, 0.5, alpha=3),
    "sub from": lambda m, y: 0.5 - y,
    "rsub": lambda m, y: torch.rsub(y, 0.5),
    "rsub with alpha": lambda m, y: torch.rsub(y, 0.5, alpha=3),
    "mul": lambda m, y: y * -1.5,
    "mul from the left": lambda m, y: -1.5 * y,
    "div": lambda m, y: y / 3,
    "neg": lambda m, y: -y,
    "several": lambda m, y: (3 - y * 2) / 7 + 1,
    "add a scalar parameter": lambda m, y: y + m.s,
    "mul by a scalar parameter": lambda m, y: y * m.s,
    "div by a scalar parameter": lambda m, y: y / m.s,
    "sub from a scalar parameter": lambda m, y: m.s - y,
    "add a channel's": lambda m, y: y + m.c,
    "add a channel's from the left": lambda m, y: m.c + y,
    "add a channel's with alpha": lambda m, y: torch.add(y, m.c, alpha=-2),
    "sub a channel's": lambda m, y: y - m.c,
    "sub from a channel's": lambda m, y: m.c - y,
    "rsub from a channel's": lambda m, y: torch.rsub(y, m.c, alpha=2),
    "mul by a channel's": lambda m, y: y * m.c,
    "mul by a channel's, with a batch axis": lambda m, y: m.c[None] * y,
    "div by a channel's": lambda m, y: y / m.c,
    "computed": lambda m, y: y * m.c.sigmoid() + m.c.sum() - m.c.mean(),
    "same input twice": lambda m, y: y + y,
    "and itself scaled": lambda m, y: y * 2 - y * m.c + y / 4,
}


@pytest.mark.parametrize("where", ["behind", "before"])
def test_beside_a_convolution(where: str) -> None:
    def net(step: Step) -> Net:
        return Net(
            (lambda m, x: step(m, m.conv(x))) if where == "behind" else (lambda m, x: m.conv(step(m, x))),
            conv=nn.Conv2d(4, 4, (1, 2)),
            c=nn.Parameter(torch.randn(4, 1, 1)),
            s=nn.Parameter(torch.randn(())),
        )

    check([Case(name, net(step), (4, 5, 6), {"conv2d": 1}) for name, step in STEPS.items()])


def test_beside_a_linear_layer() -> None:
    """The channels are the last axis; and a parameter of one number is a plain number."""

    def net(step: Step) -> Net:
        return Net(
            lambda m, x: m.b(step(m, m.a(x))),
            a=nn.Linear(2, 4),
            b=nn.Linear(4, 2),
            c=nn.Parameter(torch.randn(4)),
            s=nn.Parameter(torch.randn(1)),
        )

    some = ["several", "rsub with alpha", "sub from a scalar parameter", "sub from a channel's", "and itself scaled"]
    check([Case(name, net(STEPS[name]), (3, 2), {"linear": 1}) for name in some])


def addcmul(name: str, step: Step) -> Case:
    net = Net(lambda m, x: step(m, m.a(x)), a=nn.Conv2d(4, 4, (1, 2)), c=nn.Parameter(torch.randn(4, 1, 1)))
    return Case(name, net, (4, 5, 6), {"conv2d": 1})


def test_addcmul() -> None:
    """What folding itself writes for a lone scale and shift."""
    check(
        [
            addcmul("bias + x · scale", lambda m, y: torch.addcmul(m.c, y, m.c + 1)),
            addcmul("bias + scale · x", lambda m, y: torch.addcmul(m.c, m.c + 1, y)),
            addcmul("bias + v · x · scale", lambda m, y: torch.addcmul(m.c, y, m.c + 1, value=-0.5)),
            addcmul("x + constants", lambda m, y: torch.addcmul(y, m.c, m.c + 1, value=2)),
        ]
    )


def test_a_lone_scale_and_shift() -> None:
    """Nothing to fold it into: at most one operation is left."""
    check(
        [
            Case("scale and shift", Net(lambda m, x: (x * 2 + 1) * 3), (4, 5, 6), {"addcmul": 1}),
            Case("scale", Net(lambda m, x: x * 2 * 3), (4, 5, 6), {"mul": 1}),
            Case("shift", Net(lambda m, x: x + 2 + 3), (4, 5, 6), {"add": 1}),
            Case("nothing", Net(lambda m, x: x * 2 / 2 + 1 - 1), (4, 5, 6)),
        ]
    )


def test_what_is_not_a_channels_constant_is_left_alone() -> None:
    members = {
        "conv": nn.Conv2d(4, 4, (1, 2)),
        "p": nn.Parameter(torch.randn(4, 5, 5)),
        "c": nn.Parameter(torch.randn(4, 1, 1)),
    }
    check(
        [
            Case(name, Net(function, **members), (4, 5, 6))
            for name, function in {
                "a constant that differs by position": lambda m, x: m.conv(x) + m.p,
                "a scale by position": lambda m, x: m.conv(x) * m.p[0],
                "a scale of a row": lambda m, x: m.conv(x) * m.p[0, 0],
                "a scale of a column": lambda m, x: m.conv(x) * m.p[0, 0][:, None],
                "scales along two axes": lambda m, x: m.conv(x) * m.c * m.p[0, 0],
                "broadcasting upwards": lambda m, x: m.conv(x)[:, :1] * m.c,
                "more axes": lambda m, x: m.conv(x) * m.p[None, None],
                "a product of signals": lambda m, x: m.conv(x) * m.conv(x),
                "a quotient of signals": lambda m, x: m.conv(x) / (1 + m.conv(x).abs()),
                "one over": lambda m, x: 2.0 / (3 + m.conv(x).abs()),
                "a power": lambda m, x: m.conv(x) ** 2,
                "a rounding quotient": lambda m, x: torch.div(m.conv(x), 2, rounding_mode="floor"),
                "a signal of another shape": lambda m, x: m.conv(x) + m.conv(x).mean((2, 3), keepdim=True),
                "a sum with the batch": lambda m, x: m.conv(x) + m.conv(x).mean(0),
                "with a size": lambda m, x: m.conv(x) * x.shape[0] + x.shape[0] - x.size(0) / 2,
                "a weight with a size": lambda m, x: m.conv(x) + m.c * x.shape[0],
                "whole numbers": lambda m, x: (m.conv(x) > 0).long() * 2 + 1 + m.conv(x),
            }.items()
        ]
    )  # fmt: skip
