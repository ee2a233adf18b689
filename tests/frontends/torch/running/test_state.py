"""Whatever is done with a model, it comes back as it was, and every run of it starts from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convfold
from convfold.bench import compare
from convfold.frontends.torch.running.state import State, untouched
from tests.folding import Net, noise, randomised
from tests.stateful import (
    EXPORTED,
    STATEFUL,
    Averages,
    Counts,
    CountsInPython,
    CountsWhole,
    Norm,
    WritesInput,
    snapshot,
)

Kind = Callable[[], nn.Module]


def net(kind: Kind, seed: int = 0) -> nn.Module:
    model = randomised(nn.Sequential(nn.Conv2d(3, 3, 2), nn.BatchNorm2d(3), nn.Sequential(kind())), seed).eval()
    return model.train() if kind is Norm else model


def image() -> Tensor:
    return noise(2, 3, 7, 6, dtype=torch.float32)


@pytest.mark.parametrize("kind", STATEFUL)
class TestUntouched:
    def test_by_verify(self, kind: Kind) -> None:
        a, b, x = net(kind), net(kind), image()
        before, values = snapshot(a, b), x.clone()
        verdict = convfold.verify(a, b, x)
        assert verdict.passed and verdict.own_error < 1e-6, verdict
        assert snapshot(a, b) == before and torch.equal(x, values)

    def test_by_explain_and_fold(self, kind: Kind) -> None:
        ways = (convfold.explain, convfold.fold)  # imported here: what that draws is not of this
        model, x = net(kind), image()
        before, values = snapshot(model), x.clone()
        for way in ways:
            try:
                way(model, x)
            except (convfold.InvalidInput, convfold.VerificationFailed, RuntimeError):
                assert kind not in EXPORTED
            assert snapshot(model) == before and torch.equal(x, values)

    def test_when_something_is_raised(self, kind: Kind) -> None:
        class Fails(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                raise RuntimeError("no more")

        model, x = nn.Sequential(net(kind), Fails()), image()
        before, values = snapshot(model), x.clone()
        with pytest.raises(convfold.InvalidInput, match="no more"):
            convfold.verify(model, model, x)
        with pytest.raises(convfold.InvalidInput, match="training mode" if kind is Norm else "no more"):
            convfold.fold(model, x)
        assert snapshot(model) == before and torch.equal(x, values)

    def test_by_measuring(self, kind: Kind) -> None:
        model, x = net(kind), image()
        before, values = snapshot(model), x.clone()
        seen: list[Tensor] = []
        compare([lambda: seen.append(model(x))], seconds=0, state=State(model, x))
        assert snapshot(model) == before and torch.equal(x, values)
        assert len(seen) >= 6 and all(torch.equal(y, seen[0]) for y in seen)


@pytest.mark.parametrize("kind", [Counts, Averages, WritesInput])
def test_the_result_holds_the_first_state(kind: Kind) -> None:
    model, x = net(kind), image()
    result = convfold.fold(model, x)
    with torch.no_grad():
        for _ in range(3):  # and goes on from it as the original does
            torch.testing.assert_close(result.module(x.clone()), model(x.clone()))


@pytest.mark.parametrize("kind", [Counts, CountsWhole])
def test_a_scaled_weight_is_seen_through_a_state(kind: Kind) -> None:
    """A state that drifted from run to run made the tolerance 0.4 to 0.7 wide."""
    model, wrong, x = net(kind), net(kind), image()
    with torch.no_grad():
        wrong[0].weight.mul_(1.3)  # type: ignore[operator, union-attr]
    verdict = convfold.verify(model, wrong, x)
    assert not verdict.passed and verdict.allowed < 1e-6 < 0.1 < verdict.exactness
    assert str(verdict).startswith("DIFFERENT: ")


def test_a_state_of_its_own_is_seen() -> None:
    """The folded model must count from where the original does."""
    model, drifted, x = net(Counts), net(Counts), image()
    drifted(x)
    assert not convfold.verify(model, drifted, x).passed


def test_outputs_that_are_the_state() -> None:
    """Put back after the run, they would all be what they were before."""

    class Returns(Counts):
        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

        def forward(self, x: Tensor) -> Any:
            self.n += self.step
            x += self.step
            return self.n, x[0], {"n": self.n[None]}

    assert convfold.verify(Returns(1), Returns(1), torch.randn(2, 3)).passed
    assert not convfold.verify(Returns(1), Returns(2), torch.randn(2, 3)).passed


def test_nothing_is_copied_that_is_not_written() -> None:
    model = net(Counts)
    state = State(model)
    state.run(lambda: model(image()))
    assert [name for name, t in model.state_dict().items() if state.is_written(t)] == ["2.0.n"]


def test_views_stay_views() -> None:
    """In float64, what is written through one name must be read through the other."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("all", torch.zeros(2, 3))
            self.row = self.all[1]

        def forward(self, x: Tensor) -> Tensor:
            self.row += x.mean(0)
            return x * self.all[1] + self.all[0]

    verdict = convfold.verify(Shared(), Shared(), torch.randn(4, 3))
    assert verdict.passed and 0 < verdict.own_error < 1e-6


def test_untouched_undoes_what_is_done_inside() -> None:
    model = net(CountsInPython)
    before = snapshot(model)
    with pytest.raises(KeyError), untouched(model):
        model[2][0].calls = 7  # type: ignore[index, union-attr]
        model[2][0].new = model  # type: ignore[index, union-attr]
        model[0].weight = nn.Parameter(torch.ones(3))
        del model[1]
        raise KeyError
    assert snapshot(model) == before


def test_compiled_models_run_compiled() -> None:
    """A mode that watches what is written would make them run eagerly."""
    ran = []

    def backend(module: Any, inputs: Any) -> Any:
        def run(*args: Any) -> Any:
            ran.append(args)
            return module(*args)

        return run

    torch._dynamo.reset()
    model = net(Counts)
    compiled = torch.compile(model, backend=backend)
    before = snapshot(model)
    assert convfold.verify(model, compiled, image()).passed
    assert ran and snapshot(model) == before
    ran.clear()
    with torch.no_grad():
        compiled(image())
    assert ran  # and do so afterwards
    torch._dynamo.reset()


def test_random_numbers_are_the_same_ones() -> None:
    """In float64 too: or the noise itself would count as the original's error, and anything pass."""
    noisy = Net(lambda m, x: x + torch.rand(3) + torch.empty(3, dtype=torch.float64).normal_().float())
    other = Net(lambda m, x: x + torch.rand(3) * 1.001 + torch.empty(3, dtype=torch.float64).normal_().float())
    x = torch.randn(2, 3)
    verdict = convfold.verify(noisy, noisy, x)
    assert verdict.passed and verdict.own_error < 1e-6
    assert not convfold.verify(noisy, other, x).passed
