"""Modules that compute with the algebra, compiled: composing is done by hand, applying is compiled, both are right."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

import convfold
from convfold import Convolution, Window
from tests.folding import double, noise
from tests.laws.oracle import assert_close
from tests.merge.blocks import RepVGG


class Computing(nn.Module):
    def __init__(self, function: Callable[[Any, Tensor], Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.parts, x).relu()


def conv() -> nn.Module:
    return nn.Conv2d(3, 4, 3, padding=1)


CASES: dict[str, Callable[[], Computing]] = {
    "series": lambda: Computing(
        lambda m, x: (Convolution.of(m[2]) @ Convolution.of(m[1]) @ Convolution.of(m[0]))(x),
        conv(),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 2, 3),
    ),
    "parallel": lambda: Computing(
        lambda m, x: (2 * Convolution.of(m[0]) - Convolution.of(m[1]))(x), conv(), nn.Conv2d(3, 4, 1)
    ),
    "merge": lambda: Computing(
        lambda m, x: convfold.merge(m, attached=True, check=False)(x), conv(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
    ),
    "border": lambda: Computing(
        lambda m, x: convfold.merge(m, attached=True)(x), conv(), nn.Conv2d(4, 3, 3, padding=1)
    ),
    "transposed": lambda: Computing(
        lambda m, x: (Convolution.of(m[1]) @ Convolution.of(m[0]))(x),
        nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1),
        nn.Conv2d(4, 2, 1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_as_in_eager(name: str) -> None:
    """Values and gradients, whatever the weights have become and at another size; without a word."""
    net = double(CASES[name]())
    weights = list(net.parameters())
    for backend in ("eager", "aot_eager"):
        torch._dynamo.reset()
        compiled = torch.compile(net, backend=backend)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for size in ((7, 8), (7, 8), (6, 9)):
                x = noise(2, 3, *size)
                got, expected = compiled(x), net(x)
                assert_close(got.detach(), expected.detach())
                pair = [torch.autograd.grad(y.square().sum(), weights) for y in (got, expected)]
                for g, e in zip(*pair, strict=True):
                    assert_close(g, e, tolerance=1e-10)
                with torch.no_grad():
                    for p in weights:
                        p.mul_(1.25)
        assert not [w for w in said if "ynamo" in str(w.message)]


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", CASES)
def test_exported_and_traced(name: str) -> None:
    """What computes with the algebra folds like any model: where it is traced, no number is looked at."""
    net, x = double(CASES[name]()), noise(2, 3, 7, 8)
    with torch.no_grad():
        expected = net(x)
        result = convfold.fold(net, (x,), config=convfold.FoldConfig(objective="macs"))
        assert_close(result.module(x), expected)
        assert_close(torch.jit.trace(net, x)(x), expected)


def test_a_block_in_a_compiled_module() -> None:
    net, x = double(Computing(lambda m, x: convfold.merge(m)(x), RepVGG(3))), noise(2, 3, 7, 8)
    torch._dynamo.reset()
    assert_close(torch.compile(net, backend="eager")(x).detach(), net(x).detach())
    with pytest.raises(convfold.ConvfoldError, match="while it is itself traced"):
        convfold.fold(net, (x,))


def test_applying_is_compiled() -> None:
    """Of a value that is there, or made of a bare weight: no break in the graph."""
    weight = noise(4, 3, 3, 3).requires_grad_()
    value = Convolution(noise(4, 3, 3, 3), noise(4), 1, (Window(3, 2, lo=1, hi=1), Window(3)))

    def f(x: Tensor) -> Tensor:
        return value(x) + Convolution(weight, stride=(2, 1), padding=(1, 0))(x)[:, :, :4]

    torch._dynamo.reset()
    x = noise(2, 3, 8, 7)
    assert_close(torch.compile(f, backend="aot_eager", fullgraph=True)(x).detach(), f(x).detach())


def test_little_is_traced() -> None:
    """Composing is no graph of its own: what is compiled is what the value does."""
    net = double(CASES["series"]())
    torch._dynamo.reset()
    counters.clear()
    torch.compile(net, backend="eager")(noise(2, 3, 7, 8))
    assert counters["stats"]["unique_graphs"] <= 2


def test_the_compiler_is_not_imported_with_the_library() -> None:
    import subprocess
    import sys

    code = "import sys, convfold; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
