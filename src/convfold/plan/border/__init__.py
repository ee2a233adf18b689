"""What the one convolution of a chain gets wrong at the border (`mismatch`), and one file a way of mending it.

Which way is cheapest depends on what differs (constants or data) and on whether the sizes are known.
"""

from __future__ import annotations

from collections.abc import Callable

from convfold.plan.border.constants import Constants, Map
from convfold.plan.border.hoisted import Hoisted
from convfold.plan.border.kernels import Kernels
from convfold.plan.border.mismatch import Border, GhostRead
from convfold.plan.border.ones import Ones
from convfold.plan.border.steps import Steps
from convfold.plan.border.way import Correct, Mending, Way

__all__ = ["ALLOWED", "HOISTED", "WAYS", "Border", "Correct", "GhostRead", "Mending", "Way", "ways"]

WAYS: tuple[Way, ...] = (Constants(), Map(), Ones(), Kernels(), Steps())
HOISTED = Hoisted()


def ways(border: Border) -> list[Way]:
    """Those that are exact here: at least one."""
    return [way for way in WAYS if way.exact(border)]


def hoisted(border: Border) -> list[Way]:
    return [HOISTED]


#: Which ways a border may be mended, by what `FoldConfig.border` says; None: no border is to be mended.
ALLOWED: dict[str, Callable[[Border], list[Way]] | None] = {"exact": ways, "hoist": hoisted, "refuse": None}
