"""A collapsed block trains as the expanded one does: outputs, gradients and parameters, step by step."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import convfold
from convfold import FoldConfig

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import blocks

MACS = FoldConfig(objective="macs")

C = 4
GUIDE: dict[str, Callable[[], nn.Module]] = {
    "acnet": lambda: blocks.acnet(C, 6, None),
    "repvgg": lambda: blocks.repvgg(C, None),
    "mobileone": lambda: blocks.mobileone(C, norm=None),
    "mobileone depthwise": lambda: blocks.mobileone(C, groups=C, norm=None),
    "replk": lambda: blocks.replk(C, 9, norm=None),
    "unireplk": lambda: blocks.unireplk(C, norm=None),
    "dbb": lambda: blocks.dbb(C, 6, norm=None),
    "orepa": lambda: blocks.orepa(C, 6),
    "ecb": lambda: blocks.ecb(C, 6),
    "sesr": lambda: blocks.sesr(C, C, 16),
    "conv3xc": lambda: blocks.conv3xc(C, 6),
}
NORMED: dict[str, Callable[[], nn.Module]] = {
    "repvgg": lambda: blocks.repvgg(C),
    "mobileone": lambda: blocks.mobileone(C),
    "dbb": lambda: blocks.dbb(C, 6),
}


def image(n: int = 2, height: int = 17, width: int = 22, seed: int = 0) -> Tensor:
    return torch.randn(n, C, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-30))


def assert_alike(got: nn.Module, expected: nn.Module, x: Tensor, tolerance: float = 1e-10) -> None:
    """Outputs, and the gradients of every parameter and of the input."""
    results = []
    for m in (got, expected):
        given = x.clone().requires_grad_()
        y = m(given)
        weights = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
        learnt = [p for p in m.parameters() if p.requires_grad]
        results.append([y, *torch.autograd.grad((y * weights).sum(), [given, *learnt])])
    most = max(float(t.norm()) for t in results[1][1:])
    for a, b in zip(*results, strict=True):
        assert (a - b).norm() <= tolerance * (b.norm() + 1e-3 * most)


@pytest.mark.parametrize("name", GUIDE)
def test_a_block_is_one_convolution_with_the_gradients_of_its_branches(name: str) -> None:
    torch.manual_seed(0)
    block = GUIDE[name]().double()
    got = convfold.collapse(block, image(), config=MACS)
    (report,) = {id(r): r for r in got.collapsed.reports}.values()
    assert report.after.layers == 1 and report.after.macs < report.before.macs
    assert [*map(id, got.parameters())] == [*map(id, block.parameters())]
    assert isinstance(got, type(block)) and got.state_dict().keys() == block.state_dict().keys()
    for n in (1, 2, 5):
        assert_alike(got, block, image(n, seed=n))


@pytest.mark.parametrize("name", ["dbb", "ecb", "sesr"])  # all of them: benchmarks.training
@pytest.mark.parametrize("rule", ["momentum", "adamw"])
def test_a_hundred_steps_end_at_the_same_parameters(name: str, rule: str) -> None:
    torch.manual_seed(0)
    expanded = nn.Sequential(GUIDE[name](), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3)).double()
    expanded(image(height=9, width=8))
    own = copy.deepcopy(expanded)
    collapsed = convfold.collapse(own, image(height=9, width=8), config=MACS)
    assert collapsed.collapsed.reports[0].after.macs < collapsed.collapsed.reports[0].before.macs
    target = torch.arange(2) % 3
    for model in (expanded, collapsed):
        learnt = list(model.parameters())
        momentum = rule == "momentum"
        optimizer = torch.optim.SGD(learnt, 1e-2, 0.9) if momentum else torch.optim.AdamW(learnt, 1e-3)
        for step in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(image(2, 9, 8, seed=step)), target).backward()
            optimizer.step()
    for (where, a), b in zip(own.named_parameters(), expanded.parameters(), strict=True):
        assert (a - b).norm() <= 1e-6 * b.norm().clamp(min=1.0), where


@pytest.mark.parametrize("name", NORMED)
def test_norms_in_training_mode_see_what_they_saw(name: str) -> None:
    torch.manual_seed(0)
    block = NORMED[name]().double()
    own = copy.deepcopy(block)
    got = convfold.collapse(own, image(), config=MACS)
    for step in range(3):
        assert_alike(got, block, image(3, seed=step))
    for (key, a), b in zip(own.state_dict().items(), block.state_dict().values(), strict=True):
        assert apart(a.double(), b.double()) < 1e-12, key
    got.eval()
    block.eval()
    assert got.collapsed.of(got).report.after.layers == 1
    assert_alike(got, block, image(3))


@pytest.mark.parametrize("name", NORMED)
def test_frozen_norms_are_composed(name: str) -> None:
    torch.manual_seed(0)
    block = NORMED[name]().double()
    for m in block.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean)
            nn.init.uniform_(m.running_var, 0.5, 2.0)
            m.eval()
    got = convfold.collapse(block, image(), config=MACS)
    report = got.collapsed.of(got).report
    assert (report.after.layers, report.after.batch_norms) == (1, 0)
    assert_alike(got, block, image(3))
    with torch.no_grad():  # another checkpoint has other statistics
        for m in block.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.running_mean.add_(1.0)
                m.running_var.mul_(3.0)
    assert_alike(got, block, image(3))


def test_weights_that_are_zero_when_it_is_planned_may_learn() -> None:
    """A plan by what the numbers happen to be would leave out the branch, the bias and the outer taps."""
    block = blocks.repvgg(C, None).double()
    for p in block.parameters():
        nn.init.zeros_(p)
    got = convfold.collapse(block, image(), config=MACS)
    for p in block.parameters():
        nn.init.normal_(p)
    assert_alike(got, block, image())


class LowRank(nn.Module):
    """LoRA on a convolution: arXiv 2106.09685."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C, 6, 3, padding=1)
        self.conv.requires_grad_(False)
        self.down, self.up = nn.Conv2d(C, 2, 3, padding=1, bias=False), nn.Conv2d(2, 6, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + 0.5 * self.up(self.down(x))


class Standardised(nn.Conv2d):
    """Weight standardisation, arXiv 1903.10520, then a 1×1."""

    def __init__(self) -> None:
        super().__init__(C, 12, 3, padding=1)
        self.last = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.var((1, 2, 3), keepdim=True) + 1e-5).sqrt()
        return self.last(nn.functional.conv2d(x, w, self.bias, padding=1))


