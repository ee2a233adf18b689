"""Plain data as JSON."""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(data: Any, **how: Any) -> str:
    """As `json.dumps`, null in the place of what JSON has no number for: infinity, NaN."""
    return json.dumps(_finite(data), **how)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
