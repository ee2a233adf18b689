"""Shared set-up: one thread, float64 nowhere by default, property tests without a clock."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.effort import examples

settings.register_profile(
    "convfold",
    max_examples=examples(),
    deadline=None,
    print_blob=True,
    derandomize="CI" in os.environ,  # CI runs the same examples every time; a developer's run explores
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("convfold")
torch.set_num_threads(1)
_CACHE = tempfile.TemporaryDirectory(prefix="convfold-")  # until the last test is done
os.environ["XDG_CACHE_HOME"] = _CACHE.name
os.environ.setdefault("CONVFOLD_DEBUG", "1")  # the invariants of every stage: see `convfold.spec`


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--overwrite", action="store_true", help="write the golden files instead of comparing with them")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a file in ``golden/`` beside the test."""

    def same(name: str, text: str) -> None:
        path: Path = request.path.parent / "golden" / name
        if request.config.getoption("--overwrite"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{name} differs; if it should, run pytest --overwrite"

    return same


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(20240229)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, one for the session."""
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with api.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()
