"""The interval of a median: against the book's table, against all that can happen, and against draws."""

from __future__ import annotations

import random
from itertools import product
from statistics import median

import pytest

from convfold.bench import of_median


@pytest.mark.parametrize(
    ("n", "k", "confidence"),
    [(6, 1, 0.969), (7, 1, 0.984), (9, 2, 0.961), (10, 2, 0.979), (20, 6, 0.959), (30, 10, 0.957), (50, 18, 0.967)],
)
def test_against_the_table(n: int, k: int, confidence: float) -> None:
    """x₍ₖ₎ … x₍ₙ₊₁₋ₖ₎ for 95 %: Le Boudec's table, and that of every book on the sign test."""
    values = [float(i) for i in range(1, n + 1)]
    random.Random(0).shuffle(values)
    found = of_median(values)
    assert (found.low, found.high, found.median) == (k, n + 1 - k, median(values))
    assert found.confidence == pytest.approx(confidence, abs=5e-4)


@pytest.mark.parametrize("n", [6, 9, 12])
def test_against_all_that_can_happen(n: int) -> None:
    """Each value is below the true median, 0, or above it: in how many of all 2ⁿ ways is that inside?"""
    inside = 0
    for signs in product((-1.0, 1.0), repeat=n):
        found = of_median([sign * (i + 1) for i, sign in enumerate(signs)])
        inside += found.low <= 0 <= found.high
    assert found.confidence == pytest.approx(inside / 2**n)


def test_as_sure_as_can_be_of_few() -> None:
    assert of_median([3.0, 1.0, 2.0]).confidence == pytest.approx(0.75)
    assert (of_median([3.0, 1.0, 2.0]).low, of_median([3.0, 1.0, 2.0]).high) == (1, 3)
    alone = of_median([2.0])
    assert (alone.median, alone.low, alone.high, alone.confidence) == (2, 2, 2, 0)


@pytest.mark.parametrize("n", [200, 5000])
def test_of_many(n: int) -> None:
    """As the normal distribution has it: 0.98 √n values to either side of the middle."""
    found = of_median([float(i) for i in range(1, n + 1)])
    assert found.low == pytest.approx(n / 2 - 0.98 * n**0.5, abs=1.5)
    assert found.low + found.high == n + 1
    assert 0.95 <= found.confidence < 0.96


def test_against_draws() -> None:
    """Of a distribution that is far from normal, and whose median is 1."""
    draw = random.Random(0)
    hits = 0
    for _ in range(2000):
        found = of_median([2 ** draw.gauss(0, 1.5) for _ in range(25)])
        hits += found.low <= 1 <= found.high
    assert hits / 2000 == pytest.approx(found.confidence, abs=0.015)
    assert found.confidence >= 0.95
