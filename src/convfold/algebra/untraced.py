"""Composing is done by hand, not compiled: where torch.compile meets it, the graph ends, and goes on behind it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

_DISABLED: dict[Callable[..., Any], Callable[..., Any]] = {}


def untraced(f: Callable[P, R]) -> Callable[P, R]:
    """``f``, which torch.compile calls but does not look into: whether a bias is all zeros decides what is computed.

    ``torch.compiler.disable`` as a decorator would import the compiler, which takes seconds, with the library.
    """

    @wraps(f)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_dynamo_compiling():
            return _disabled(f)(*args, **kwargs)  # type: ignore[no-any-return]
        return f(*args, **kwargs)

    return call


def _disabled(f: Callable[..., Any]) -> Callable[..., Any]:
    if f not in _DISABLED:
        _DISABLED[f] = torch.compiler.disable(f)
    return _DISABLED[f]
