"""Three verdicts: same, different, nothing to compare; each for its reason, whatever a model returns, in any type."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convfold
from tests.folding import Net, noise, randomised

Function = Callable[[Any, Tensor], Any]


def verified(a: Function, b: Function, x: Tensor | None = None) -> convfold.Verdict:
    return convfold.verify(Net(a), Net(b), noise(3, 4, dtype=torch.float32) if x is None else x)


@dataclass
class Pair:
    first: Any
    second: Any


SAME: list[tuple[str, Function, Function]] = [
    ("NaN at the same places", lambda m, x: torch.where(x > 1, nan, x), lambda m, x: torch.where(x > 1, nan, x)),
    ("infinities", lambda m, x: torch.where(x > 1, inf, x), lambda m, x: torch.where(x > 1, inf, x)),
    ("one number", lambda m, x: x.sum(), lambda m, x: x.sum(1).sum()),
    ("a float", lambda m, x: float(x.sum()), lambda m, x: float(x.sum(1).sum())),
    ("complex", lambda m, x: torch.fft.fft(x), lambda m, x: torch.fft.ifft(x.conj()).conj() * 4),
    ("a conjugate", lambda m, x: torch.fft.fft(x).conj(), lambda m, x: torch.fft.ifft(x) * 4),
    ("beside an empty one", lambda m, x: (x, x[:0]), lambda m, x: (x * 1, x[:0])),
    ("beside text and None", lambda m, x: (x, "a", None, 3), lambda m, x: (x, "a", None, 3)),
    ("in another order", lambda m, x: {"a": x, "b": -x}, lambda m, x: {"b": -x, "a": x}),
    ("in a dataclass", lambda m, x: Pair(x, [Pair(-x, 2)]), lambda m, x: Pair(x, [Pair(-x, 2)])),
    ("sparse", lambda m, x: x.to_sparse(), lambda m, x: (x * 1).to_sparse()),
    ("zeros", lambda m, x: x * 0, lambda m, x: x - x),
]

DIFFERENT: list[tuple[str, Function, Function]] = [
    ("NaN for numbers", lambda m, x: x, lambda m, x: x * nan),
    ("numbers for NaN", lambda m, x: x * nan, lambda m, x: x),
    ("one NaN", lambda m, x: x, lambda m, x: torch.where(x == x.max(), nan, x)),
    ("−∞ for +∞", lambda m, x: torch.where(x > 0, inf, x), lambda m, x: torch.where(x > 0, -inf, x)),
    ("NaN for ∞", lambda m, x: torch.where(x > 0, inf, x), lambda m, x: torch.where(x > 0, nan, x)),
    ("a number for ∞", lambda m, x: torch.where(x > 0, inf, x), lambda m, x: x),
    ("∞ for a number", lambda m, x: x, lambda m, x: torch.where(x > 0, inf, x)),
    ("all NaN, all ∞", lambda m, x: x * nan, lambda m, x: torch.full_like(x, inf)),
    ("one number", lambda m, x: x.sum(), lambda m, x: x.sum() * 1.001),
    ("a float", lambda m, x: float(x.sum()), lambda m, x: float(x.sum()) * 1.001),
    ("a complex number", lambda m, x: complex(x.sum(), 1), lambda m, x: complex(x.sum(), 1.001)),
    ("a whole number", lambda m, x: (x, 3), lambda m, x: (x, 4)),
    ("only a whole number", lambda m, x: 3, lambda m, x: 4),
    ("text", lambda m, x: (x, "a"), lambda m, x: (x, "b")),
    ("the conjugate", lambda m, x: torch.fft.fft(x), lambda m, x: torch.fft.fft(x).conj()),
    ("truth", lambda m, x: x > 0, lambda m, x: x > 0.5),
    ("deep inside", lambda m, x: [x, (x, {"k": -x})], lambda m, x: [x, (x, {"k": 1e-5 - x})]),
    ("in a dataclass", lambda m, x: Pair(x, [Pair(-x, 2)]), lambda m, x: Pair(x, [Pair(1e-5 - x, 2)])),
    ("swapped", lambda m, x: (x, -x), lambda m, x: (-x, x)),
    ("vanishing", lambda m, x: x * 1e-30, lambda m, x: x * 1.001e-30),
    ("vanishing squares", lambda m, x: x.double() * 1e-200, lambda m, x: x.double() * 1.001e-200),
    ("squares overflow", lambda m, x: x.double() * 1e200, lambda m, x: x.double() * 1.001e200),
]

NOTHING: list[tuple[str, Function, str]] = [
    ("all NaN", lambda m, x: x * nan, "what it returns is NaN or infinite"),
    ("all infinite", lambda m, x: (x > 0) * inf - inf, "what it returns is NaN or infinite"),
    ("None", lambda m, x: None, "it returns no tensor"),
    ("no output", lambda m, x: (), "it returns no tensor"),
    ("text", lambda m, x: {"a": "b", "n": 3}, "it returns no tensor"),
    ("empty", lambda m, x: (x[:0], "a"), "what it returns is empty"),
    ("NaN and nothing", lambda m, x: (x * nan, x[:0]), "what it returns is NaN or infinite or empty"),
]


@pytest.mark.parametrize(("a", "b"), [row[1:] for row in SAME], ids=[row[0] for row in SAME])
def test_same(a: Function, b: Function) -> None:
    verdict = verified(a, b)
    assert verdict.passed and str(verdict).startswith("same: ")


@pytest.mark.parametrize(("a", "b"), [row[1:] for row in DIFFERENT], ids=[row[0] for row in DIFFERENT])
def test_different(a: Function, b: Function) -> None:
    verdict = verified(a, b)
    assert not verdict.passed and str(verdict).startswith("DIFFERENT: ") and not verdict.nothing


@pytest.mark.parametrize(("a", "why"), [row[1:] for row in NOTHING], ids=[row[0] for row in NOTHING])
def test_nothing_to_compare(a: Function, why: str) -> None:
    verdict = verified(a, a)
    assert not verdict.passed and verdict.nothing == why
    assert str(verdict) == f"nothing to compare: {why}; at example, random"
    assert json.loads(json.dumps(verdict.to_dict()))["nothing"] == why


@pytest.mark.parametrize("function", [lambda m, x: m.conv(x) * nan, lambda m, x: None, lambda m, x: m.conv(x)[:, :0]])
def test_a_fold_that_compared_nothing_says_so(function: Function) -> None:
    result = convfold.fold(Net(function, conv=nn.Conv2d(3, 4, 2)).eval(), torch.randn(1, 3, 7, 6))
    assert result.report.error is not None and not result.report.error.passed
    (line,) = (line for line in str(result.report).splitlines() if "compare" in line)
    assert line.startswith("nothing to compare: ") and "same: " not in str(result.report)


class TestOverflow:
    """A type that cannot hold what a model computes is no difference between two models."""

    x = (noise(5, 4) * 100).half()

    def test_of_the_first(self) -> None:
        verdict = verified(lambda m, x: x * x * x * 0.01, lambda m, x: x * 0.01 * x * x, self.x)
        assert verdict.passed and "the first overflows float16 in" in str(verdict)

    def test_of_the_first_everywhere(self) -> None:
        verdict = verified(lambda m, x: (x.abs() + 9) * 3e4 * 1e-4, lambda m, x: (x.abs() + 9) * 3.0, self.x)
        assert verdict.nothing == "what it returns is beyond what float16 holds"

    def test_of_the_second(self) -> None:
        verdict = verified(lambda m, x: x * 0.01 * x * x, lambda m, x: x * x * x * 0.01, self.x)
        assert not verdict.passed and verdict.exactness <= verdict.allowed < 0.01
        assert "the second overflows float16 where the first does not" in str(verdict) and verdict.overflows

    def test_of_both(self) -> None:
        verdict = verified(lambda m, x: x * x * x * 0.01, lambda m, x: x * x * x * 0.01, self.x)
        assert verdict.passed

    def test_a_difference_beside_it(self) -> None:
        verdict = verified(lambda m, x: x * x * x * 0.01, lambda m, x: x * 0.011 * x * x, self.x)
        assert not verdict.passed and not verdict.overflows

    def test_folded(self) -> None:
        """The kernels' product is beyond float16; each of them is not."""
        net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False))
        with torch.no_grad():
            for conv in net:
                conv.weight.copy_(randomised(nn.Conv2d(4, 4, 1)).weight[: conv.out_channels, : conv.in_channels] + 300)
        x = noise(2, 3, 5, 6).half() * 1e-3
        with pytest.raises(convfold.VerificationFailed) as raised:
            convfold.fold(net.half().eval(), x)
        assert "overflows" in str(raised.value) and "bug" not in str(raised.value)


