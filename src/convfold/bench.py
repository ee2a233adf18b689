"""How long does a model take, and how do two compare? Interleaved, so that whatever else the machine does hits both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import torch

from convfold.frontends.torch.running.state import State

#: One run is as many calls as take about this long, in seconds: far above the clock's resolution.
RUN = 0.005


@dataclass(frozen=True)
class Timing:
    """Seconds a call takes: the median over the rounds, and the quarter of the rounds below and above."""

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class Comparison:
    """The timing of each call, and how many times faster the last is than the first (median over the rounds)."""

    timings: tuple[Timing, ...]
    speedup: float
    threads: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    calls: Sequence[Callable[[], Any]],
    *,
    seconds: float = 5.0,
    threads: int | None = None,
    state: State | None = None,
) -> Comparison:
    """Time the calls in rounds: each call once a round, in turn forwards and backwards; medians over the rounds.

    Args:
        calls: functions of nothing; they run in inference mode.
        seconds: how long to measure, all calls together; at least 5 rounds are run whatever they take.
        threads: of torch's CPU pool while measuring; None leaves it.
        state: of the models and inputs that the calls run: each run starts from it, and it is put back in the end.
    """
    state = state or State()
    with torch.inference_mode(), _threads(threads), state.kept():
        times = _rounds(calls, seconds, state)
        ratios = [first / last for first, last in zip(times[0], times[-1], strict=True)]
        return Comparison(tuple(_timing(t) for t in times), median(ratios), torch.get_num_threads())


def _rounds(calls: Sequence[Callable[[], Any]], seconds: float, state: State) -> list[list[float]]:
    """Seconds per call, for every call and round."""
    for call in calls:
        state.run(call)  # the first call of anything is slower
    start_over: Callable[[], None] = state.start_over if state.changing else lambda: None
    repeats = [1 if state.changing else max(1, round(RUN / _seconds(call, 1))) for call in calls]
    times: list[list[float]] = [[] for _ in calls]
    forwards, end = list(range(len(calls))), perf_counter() + seconds
    while len(times[0]) < 5 or perf_counter() < end:
        for i in forwards if len(times[0]) % 2 == 0 else forwards[::-1]:
            start_over()
            times[i].append(_seconds(calls[i], repeats[i]))
    return times


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    _synchronise()
    start = perf_counter()
    for _ in range(repeats):
        call()
    _synchronise()
    return (perf_counter() - start) / repeats


def _synchronise() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _timing(times: list[float]) -> Timing:
    low, middle, high = quantiles(times, n=4, method="inclusive")
    return Timing(middle, low, high, len(times))


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n or before)
        yield
    finally:
        torch.set_num_threads(before)