@pytest.mark.parametrize("make", [LowRank, Standardised])
def test_weights_computed_from_weights(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    block = make().double()
    got = convfold.collapse(block, image(), config=MACS)
    assert got.collapsed.reports[0].after.layers == 1
    assert_alike(got, block, image())


def test_parametrised_weights() -> None:
    torch.manual_seed(0)
    first = torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(C, 12, 3, padding=1))
    block = nn.Sequential(first, nn.Conv2d(12, 3, 1)).double()
    got = convfold.collapse(block, image(), config=MACS)
    assert got.collapsed.reports[0].after.layers == 1
    assert_alike(got, block, image())


def test_a_shared_weight_gathers_its_gradients() -> None:
    torch.manual_seed(0)
    shared = nn.Conv2d(C, C, 1)
    block = nn.Sequential(nn.Conv2d(C, C, 3, padding=1), shared, shared, nn.ReLU(), shared).double()
    got = convfold.collapse(block, image(), config=MACS)
    assert got.collapsed.reports[0].after.layers == 2
    assert_alike(got, block, image())


def test_tied_weights_gather_theirs() -> None:
    torch.manual_seed(0)
    first, last = (nn.Conv2d(C, 8, 1, bias=False) for _ in range(2))
    last.weight = first.weight
    block = nn.Sequential(first, nn.Conv2d(8, C, 3, padding=1), nn.ReLU(), last, nn.PReLU())
    got = convfold.collapse(block.double(), image(), config=MACS)
    assert got.collapsed.reports[0].after.layers == 2
    assert_alike(got, block, image())


def test_gradients_of_gradients() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(blocks.sesr(C, 3, 16), nn.Softplus()).double()
    got = convfold.collapse(block, image(), config=MACS)
    found = []
    for m in (got, block):
        x = image().requires_grad_()
        (g,) = torch.autograd.grad(m(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(g.square().sum(), list(block.parameters())))
    for a, b in zip(*found, strict=True):
        assert apart(a, b) < 1e-10