class TestDoubt:
    """What is judged in the second's own type where that is enough, and in float64 where it is not."""

    def test_more_rounding_is_no_difference(self) -> None:
        a, b = (lambda m, x: x * 3), (lambda m, x: (x + 1e4) - 1e4 + 2 * x)
        verdict = verified(a, b)
        assert verdict.passed and verdict.error > 1e-5 > 1e-15 > verdict.exactness and verdict.computed_in == "float64"

    def test_a_tie_broken_otherwise(self) -> None:
        """Two scores apart by less than float32 resolves: rounding picks one, and float64 the other."""
        a = lambda m, x: (x[:, :1] * 0 + torch.tensor([1.0, 1 + 1e-9])).topk(1)[1] + x.argmax(1)  # noqa: E731
        assert verified(a, a).passed

    def test_nothing_is_left_but_rounding(self) -> None:
        verdict = verified(lambda m, x: (x + 1e8) - 1e8 - x, lambda m, x: x * 1e-12)
        assert not verdict.passed and verdict.nothing == "what it returns is lost in its own rounding"
        verdict = verified(lambda m, x: (x, (x + 1e8) - 1e8 - x), lambda m, x: (x, x * 1e-12))
        assert verdict.passed and verdict.notes == ("an output is lost in its own rounding",)

    def test_more_is_not_allowed_where_the_first_is_far_off(self) -> None:
        """Being off by 0.4 itself would let through anything."""
        a = lambda m, x: torch.where((x * 1e6).sin() > 0, x, -x)  # noqa: E731
        verdict = verified(a, lambda m, x: a(m, x) * 1.3, noise(50, 40, dtype=torch.float32) * 1e3)
        assert not verdict.passed

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_weights_of_half_precision(self, dtype: torch.dtype) -> None:
        """What they are off by is no more than they can be, also where the output is float32."""
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))
        model = Net(lambda m, x: m.net(x.to(dtype)).float(), net=randomised(net).to(dtype)).eval()
        result = convfold.fold(model, noise(1, 3, 9, 8, dtype=torch.float32))
        assert result.report.error is not None and result.report.error.passed and result.report.after.batch_norms == 0


