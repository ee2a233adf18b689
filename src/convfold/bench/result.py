"""What came of it: every row, and on what machine, with what versions."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convfold.bench.groups import Entrant, Row
from convfold.bench.machine import Machine
from convfold.runtimes import runtime


@dataclass(frozen=True)
class Bench:
    """
    Attributes:
        words: what the models are called.
        versions: of what they ran in, by package.
        rows: of every runtime, batch and number of threads.
    """

    words: tuple[str, ...]
    machine: Machine
    versions: dict[str, str]
    rows: tuple[Row, ...]

    @property
    def where(self) -> str:
        """In a line."""
        packages = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.machine}; Python {platform.python_version()}, {packages}"

    def to_dict(self) -> dict[str, Any]:
        most = max((row.threads for row in self.rows), default=1)
        return {
            "models": list(self.words),
            "machine": {**self.machine.to_dict(), "busy": self.machine.busy(most)},
            "versions": {"python": platform.python_version(), **self.versions},
            "rows": [row.to_dict(self.words) for row in self.rows],
        }


def versions(entrants: Sequence[Entrant], runtimes: Sequence[str]) -> dict[str, str]:
    """Of the packages that these models will run in, torch's in any case.

    Raises:
        InvalidInput: one is not installed.
    """
    found: dict[str, str] = {}
    for name in dict.fromkeys(["eager", *(runtimes or (e.runtime for e in entrants))]):
        found |= runtime(name).versions()
    return found
