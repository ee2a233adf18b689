"""The README's first screen is what the command says."""

from __future__ import annotations

from pathlib import Path

import convfold
from convfold.demo import small

ROOT = Path(__file__).parents[1]


def test_the_session_shown_is_real() -> None:
    readme = [line.rstrip() for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    said = str(convfold.explain(*small())).splitlines()
    lines = [line.rstrip() for line in said if not line.startswith("seconds")]  # the one line that is never the same
    assert len(lines) > 12
    assert [line for line in lines if line not in readme] == []


def test_the_trace_shown_is_real() -> None:
    (trace,) = convfold.explain(*small(), trace="5").trace
    shown = (ROOT / "docs" / "planner.md").read_text(encoding="utf-8")
    assert "\n".join(line.rstrip() for line in str(trace).splitlines()) in shown
