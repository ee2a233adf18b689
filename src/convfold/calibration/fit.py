"""Measured calls → prices: the fewest terms that predict calls which were left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from convfold.targets.terms import TERMS

#: Parts that take turns in being left out.
FOLDS = 5
#: A further term must make the error of what is left out smaller by this share.
WORTH = 0.05

Counts = Sequence[Mapping[str, int]]


def fitted(counts: Counts, seconds: Sequence[float]) -> tuple[dict[str, float], float]:
    """The price of each term, and the median relative error of calls that were left out.

    Non-negative least squares of *relative* errors: ``min Σ (Σ price·count / seconds − 1)²`` with ``price ≥ 0``
    (Lawson, Hanson: Solving Least Squares Problems, 1974, ch. 23). Terms are taken one after the other, the one first
    that helps most.
    """
    taken: list[str] = []
    error = float("inf")
    while True:
        ways = {term: _error(counts, seconds, [*taken, term]) for term in TERMS if term not in taken}
        term = min(ways, key=ways.__getitem__, default=None)
        if term is None or ways[term] > error * (1 - WORTH):
            break
        taken, error = [*taken, term], ways[term]
    return {term: price for term, price in _prices(counts, seconds, taken).items() if price > 0}, error


def _prices(counts: Counts, seconds: Sequence[float], terms: Sequence[str]) -> dict[str, float]:
    table = _relative(counts, seconds, terms)
    sizes = np.linalg.norm(table, axis=0).clip(
        np.finfo(float).tiny
    )  # of terms that are counted in millions and in ones
    found, _ = nnls(table / sizes, np.ones(len(seconds)))
    return dict(zip(terms, map(float, found / sizes), strict=True))


def _relative(counts: Counts, seconds: Sequence[float], terms: Sequence[str]) -> NDArray[np.float64]:
    table = np.array([[count.get(term, 0) for term in terms] for count in counts], float)
    relative: NDArray[np.float64] = table / np.array(seconds)[:, None]
    return relative


def _error(counts: Counts, seconds: Sequence[float], terms: Sequence[str]) -> float:
    """The median over all calls, each predicted by prices that were fitted without it."""
    off = []
    for fold in range(FOLDS):
        kept = [i for i in range(len(seconds)) if i % FOLDS != fold]
        prices = _prices([counts[i] for i in kept], [seconds[i] for i in kept], terms)
        for i in range(fold, len(seconds), FOLDS):
            predicted = sum(prices[term] * counts[i].get(term, 0) for term in terms)
            off.append(abs(predicted / seconds[i] - 1))
    return median(off)
