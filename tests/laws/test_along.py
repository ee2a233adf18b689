"""(A ⊗ 1)∘(1 ⊗ B) = (1 ⊗ B)∘(A ⊗ 1): constants along other axes than the channels, or at positions of several."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import convfold
from tests.folding import Net, randomised

HEIGHT, WIDTH = 5, 7


def folded(net: nn.Module, x: Tensor, sizes: object = "static") -> convfold.Result:
    """Folded for fewest multiply-adds, and equal on two inputs."""
    result = convfold.fold(net, (x,), dynamic_shapes=sizes, config=convfold.FoldConfig("macs", verify=False))
    with torch.no_grad():
        for seed in range(2):
            y = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
            torch.testing.assert_close(result.module(y), net(y), rtol=1e-10, atol=1e-10)
    return result


def constant(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


COLUMNS, ROWS = constant(WIDTH, 11), constant(HEIGHT, 9)
A_ROW, A_POSITION = constant(HEIGHT, 1), constant(HEIGHT, WIDTH)
MIXED, FEWER, COLUMN, ROW = (torch.tensor(at) for at in ([0, 4, 1, 1, 3, 0], [0, 3, 4], [[0], [4], [1]], [6, 2]))

#: What treats channels alike, and how many positions it makes of HEIGHT · WIDTH.
MAPS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "a matrix on columns": (lambda x: x @ COLUMNS, HEIGHT * 11),
    "a matrix on rows": (lambda x: torch.einsum("nchw,hk->nckw", x, ROWS), 9 * WIDTH),
    "a number a row": (lambda x: x * A_ROW, HEIGHT * WIDTH),
    "a number a position": (lambda x: x * A_POSITION, HEIGHT * WIDTH),
    "a truth a position": (lambda x: torch.where(A_POSITION > 0, x, 0.0), HEIGHT * WIDTH),
    "rows in any order": (lambda x: x[:, :, MIXED], 6 * WIDTH),
    "positions in any order": (lambda x: x[:, :, COLUMN, ROW], 6),
    "fewer rows": (lambda x: x[:, :, FEWER], 3 * WIDTH),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("biases", [(False, False), (False, True), (True, True)])
def test_between_two_layers(name: str, biases: tuple[bool, bool]) -> None:
    """Where there are fewest positions; one layer, where the first has no bias or the map keeps it."""
    step, after = MAPS[name]
    first, second = (nn.Conv2d(a, b, 1, bias=bias) for (a, b), bias in zip([(3, 8), (8, 4)], biases, strict=True))
    net = randomised(Net(lambda m, x: m.second(step(m.first(x))), first=first, second=second)).double().eval()
    result = folded(net, constant(2, 3, HEIGHT, WIDTH))
    own = {"a matrix on columns": WIDTH * after, "a matrix on rows": HEIGHT * after}.get(name, 0)
    fewest = min(after, HEIGHT * WIDTH)
    keeps = "order" in name or "fewer" in name
    if not biases[0] or keeps:
        assert result.report.after.layers == 1 + (own > 0)
        assert result.report.after.macs <= 2 * (fewest * 3 * 4 + own * 4)
    else:
        assert result.report.after.macs <= 2 * (HEIGHT * WIDTH * 3 * 8 + own * 8 + fewest * 8 * 4)


@pytest.mark.parametrize("bias", [False, True])
def test_two_axes_of_tokens(bias: bool) -> None:
    """A mixer's two layers with nothing between: the one on channels where there are fewest tokens."""
    parts = {"tokens": nn.Linear(5, 64, bias=False), "channels": nn.Linear(8, 8, bias=bias)}
    net = randomised(Net(lambda m, x: m.channels(m.tokens(x.mT).mT), **parts)).double().eval()
    assert folded(net, constant(1, 5, 8)).report.after.macs == 5 * 8 * 8 + 5 * 64 * 8


def test_free_sizes() -> None:
    """A number of rows that is known; width and batch are free."""
    parts = {"a": nn.Conv2d(3, 8, 1, bias=False), "b": nn.Conv2d(8, 4, 1)}
    net = randomised(Net(lambda m, x: m.b(m.a(x) * A_ROW), **parts)).double().eval()
    n, w = torch.export.Dim("n", min=2), torch.export.Dim("w", min=2)
    result = folded(net, constant(2, 3, HEIGHT, WIDTH), (({0: n, 3: w},),))
    assert result.report.after.layers == 1
    x = constant(3, 3, HEIGHT, 9)
    with torch.no_grad():
        torch.testing.assert_close(result.module(x), net(x), rtol=1e-10, atol=1e-10)


def test_a_shared_constant_keeps_its_gradient() -> None:
    """Weights of positions that train still do: the model's own call is made on another signal."""
    net = (
        Net(
            lambda m, x: m.b(m.a(x) * m.map.weight[:HEIGHT, :WIDTH]),
            a=nn.Conv2d(3, 8, 1, bias=False),
            b=nn.Conv2d(8, 4, 1),
            map=nn.Linear(WIDTH, HEIGHT, bias=False),
        )
        .double()
        .eval()
    )
    result = folded(net, constant(2, 3, HEIGHT, WIDTH))
    assert result.report.after.layers == 1
    result.module(constant(2, 3, HEIGHT, WIDTH)).sum().backward()
    assert any(p.grad is not None and p.shape == (HEIGHT, WIDTH) for p in result.module.parameters())
