"""Timing, on a clock that only moves when something is called."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch

from convfold.bench import compare


class Clock:
    def __init__(self) -> None:
        self.now, self.called = 0.0, ""

    def __call__(self) -> float:
        return self.now

    def takes(self, name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            assert torch.is_inference_mode_enabled()
            self.now += seconds
            self.called += name

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sys.modules["convfold.bench"], "perf_counter", clock)
    return clock


def test_medians_and_their_ratio(clock: Clock) -> None:
    result = compare([clock.takes("a", 0.06), clock.takes("b", 0.02)], seconds=0.8)
    assert [t.median for t in result.timings] == pytest.approx([0.06, 0.02])
    assert result.speedup == pytest.approx(3)
    assert [t.rounds for t in result.timings] == [10, 10]


def test_they_take_turns_at_being_first(clock: Clock) -> None:
    compare([clock.takes("a", 0.06), clock.takes("b", 0.02), clock.takes("c", 0.03)], seconds=0)
    warm, probed, rounds = clock.called[:3], clock.called[3:6], clock.called[6:]
    assert (warm, probed, rounds) == ("abc", "abc", "abc" + "cba" + "abc" + "cba" + "abc")


def test_short_calls_are_repeated(clock: Clock) -> None:
    result = compare([clock.takes("a", 0.001)], seconds=0)
    assert len(clock.called) == 2 + 5 * 5
    assert result.timings[0].median == pytest.approx(0.001)


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    result = compare([lambda: seen.append(torch.get_num_threads())], seconds=0, threads=before + 1)
    assert set(seen) == {before + 1} == {result.threads}
    assert torch.get_num_threads() == before
