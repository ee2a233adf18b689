"""The doors between the algebra and modules, left open for others to walk through.

The algebra knows no module: `Convolution.of` and `Convolution.to_module` dispatch on type through these tables, in
which `layers/` is registered; and `layers/` knows no graph, which takes reading a `block`: see `convfold.blocks`.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from convfold.errors import NotFoldable


@singledispatch
def of(module: object, channels: int | None = None, dims: int | None = None) -> Any:
    """The algebra value that a module computes."""
    raise NotFoldable("not-affine", f"{type(module).__name__} is not an affine layer convfold knows")


@singledispatch
def block(module: object, channels: int | None = None, dims: int | None = None) -> Any:
    """The links of a chain (`layers.links`) that a module computes which is none of those we know."""
    raise NotFoldable("not-affine", f"{type(module).__name__} is not an affine layer convfold knows")


@singledispatch
def to_module(value: object, attached: bool = False) -> Any:
    """The module that computes an algebra value."""
    raise NotFoldable("no-module", f"no module for {type(value).__name__}")
