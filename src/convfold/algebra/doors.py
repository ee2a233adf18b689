"""The doors between the algebra and modules, left open for others to walk through.

The algebra knows no module: `Convolution.of` and `Convolution.to_module` dispatch on type through these tables, in
which `layers/` is registered; and `layers/` knows no graph, which takes reading a `block`: see `convfold.blocks`. They
are loaded when first asked for: the algebra can be imported without them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from importlib import import_module
from typing import Any

from convfold.errors import NotFoldable


@singledispatch
def of(module: object, channels: int | None = None, dims: int | None = None) -> Any:
    """The algebra value that a module computes."""
    if reader := _registered(of, module):
        return reader(module, channels, dims)
    raise NotFoldable("not-affine", f"{type(module).__name__} is not an affine layer convfold knows")


@singledispatch
def block(module: object, channels: int | None = None, dims: int | None = None) -> Any:
    """The links of a chain (`layers.links`) that a module computes which is none of those we know."""
    if reader := _registered(block, module, "convfold.blocks"):
        return reader(module, channels, dims)
    raise NotFoldable("not-affine", f"{type(module).__name__} is not an affine layer convfold knows")


@singledispatch
def to_module(value: object, attached: bool = False) -> Any:
    """The module that computes an algebra value."""
    if writer := _registered(to_module, value):
        return writer(value, attached)
    raise NotFoldable("no-module", f"no module for {type(value).__name__}")


def _registered(door: Any, thing: object, registrar: str = "convfold.layers") -> Callable[..., Any] | None:
    """What is registered for things of its type, once the file that does is loaded; None where that is nothing.

    By name, for imports go the other way.
    """
    import_module(registrar)
    found: Callable[..., Any] = door.dispatch(type(thing))
    return None if found is door.dispatch(object) else found
