"""Random blocks: branches, residuals, splits and hooks in each other, merged against run as they are."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import convfold
from convfold.layers.bordered import Bordered
from tests.folding import Net, double, noise
from tests.laws.oracle import assert_close
from tests.merge.blocks import CONV, NORM, Residual

C = 4  # channels everywhere: anything can be added to anything


class Sum(nn.Module):
    def __init__(self, *parts: nn.Module, signs: tuple[float, ...]) -> None:
        super().__init__()
        self.parts, self.signs = nn.ModuleList(parts), signs

    def forward(self, x: Tensor) -> Tensor:
        return sum(s * part(x) for s, part in zip(self.signs, self.parts, strict=True))  # type: ignore[return-value]


def layer(r: random.Random, dims: int) -> nn.Module:
    conv, k = CONV[dims], r.choice([1, 2, 3])
    pads = {1: 0, 2: "same", 3: 1}[k]
    groups = r.choice([1, 1, 2, C])
    match r.choice(["conv", "conv", "conv", "norm", "scale", "pool", "up and down", "identity"]):
        case "conv":
            return conv(C, C, k, padding=pads, groups=groups, bias=r.random() < 0.6)
        case "norm":
            return NORM[dims](C)
        case "scale":
            return Net(lambda m, x: x * m.gamma - 0.5, gamma=nn.Parameter(torch.randn(C, *(1,) * dims)))
        case "pool":
            return {1: nn.AvgPool1d, 2: nn.AvgPool2d}[dims](3, 1, 1)
        case "up and down":
            wide = 2 * C
            return nn.Sequential(conv(C, wide, 1, bias=False), conv(wide, C, k, padding=pads))
        case _:
            return nn.Identity()


def hooked(r: random.Random, m: nn.Module) -> nn.Module:
    match r.choice(["after", "before", "both"]):
        case "after":
            m.register_forward_hook(lambda module, args, y: 0.5 * y + args[0])
        case "before":
            m.register_forward_pre_hook(lambda module, args: (args[0][:, [3, 1, 0, 2]],))
        case _:
            m.register_forward_pre_hook(lambda module, args: (2 * args[0],))
            m.register_forward_hook(lambda module, args, y: y - 1)
    return m


def block(r: random.Random, dims: int, depth: int) -> nn.Module:
    if depth == 0:
        return layer(r, dims)

    def inner() -> nn.Module:
        return block(r, dims, r.randrange(depth))

    match r.choice(["series", "sum", "residual", "split", "hooked", "normed"]):
        case "series":
            return nn.Sequential(inner(), inner())
        case "sum":
            n = r.choice([2, 3])
            return Sum(*(inner() for _ in range(n)), signs=tuple(r.choice([1.0, -1.0, 0.5]) for _ in range(n)))
        case "residual":
            return Residual(inner())
        case "split":
            one = CONV[dims](C // 2, C // 2, 3, padding=1)
            return Net(lambda m, x: m.mix(torch.cat([m.one(x[:, : C // 2]), x[:, C // 2 :]], 1)), one=one, mix=inner())
        case "hooked":
            return hooked(r, inner())
        case _:
            return nn.Sequential(parametrizations.weight_norm(CONV[dims](C, C, 3, padding=1)), inner())


def compare(seed: int) -> str:
    """What became of it: one, bordered, or the code it is refused with."""
    r = random.Random(seed)
    dims = r.choice([1, 2, 2])
    net: Any = double(nn.Sequential(block(r, dims, 3), CONV[dims](C, 2, 1)), seed)
    try:
        merged = convfold.merge(net)
    except convfold.NotFoldable as e:
        return e.code
    bordered = isinstance(merged, Bordered)
    try:
        value = convfold.Convolution.of(net)
    except convfold.NotFoldable as e:
        assert bordered and e.code.startswith("ghost"), f"seed {seed}: {e}"
        value = None
    with torch.no_grad():
        for n in (1, 2, 3, 5, 11):
            x = noise(2, C, *(n + i for i in range(dims)), seed=seed)
            for name, op in (("merge", merged), ("of", value)):
                if op is not None:
                    assert_close(op(x), net(x), f"{name}, seed {seed}, {n}: {net}", 1e-10)
    return "bordered" if bordered else "one"


def test_some() -> None:
    found = Counter(compare(seed) for seed in range(12))
    assert found["one"] >= 3 and found["bordered"] >= 3 and found.keys() <= {"one", "bordered"}, found


@pytest.mark.slow
def test_many() -> None:
    found = Counter(compare(seed) for seed in range(1000, 1300))
    print(found)
    assert found["one"] > 50 and found["bordered"] > 50 and found.keys() <= {"one", "bordered", "too-large"}, found
