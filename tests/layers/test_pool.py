"""Average pools where they are convolutions: nn.AvgPool1d-3d, adaptive pools whose windows are all of one size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convfold
from tests.folding import Net, noise
from tests.laws.oracle import assert_close, refused
from tests.layers.table import CONV, SPACE, Case, check

POOL: dict[int, type[nn.Module]] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
ADAPTIVE: dict[int, type[nn.Module]] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def cut(dims: int, *sizes: int) -> tuple[int, ...]:
    return sizes[:dims]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_before_and_behind_a_convolution(dims: int) -> None:
    conv, pool, shape = CONV[dims], POOL[dims], (3, *SPACE[dims])
    size = cut(dims, 3, 2, 2)

    def behind(name: str, p: nn.Module, **expected: Any) -> Case:
        return Case(f"{name} behind", nn.Sequential(conv(3, 8, 1), p, conv(8, 2, 1)), shape, **expected)

    def before(name: str, p: nn.Module, **expected: Any) -> Case:
        return Case(f"{name} before", nn.Sequential(p, conv(3, 2, 1)), shape, **expected)

    moved = {f"conv{dims}d": 1, f"avg_pool{dims}d": 1}  # no convolution, but pointwise layers pass it
    uneven: dict[str, Any] = {"calls": moved, "merges": "window-not-uniform"}
    cases = []
    for make in (behind, before):
        cases += [
            make("plain", pool(size), merges=True),
            make("overlapping", pool(size, stride=1), merges=True),
            make("strides", pool(size, stride=cut(dims, 1, 3, 2)), merges=True),
            make("padded", pool(3, stride=2, padding=1), **({"merges": True} if make is before else {})),
            make("not counting the padding", pool(3, stride=2, padding=1, count_include_pad=False), **uneven),
            make("not counting no padding", pool(3, stride=2, count_include_pad=False), merges=True),
            make("last window over the end", pool(size, stride=5, ceil_mode=True), **uneven),
        ]
    check(cases)


def test_by_divisor() -> None:
    cases = []
    for dims in (2, 3):
        pool, shape = POOL[dims], (3, *SPACE[dims])
        for padded in (0, 1):
            layer = pool(2, padding=padded, count_include_pad=False, divisor_override=3)
            cases.append(Case(f"{dims}d {padded}", nn.Sequential(layer, CONV[dims](3, 2, 1)), shape, merges=True))
    check(cases)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_adaptive(dims: int) -> None:
    """Uniform where the output's size divides the input's, which must be known."""
    conv, adaptive = CONV[dims], ADAPTIVE[dims]
    space = cut(dims, 6, 8, 4)
    check(
        [
            Case("to one", nn.Sequential(adaptive(1), conv(3, 2, 1)), (3, *space), layers=None),
            Case("to a divisor", nn.Sequential(conv(3, 8, 1), adaptive(2), conv(8, 2, 1)), (3, *space)),
            Case("to divisors", nn.Sequential(conv(3, 8, 1), adaptive(cut(dims, 3, 4, 2)), conv(8, 2, 1)), (3, *space)),
            Case("to itself", nn.Sequential(conv(3, 8, 1), adaptive(space), conv(8, 2, 1)), (3, *space)),
            Case("to none", nn.Sequential(adaptive(cut(dims, 2, 4, 2)), conv(3, 2, 1)), (3, *space)),
            Case(
                "uneven",
                nn.Sequential(conv(3, 8, 1), adaptive(4 if dims == 1 else cut(dims, 4, 3, 3)), conv(8, 2, 1)),
                (3, *space),
                {f"conv{dims}d": 1, f"adaptive_avg_pool{dims}d": 1},
            ),
            Case(
                "larger",
                nn.Sequential(conv(3, 8, 1), adaptive(12), conv(8, 2, 1)),
                (3, *space),
                {f"conv{dims}d": 1, f"adaptive_avg_pool{dims}d": 1},
            ),
        ]
    )


def test_a_pooled_linear_head() -> None:
    """Pool to one position, flatten, classify; and the mean written out."""
    check(
        [
            Case(
                "head",
                nn.Sequential(nn.Conv2d(3, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)),
                (3, 6, 8),
            ),
            Case(
                "mean", Net(lambda m, x: m.b(m.a(x).mean((2, 3))), a=nn.Conv2d(3, 16, 1), b=nn.Linear(16, 2)), (3, 6, 8)
            ),
            Case(
                "a mean kept",
                Net(lambda m, x: m.b(m.a(x).mean((2, 3), keepdim=True)), a=nn.Conv2d(3, 16, 1), b=nn.Conv2d(16, 2, 1)),
                (3, 6, 8),
            ),
            Case(
                "functional",
                Net(lambda m, x: m.b(F.avg_pool2d(m.a(x), 2, 1)), a=nn.Conv2d(3, 16, 1), b=nn.Conv2d(16, 2, 1)),
                (3, 6, 8),
                {"conv2d": 1, "avg_pool2d": 1},  # 2×2 taps would cost four times as much
            ),
            Case(
                "max is not an average",
                nn.Sequential(nn.Conv2d(3, 8, 1), nn.MaxPool2d(2), nn.Conv2d(8, 2, 1)),
                (3, 6, 8),
                {"conv2d": 2, "max_pool2d": 1},
            ),
            Case("nor is a power", nn.Sequential(nn.Conv2d(3, 8, 1), nn.LPPool2d(2, 2), nn.Conv2d(8, 2, 1)), (3, 6, 8)),
        ]
    )


def test_free_sizes() -> None:
    """With height and width free a uniform pool is a convolution still; an adaptive one is not."""
    auto = torch.export.Dim.AUTO
    pooled = nn.Sequential(nn.Conv2d(3, 8, 1), nn.AvgPool2d(2), nn.Conv2d(8, 2, 1)).double().eval()
    result = convfold.fold(pooled, noise(2, 3, 8, 10), dynamic_shapes=({0: auto, 2: auto, 3: auto},))
    assert result.report.after.layers == 1 and len(result.report.free) == 3
    with torch.no_grad():
        for space in ((8, 10), (9, 11), (2, 2), (7, 12)):
            x = noise(1, 3, *space)
            assert_close(result.module(x), pooled(x), str(space))


def test_as_modules() -> None:
    x = noise(2, 3, 7, 10)
    pool = nn.AvgPool2d((3, 2), stride=(1, 2), padding=(1, 0))
    assert_close(convfold.Convolution.of(pool, channels=3)(x), pool(x))
    assert_close(convfold.Convolution.of(pool, channels=3).to_module()(x), pool(x))
    with refused("channels-differ"):
        convfold.Convolution.of(pool)
