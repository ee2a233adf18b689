"""How many examples a property is tried on: a part of them each time, all with ``make slow``."""

from __future__ import annotations

import os

THOROUGH = "CONVFOLD_THOROUGH" in os.environ


def examples(n: int = 100) -> int:
    """Of ``n`` a third."""
    return n if THOROUGH else n // 3
