"""nn.Linear; aten linear, addmm, mm, matmul with a constant on either side."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convfold import fold
from tests.folding import Net, assert_same, double, fold_checked, noise
from tests.laws.oracle import assert_close
from tests.layers.table import Case, check


def test_beside_another() -> None:
    one = {"linear": 1}
    check(
        [
            Case("two", nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), (3,), one, merges=True),
            Case("no bias", nn.Sequential(nn.Linear(3, 8, False), nn.Linear(8, 2, False)), (3,), one, merges=True),
            Case("one bias", nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2, False)), (3,), one, merges=True),
            Case("tokens", nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), (5, 3), one),
            Case("maps", nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), (5, 4, 3), one),
            Case("five axes", nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), (2, 3, 2, 3), one),
            Case("three", nn.Sequential(nn.Linear(2, 9), nn.Linear(9, 7), nn.Linear(7, 2)), (2,), one, merges=True),
            Case("norm", nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), (3,), one, merges=True),
            Case("norm, linear", nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4)), (3,), one, merges=True),
            Case(
                "bottleneck", nn.Sequential(nn.Linear(8, 1), nn.Linear(1, 8)), (8,), {"linear": 2}, code="does-not-pay"
            ),
            Case("residual", Net(lambda m, x: x + m.a(m.b(x)), a=nn.Linear(8, 4), b=nn.Linear(4, 8)), (4,), one),
        ]
    )


def test_other_spellings() -> None:
    """x @ W works on the last axis, W @ x on the one before it."""
    w, v = nn.Parameter(torch.randn(3, 8)), nn.Parameter(torch.randn(2, 8))
    b = nn.Parameter(torch.randn(8))
    options = {"w": w, "v": v, "b": b}
    check(
        [
            Case("matmul", Net(lambda m, x: F.linear(x @ m.w, m.v), **options), (3,), {"linear": 1}),
            Case("mm", Net(lambda m, x: F.linear(torch.mm(x, m.w), m.v), **options), (3,), {"linear": 1}),
            Case("addmm", Net(lambda m, x: F.linear(torch.addmm(m.b, x, m.w), m.v), **options), (3,), {"linear": 1}),
            Case(
                "addmm scaled",
                Net(lambda m, x: F.linear(torch.addmm(m.b, x, m.w, beta=0.5, alpha=-2), m.v), **options),
                (3,),
                {"linear": 1},
            ),
            Case(
                "addmm of one number",
                Net(lambda m, x: F.linear(torch.addmm(m.b[:1], x, m.w), m.v), **options),
                (3,),
                {"linear": 1},
            ),
            Case("on tokens", Net(lambda m, x: (x @ m.w + m.b) @ m.v.T, **options), (5, 3), {"linear": 1}),
            Case(
                "on maps",
                Net(lambda m, x: torch.matmul(torch.matmul(x, m.w), m.v.T), **options),
                (4, 5, 3),
                {"linear": 1},
            ),
            Case("from the left", Net(lambda m, x: m.v @ (m.w.T @ x), **options), (3, 6), layers=1),
            Case("from the left, maps", Net(lambda m, x: m.v @ (m.w.T @ x), **options), (4, 3, 6), layers=1),
            Case("from both sides", Net(lambda m, x: m.w.T @ x @ m.w, **options), (3, 3)),
            Case("with a vector", Net(lambda m, x: x @ m.b, **options), (4, 8)),
            Case("vector weight", Net(lambda m, x: F.linear(x, m.b), **options), (4, 8)),
            Case("a product of signals", Net(lambda m, x: (x @ m.w) @ (x @ m.w).transpose(-1, -2), **options), (4, 3)),
            Case("bilinear", Net(lambda m, x: x @ x.transpose(-1, -2) @ x, **options), (4, 3)),
            Case("einsum", Net(lambda m, x: torch.einsum("nlc,cd->nld", x, m.w) @ m.v.T, **options), (4, 3), layers=1),
            Case(
                "einsum, matrix first",
                Net(lambda m, x: F.linear(torch.einsum("dc, ncl -> nld", m.w.T, x), m.v), **options),
                (3, 4),
                layers=1,
            ),
            Case(
                "einsum, permuted, then layers on other axes",
                Net(
                    lambda m, x: m.q(m.p(torch.einsum("nchw,cd->nwdh", x, m.w))) * 2 + 1,
                    **options,
                    p=nn.Conv2d(5, 2, (3, 1)),
                    q=nn.Linear(4, 3),
                ),
                (3, 4, 5),
            ),
            Case("einsum, summed", Net(lambda m, x: torch.einsum("nlc,cd->nd", x, m.w), **options), (4, 3)),
            Case("einsum, diagonal", Net(lambda m, x: torch.einsum("ncc,cd->nd", x, m.w), **options), (3, 3)),
            Case("einsum, elementwise", Net(lambda m, x: torch.einsum("nlc,lc->nlc", x, m.w), **options), (3, 8)),
            Case("einsum, ellipsis", Net(lambda m, x: torch.einsum("...c,cd->...d", x, m.w), **options), (4, 3)),
            Case(
                "bmm with a constant", Net(lambda m, x: torch.bmm(x, m.w.expand(x.shape[0], 3, 8)), **options), (4, 3)
            ),
            Case("tensordot", Net(lambda m, x: torch.tensordot(x, m.w, 1) @ m.v.T, **options), (4, 3)),
        ]
    )


def test_no_batch_axis() -> None:
    """A single vector."""
    net = double(nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)))
    result = fold(net, noise(3))
    assert result.report.after.layers == 1
    with torch.no_grad():
        assert_close(result.module(noise(3)), net(noise(3)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_matrix_of_one_column_is_repeated(channels: int) -> None:
    """By einsum, for as many channels as there are: where there is one, their number may still be free."""
    layers = {"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)}
    net = Net(lambda m, x: m.b(torch.einsum("oc,cb->ob", m.w, m.a(x))), w=noise(1, 1), **layers)
    result = fold_checked(net, (channels, 1))
    assert_same(result.module, net, [(channels, 1)], [1, 2, 5])
