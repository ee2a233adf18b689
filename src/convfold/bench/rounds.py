"""How long does a call take, and how do several compare? Interleaved: whatever else the machine does hits all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import torch
from torch.utils.benchmark import Measurement
from torch.utils.benchmark.utils.common import TaskSpec

from convfold.bench.confidence import Interval, of_median
from convfold.frontends.torch.running.state import State

#: A run is as many calls as take this long, in seconds, or as the slowest call takes: several turns of the scheduler, a
#: few milliseconds each. Of shorter runs on a busy machine some are whole and some are not, and their median is either.
RUN = 0.02

#: The fewest rounds whose median has an interval of 95 %; as many forwards as backwards.
LEAST = 6

#: Warm is what took, in the median of so many rounds, as long as in so many before, up to this share of it.
WINDOW, SETTLED = 4, 0.05

#: How long that is waited for, as a share of the time to measure.
WARM_UP = 0.25


@dataclass(frozen=True)
class Timing:
    """Seconds a call takes: the median over the rounds, the quarter of the rounds below and above, and how many
    figures of the median they support, as `torch.utils.benchmark` estimates it.
    """

    median: float
    low: float
    high: float
    rounds: int
    figures: int


@dataclass(frozen=True)
class Comparison:
    """
    Attributes:
        timings: of each call.
        speedups: of each call but the first, how many times faster it is than the first: in the median over the rounds.
        threads: torch's.
        warm_up: rounds before the first that counts.
        settled: had the times stopped changing by then?
    """

    timings: tuple[Timing, ...]
    speedups: tuple[Interval, ...]
    threads: int
    warm_up: int
    settled: bool

    @property
    def speedup(self) -> float:
        """Of the last over the first."""
        return self.speedups[-1].median if self.speedups else 1.0


def compare(
    calls: Sequence[Callable[[], Any]],
    *,
    seconds: float = 5.0,
    threads: int | None = None,
    state: State | None = None,
) -> Comparison:
    """Time the calls in rounds: each call once a round, in turn forwards and backwards; medians over the rounds.

    How much faster one is than the first is asked of every round by itself, so that what slows a whole round down
    cancels; the interval of the median of those ratios is `of_median`'s. Before the first round that counts there are
    as many as the times need to settle, for at most a quarter of the time to measure.

    Args:
        calls: functions of nothing; they run in inference mode.
        seconds: how long to measure, all calls together; at least 6 rounds are run whatever they take.
        threads: of torch's CPU pool while measuring; None leaves it.
        state: of the models and inputs that the calls run: each run starts from it, and it is put back in the end.
    """
    state = state or State()
    with torch.inference_mode(), torch_threads(threads), state.kept():
        for call in calls:
            state.run(call)  # tells what it changes
        rounds = _Rounds(calls, state)
        settled = rounds.warm_up(WARM_UP * seconds)
        warm, times = len(rounds.times[0]), rounds.measured(seconds)
        first, *others = times
        ratios = [[a / b for a, b in zip(first, other, strict=True)] for other in others]
        speedups = tuple(map(of_median, ratios))
        return Comparison(tuple(map(_timing, times)), speedups, torch.get_num_threads(), warm, settled)


class _Rounds:
    """Seconds per call, for every call and round so far."""

    def __init__(self, calls: Sequence[Callable[[], Any]], state: State) -> None:
        self.calls, self.state = calls, state
        self.repeats = [1 for _ in calls]
        self.times: list[list[float]] = [[] for _ in calls]
        self.fastest = [self._probed(i) for i in range(len(calls))]
        self._repeat()

    def warm_up(self, seconds: float) -> bool:
        """Until all have settled: have they?"""
        end = perf_counter() + seconds
        while not (settled := all(map(_settled, self.times))) and perf_counter() < end:
            self._round()
        self.fastest = [min([fastest, *times]) for fastest, times in zip(self.fastest, self.times, strict=True)]
        self._repeat()
        return settled

    def measured(self, seconds: float) -> list[list[float]]:
        self.times, end = [[] for _ in self.calls], perf_counter() + seconds
        while len(self.times[0]) < LEAST or perf_counter() < end:
            self._round()
        return self.times

    def _round(self) -> None:
        forwards = range(len(self.calls))
        for i in forwards if len(self.times[0]) % 2 == 0 else forwards[::-1]:
            self.times[i].append(self._run(i))

    def _run(self, i: int) -> float:
        call, n = self.calls[i], self.repeats[i]
        if not self.state.changing:
            return _seconds(call, n)
        took = 0.0
        for _ in range(n):  # what changes its state cannot be run twice from one
            self.state.start_over()
            took += _seconds(call, 1)
        return took / n

    def _probed(self, i: int) -> float:
        """The fastest call of a few: not the first, which may compile, nor one that was interrupted."""
        found: list[float] = []
        while len(found) < 2 or (len(found) < 5 and sum(found) < RUN):
            found.append(self._run(i))
        return min(found)

    def _repeat(self) -> None:
        """As often as fills a run, equally long for all: or else a busy machine hits one otherwise than another."""
        longest = max(RUN, *self.fastest)
        self.repeats = [max(1, round(longest / fastest)) for fastest in self.fastest]


def _settled(times: Sequence[float]) -> bool:
    if len(times) < 2 * WINDOW:
        return False
    return abs(median(times[-WINDOW:]) / median(times[-2 * WINDOW : -WINDOW]) - 1) <= SETTLED


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
    figures = Measurement(1, times, TaskSpec("", "")).significant_figures
    return Timing(middle, low, high, len(times), figures)


@contextmanager
def torch_threads(n: int | None) -> Iterator[None]:
    """That many in torch's CPU pool meanwhile; None leaves it."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n or before)
        yield
    finally:
        torch.set_num_threads(before)
