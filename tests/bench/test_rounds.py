"""Timing, on a clock that only moves when something is called."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest
import torch

from convfold.bench import compare
from convfold.bench.rounds import LEAST
from convfold.frontends.torch.running.state import State


class Clock:
    def __init__(self) -> None:
        self.now, self.called = 0.0, ""

    def __call__(self) -> float:
        return self.now

    def takes(self, name: str, *seconds: float) -> Callable[[], None]:
        """``seconds``: of the first call, the second … and all from the last on."""
        left = list(seconds)

        def call() -> None:
            assert torch.is_inference_mode_enabled()
            self.now += left[0]
            self.called += name
            if len(left) > 1:
                del left[0]

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sys.modules["convfold.bench.rounds"], "perf_counter", clock)
    return clock


def test_medians_and_their_ratio(clock: Clock) -> None:
    result = compare([clock.takes("a", 0.06), clock.takes("b", 0.02)], seconds=0.8)
    assert [t.median for t in result.timings] == pytest.approx([0.06, 0.02])
    (faster,) = result.speedups
    assert [result.speedup, faster.median, faster.low, faster.high] == pytest.approx([3, 3, 3, 3])
    assert faster.confidence >= 0.95
    assert [t.rounds for t in result.timings] == [7, 7]


def test_each_is_compared_with_the_first(clock: Clock) -> None:
    result = compare([clock.takes("a", 0.06), clock.takes("b", 0.02), clock.takes("c", 0.03)], seconds=0)
    assert [s.median for s in result.speedups] == pytest.approx([3, 2])
    assert result.speedup == pytest.approx(2)
    assert compare([clock.takes("a", 0.06)], seconds=0).speedups == ()


def test_what_slows_a_round_down_cancels(clock: Clock) -> None:
    slow = [1.0, 1.0, 1.0, *([1.0, 3.0, 2.0] * 100)]  # watched, probed, and the rounds: no two alike
    a, b = (clock.takes(name, *(seconds * s for s in slow)) for name, seconds in (("a", 0.06), ("b", 0.05)))
    result = compare([a, b], seconds=2)
    assert result.timings[0].high > 1.5 * result.timings[0].low
    assert [result.speedups[0].low, result.speedups[0].high] == pytest.approx([1.2, 1.2])


def test_warm_up_lasts_until_the_times_have_settled(clock: Clock) -> None:
    falling = [1.0, 1.0, *(0.1 + 0.1 / 2**i for i in range(20)), 0.1]
    result = compare([clock.takes("a", *falling)], seconds=40)
    assert result.settled and 8 <= result.warm_up <= 20
    assert result.timings[0].high == pytest.approx(0.1, rel=0.05)
    assert result.timings[0].median == pytest.approx(0.1, rel=1e-3)


def test_warm_up_ends(clock: Clock) -> None:
    """After a quarter of the time to measure, whatever the times do."""
    growing = [0.01 * 1.1**i for i in range(200)]
    result = compare([clock.takes("a", *growing)], seconds=2)
    assert not result.settled and result.warm_up >= 8


def test_what_was_slow_at_first_is_repeated_once_it_is_fast(clock: Clock) -> None:
    """A compiler's time says nothing of how often a run fits."""
    result = compare([clock.takes("a", 20.0, 20.0, 0.001)], seconds=2)
    assert result.settled
    assert clock.called.count("a") == 1 + 2 + 20 * (result.warm_up + result.timings[0].rounds)


def test_they_take_turns_at_being_first(clock: Clock) -> None:
    compare([clock.takes("a", 0.5), clock.takes("b", 0.25), clock.takes("c", 0.125)], seconds=0)
    warm, probed, rounds = clock.called[:3], clock.called[3:9], clock.called[9:]
    assert (warm, probed, rounds) == ("abc", "aabbcc", 3 * ("abbcccc" + "ccccbba"))  # each as long as the longest


def test_short_calls_are_repeated(clock: Clock) -> None:
    result = compare([clock.takes("a", 0.001)], seconds=0)
    assert len(clock.called) == 1 + 5 + LEAST * 20  # watched, probed a few times, measured
    assert result.timings[0].median == pytest.approx(0.001)


def test_what_changes_its_state_is_repeated_from_the_first(clock: Clock) -> None:
    held: list[int] = []

    def call() -> None:
        assert not held
        held.append(1)
        clock.takes("a", 0.001)()

    result = compare([call], seconds=0, state=State(held))
    assert len(clock.called) == 1 + 5 + LEAST * 20 and not held
    assert result.timings[0].median == pytest.approx(0.001)


def test_runs_are_equally_long_whatever_hit_the_first_calls(clock: Clock) -> None:
    """On a machine that is shared, of equal calls the one in shorter runs once seemed 1.7 times as fast."""
    compare([clock.takes("a", *[0.0066] * 8, 0.0026), clock.takes("b", 0.0026)], seconds=2)
    assert re.search("a{8}b{16}a{16}b{16}a{8}$|b{8}a{16}b{16}a{16}b{8}$", clock.called)


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    result = compare([lambda: seen.append(torch.get_num_threads())], seconds=0, threads=before + 1)
    assert set(seen) == {before + 1} == {result.threads}
    assert torch.get_num_threads() == before
