"""How long do models take, and how do they compare: in which runtime, at which batch, on how many threads?"""

from __future__ import annotations

from convfold.bench.confidence import Interval, of_median
from convfold.bench.groups import Entrant, Row, measure
from convfold.bench.machine import Machine
from convfold.bench.result import Bench, versions
from convfold.bench.rounds import Comparison, Timing, compare

__all__ = [
    "Bench",
    "Comparison",
    "Entrant",
    "Interval",
    "Machine",
    "Row",
    "Timing",
    "compare",
    "measure",
    "of_median",
    "versions",
]
