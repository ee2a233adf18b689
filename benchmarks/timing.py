"""Times that can be compared on a busy machine: A B A B …, and the median of the ratios pair by pair."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from math import comb, inf
from statistics import median
from time import perf_counter
from typing import Any

#: Does its work once and says how many seconds count.
Measure = Callable[[], float]


def wall(call: Callable[[], Any], repeats: int = 1) -> Measure:
    """Seconds of one call, from ``repeats`` of them in a row."""

    def measure() -> float:
        start = perf_counter()
        for _ in range(repeats):
            call()
        return (perf_counter() - start) / repeats

    return measure


def repeats(call: Callable[[], Any], seconds: float = 0.02) -> int:
    """How many calls in a row take about this long: far above the clock's resolution, far below a burst of load."""
    call()
    return max(1, round(seconds / max(wall(call)(), 1e-9)))


def interleaved(
    measures: Mapping[str, Measure], rounds: int, warm_up: int = 1, *, seconds: float = inf, least: int = 7
) -> dict[str, list[float]]:
    """Seconds by name, one entry a round; rounds begin with one after another, and every other runs backwards.

    So no one comes first, or behind itself, more often than others do: what ran last holds the caches.
    Fewer ``rounds`` where those take longer than ``seconds``, but no fewer than ``least``.
    """
    names = list(measures)
    times: dict[str, list[float]] = {name: [] for name in names}
    end = perf_counter() + seconds
    for i in range(-warm_up, rounds):
        if i >= least and perf_counter() > end:
            break
        first = i // 2 % len(names)
        order = names[first:] + names[:first]
        for name in order if i % 2 == 0 else reversed(order):
            gc.collect()
            seconds = measures[name]()
            if i >= 0:
                times[name].append(seconds)
    return times


def ratio(times: Mapping[str, list[float]], of: str, over: str) -> float:
    """The median over the rounds of ``of`` divided by ``over``: load that lasts a round cancels."""
    return median(ratios(times, of, over))


def ratios(times: Mapping[str, list[float]], of: str, over: str) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(times[of], times[over], strict=True)]


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Where the median lies that these are drawn around, whatever their distribution: two of them, as high as low.

    It is below the k-th smallest of n, or above the k-th largest, as rarely as n coins show fewer than k heads.
    """
    n, k, rarely = len(values), 0, 0.0
    while (rarely := rarely + comb(n, k) / 2**n) <= (1 - confidence) / 2:
        k += 1
    if k == 0:
        raise ValueError(f"{n} values are too few for a confidence of {confidence}")
    ordered = sorted(values)
    return ordered[k - 1], ordered[n - k]


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: median(t) for name, t in times.items()}
