"""Runtimes on machines as tables of prices. Those that are shipped lie in ``data``, a file each."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

from convfold.errors import InvalidInput
from convfold.targets.target import Costs, Target

__all__ = ["Costs", "Target", "shipped", "target"]

_DATA = files("convfold.targets") / "data"


def shipped() -> tuple[str, ...]:
    """Names of those that come with the package."""
    return tuple(sorted(p.name.removesuffix(".json") for p in _DATA.iterdir() if p.name.endswith(".json")))


def target(name: str) -> Target:
    """One that is shipped, by its name (``onnxruntime-cpu``, or ``onnxruntime``: on a CPU), or a file of one.

    Raises:
        InvalidInput: there is none, or the file holds none.
    """
    if name.endswith(".json"):
        return Target.load(Path(name))
    found = next((n for n in (name, f"{name}-cpu") if n in shipped()), None)
    if found is None:
        raise InvalidInput(f"unknown target {name!r}; known: {', '.join(shipped())}, or a .json file of one")
    return _shipped(found)


@cache
def _shipped(name: str) -> Target:
    return Target.of(json.loads((_DATA / f"{name}.json").read_text(encoding="utf-8")), name)