class TestComplex:
    """An operator of the spectrum has complex weights; float64 takes them along."""

    class Spectral(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.conv = randomised(nn.Conv2d(3, 4, 1), seed)
            self.weight = nn.Parameter(noise(4, 5, 4, 2, seed=seed, dtype=torch.float32)[..., 0].to(torch.complex64))

        def forward(self, x: Tensor) -> Tensor:
            spectrum = torch.fft.rfft2(self.conv(x))
            return torch.fft.irfft2(torch.einsum("bchw,dhw->bdhw", spectrum, self.weight * (1 + 2j)), s=x.shape[-2:])

    def test_both(self) -> None:
        x = noise(2, 3, 5, 6, dtype=torch.float32)
        verdict = convfold.verify(self.Spectral(0), self.Spectral(0), x)
        assert verdict.passed and 0 < verdict.own_error < 1e-6 and not verdict.notes
        other = self.Spectral(0)
        with torch.no_grad():
            other.weight[1, 2, 3] *= 1 + 1e-4j
        assert not convfold.verify(self.Spectral(0), other, x).passed


def test_the_first_runs_on_some_inputs_at_least() -> None:
    def picky(m: Any, x: Tensor) -> Tensor:
        if x.shape[1] != 4:
            raise ValueError("four channels\nplease")
        return x

    with pytest.raises(convfold.InvalidInput, match=r"does not run on its example inputs: four channels$"):
        convfold.verify(Net(picky), Net(picky), torch.ones(2, 3))
    verdict = convfold.verify(Net(picky), Net(picky), torch.rand(2, 4), more=[("wider", ((torch.ones(2, 5),), {}))])
    assert verdict.passed and verdict.tried == ("example", "random")


def test_more_inputs_are_compared() -> None:
    wrong = Net(lambda m, x: x + (len(x) == 5) * 1e-3)
    x = torch.randn(2, 4)
    assert convfold.verify(nn.Identity(), wrong, x).passed
    verdict = convfold.verify(nn.Identity(), wrong, x, more=[("five", ((torch.randn(5, 4),), {}))])
    assert not verdict.passed and verdict.tried[-1] == "five"


def test_a_verdict_is_plain_data() -> None:
    verdict = verified(lambda m, x: x, lambda m, x: x * 1.0001)
    data = json.loads(json.dumps(verdict.to_dict()))
    assert data["passed"] is False and data["tried"] == ["example", "random"] and data["computed_in"] == "float64"
    assert "\n" not in str(verdict)


def test_models_without_values() -> None:
    net, x = nn.Linear(3, 4, device="meta"), torch.ones(2, 3, device="meta")
    assert convfold.verify(net, net, x).nothing == "what it returns is without values (meta)"
    with pytest.raises(convfold.InvalidInput, match=r"'weight' has no shape yet"):
        convfold.verify(nn.LazyLinear(4), nn.LazyLinear(4), torch.ones(2, 3))


class TestTheLargestNumberOfAType:
    """Masks are filled with it; in float64 it is another, and has no norm."""

    class Masked(nn.Module):
        def __init__(self, factor: float = 1.0, filled: bool = True) -> None:
            super().__init__()
            self.factor, self.filled = factor, filled

        def forward(self, x: Tensor) -> Tensor:
            y = x * self.factor
            return torch.where(x > 0.5, torch.finfo(x.dtype).max if self.filled else 0.0, y)

    x = torch.linspace(-1, 1, 40).reshape(2, 20)

    def test_it_is_compared(self) -> None:
        verdict = convfold.verify(self.Masked(), self.Masked(), self.x)
        assert verdict.passed and verdict.error == 0

    def test_what_is_beside_it_counts(self) -> None:
        assert not convfold.verify(self.Masked(), self.Masked(1.01), self.x).passed

    def test_so_does_it(self) -> None:
        assert not convfold.verify(self.Masked(), self.Masked(filled=False), self.x).passed
        assert not convfold.verify(self.Masked(filled=False), self.Masked(), self.x).passed
