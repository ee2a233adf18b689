"""Prices are found again where calls take what prices say, and a kind takes no more terms than it needs."""

from __future__ import annotations

import random

import pytest

from convfold.calibration.fit import fitted
from convfold.targets.terms import TERMS


def counts(seed: int, n: int = 40) -> list[dict[str, int]]:
    rng = random.Random(seed)
    return [{term: 1 if term == "calls" else round(10 ** rng.uniform(2, 7)) for term in TERMS} for _ in range(n)]


def test_known_prices_are_found_again() -> None:
    wanted = {"calls": 2e-6, "macs": 3e-11, "far": 5e-11}
    table = counts(0)
    seconds = [sum(price * c[term] for term, price in wanted.items()) for c in table]
    found, error = fitted(table, seconds)
    assert set(found) == set(wanted)
    for term, price in wanted.items():
        assert found[term] == pytest.approx(price, rel=1e-6)
    assert error < 1e-6


def test_within_noise() -> None:
    rng = random.Random(1)
    table = counts(1)
    seconds = [(2e-6 + 3e-11 * c["macs"]) * rng.uniform(0.8, 1.25) for c in table]
    found, error = fitted(table, seconds)
    assert {"calls", "macs"} <= set(found)
    assert 0.02 < error < 0.25
    assert all(price > 0 for price in found.values())


def test_one_term_where_one_is_enough() -> None:
    found, _ = fitted(counts(2), [5e-6] * 40)
    assert found == {"calls": pytest.approx(5e-6)}
