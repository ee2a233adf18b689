"""Results next to the scripts, as JSON: one file a script, one entry a case; a run replaces the entries it made."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

FOLDER = Path(__file__).parent / "results"

#: Tables go to standard output, progress to standard error.
console = Console(width=170 if not os.isatty(1) else None)
progress = Console(stderr=True, highlight=False)


def record(script: str, cases: Mapping[str, Any]) -> None:
    """Merge the cases into ``results/<script>.json``; each keeps the environment it was measured in."""
    path = FOLDER / f"{script}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known |= {name: {**case, "environment": environment()} for name, case in cases.items()}
    FOLDER.mkdir(exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(_rounded(dict(sorted(known.items()))), indent=1) + "\n")
    temporary.replace(path)
    progress.print(f"written: {path.relative_to(FOLDER.parent.parent)}")


def environment() -> dict[str, Any]:
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def _rounded(x: Any) -> Any:
    """Four digits: more would be noise, and churn."""
    if isinstance(x, dict):
        return {k: _rounded(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_rounded(v) for v in x]
    return float(f"{x:.4g}") if isinstance(x, float) else x
