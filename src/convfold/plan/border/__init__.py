"""What the one convolution of a chain gets wrong at the border (`mismatch`), and one file a way of mending it.

Which way is cheapest depends on what differs (constants or data) and on whether the sizes are known.
"""

from __future__ import annotations

from convfold.plan.border.constants import Constants, Map
from convfold.plan.border.hoisted import Hoisted
from convfold.plan.border.kernels import Kernels
from convfold.plan.border.mismatch import Border, Ghost
from convfold.plan.border.ones import Ones
from convfold.plan.border.steps import Steps
from convfold.plan.border.way import Correct, Mending, Way

__all__ = ["HOISTED", "WAYS", "Border", "Correct", "Ghost", "Mending", "Way", "ways"]

WAYS: tuple[Way, ...] = (Constants(), Map(), Ones(), Kernels(), Steps())
HOISTED = Hoisted()


def ways(border: Border) -> list[Way]:
    """Those that are exact here: at least one."""
    return [way for way in WAYS if way.exact(border)]
