"""Sizes that may change from call to call."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch


def is_free(n: Any) -> TypeGuard[torch.SymInt]:
    """A size that may change: a symbol that tracing has not pinned to one number."""
    return isinstance(n, torch.SymInt) and not n.node.expr.is_number
