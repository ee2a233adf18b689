"""How sure is a median?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log
from statistics import median


@dataclass(frozen=True)
class Interval:
    """A median, and between which values that of the distribution lies with this confidence."""

    median: float
    low: float
    high: float
    confidence: float


def of_median(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The median with its distribution-free interval: between two of the values themselves.

    Of n values in order, the median of what they were drawn from lies below x₍ₖ₎ if fewer than k of them are below it:
    P(B < k) with B ~ Binomial(n, ½), whatever the distribution, and as likely above x₍ₙ₊₁₋ₖ₎. So

        confidence of [x₍ₖ₎, x₍ₙ₊₁₋ₖ₎] ≥ 1 − 2 P(B < k),

    and k is the largest for which that is at least what was asked for; what it is then is in the result. Fewer than six
    values have no interval of 95 %: theirs is all of their range, with the confidence that has, 1 − 2¹⁻ⁿ. Values are
    taken to be independent; times next to each other are not quite, ratios of times taken in turn are nearly.

    H. A. David, H. N. Nagaraja, Order Statistics, 3rd edition, section 7.1; J.-Y. Le Boudec, Performance Evaluation of
    Computer and Communication Systems, section 2.2 and the table in its appendix A.
    """
    ordered, n = sorted(values), len(values)
    k, outside = 1, 2 * _binomial(n, 0)
    while k < (n + 1) // 2 and (more := outside + 2 * _binomial(n, k)) <= 1 - confidence:
        k, outside = k + 1, more
    return Interval(median(ordered), ordered[k - 1], ordered[n - k], max(0.0, 1 - outside))


def _binomial(n: int, k: int) -> float:
    """The probability of k heads in n throws."""
    return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n * log(2))
