"""What benchmarks say of their times: an interval holds the median as often as it says."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from benchmarks import timing
from benchmarks.timing import interleaved, interval


@pytest.fixture(autouse=True)
def without_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is timed, and each takes a tenth of a second."""
    monkeypatch.setattr(timing.gc, "collect", lambda: 0)


def test_of_few_values_the_least_and_the_largest() -> None:
    assert interval([3.0, 1.0, 2.0, 5.0, 4.0, 7.0, 6.0]) == (1.0, 7.0)
    with pytest.raises(ValueError, match="too few"):
        interval([1.0] * 5)


def test_of_41_the_14th_at_either_end() -> None:
    """As the tables of the sign test have it."""
    assert interval([float(i) for i in range(1, 42)]) == (14.0, 28.0)


def test_as_often_as_it_says_whatever_the_distribution() -> None:
    draw = random.Random(0)
    held = 0
    for _ in range(2000):
        low, high = interval([draw.expovariate(1.0) ** 2 for _ in range(25)])
        held += low <= 0.6931**2 <= high
    assert held >= 0.94 * 2000


def test_rounds_end_with_the_time_but_for_the_least() -> None:
    times = interleaved({name: lambda: 1.0 for name in "ab"}, 99, seconds=0.0, least=3)
    assert times == {"a": [1.0] * 3, "b": [1.0] * 3}


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_no_one_follows_itself_more_often_than_others_do(names: str) -> None:
    """Whoever ran last holds the caches."""
    calls: list[str] = []
    interleaved({name: lambda n=name: calls.append(n) or 1.0 for name in names}, 2 * len(names) ** 2, warm_up=0)
    alone = [sum(a == b == name for a, b in pairwise(calls)) for name in names]
    assert max(alone) - min(alone) <= 1
    for place in range(len(names)):
        assert len({calls[place :: len(names)].count(name) for name in names}) == 1
