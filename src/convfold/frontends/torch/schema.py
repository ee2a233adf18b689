"""Does a serialised program say only what torch's schema has words for? Loading makes Python code of its strings."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from torch._export.serde import schema
from torch._export.serde.union import _Union

from convfold.errors import InvalidInput
from convfold.frontends.torch.words import KEYS, RULES, Rule


def check(kind: Any, data: Any) -> None:
    """Raise `InvalidInput` unless the JSON ``data`` is a ``kind`` of torch's schema, down to its last string.

    torch's reader takes any value for any field. Names go into the source of ``forward``, sizes are evaluated by
    sympy, operators are looked up anywhere in torch, trees of containers import modules: each could run code.
    """
    _checker(kind, kind.__name__, None)(data)


@cache
def _checker(kind: Any, field: str, rule: Rule | None) -> Callable[[Any], None]:
    inner = [_checker(arg, field, rule) for arg in get_args(kind)]

    def optional(value: Any) -> None:
        if value is not None:
            inner[0](value)

    def listed(value: Any) -> None:
        _want(type(value) is list, field, value)
        for item in value:
            inner[0](item)

    def mapped(value: Any) -> None:
        _want(type(value) is dict, field, value)
        for key, item in value.items():
            _obey(KEYS.get(field), field, key)
            inner[1](item)

    def composed(value: Any) -> None:
        parts = _parts(kind)
        _want(type(value) is dict and (len(value) == 1 or not issubclass(kind, _Union)), field, value)
        for key, item in value.items():
            if key in parts:  # what newer versions have added is ignored, here as by torch
                parts[key](item)

    def plain(value: Any) -> None:
        number = kind is float and (type(value) is int or value in ("Infinity", "-Infinity", "NaN"))
        _want(number or type(value) is kind, field, value)
        _obey(rule if kind is str else None, field, value)

    if get_origin(kind) in (Union, types.UnionType):
        return optional
    if get_origin(kind) in (list, dict):
        return listed if get_origin(kind) is list else mapped
    if issubclass(kind, Enum):
        return lambda value: _want(type(value) is int and value in iter(kind), field, value)
    return composed if is_dataclass(kind) else plain


@cache
def _parts(kind: Any) -> dict[str, Callable[[Any], None]]:
    hints = get_type_hints(kind, globalns=vars(schema))
    return {name: _checker(hint, f"{kind.__name__}.{name}", RULES.get(name)) for name, hint in hints.items()}


def _want(holds: bool, field: str, value: Any) -> None:
    if not holds:
        raise InvalidInput(f"has {str(value)[:60]!r} for {field}")


def _obey(rule: Rule | None, field: str, value: str) -> None:
    if rule is not None and (what := rule(value)):
        raise InvalidInput(f"has {value[:60]!r} for {field}, {what}")
