"""A report in a real browser, with the network off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Opened = Callable[..., Any]


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    """Opens a file; any error of a script, and anything that is asked of a network, fails the test."""
    contexts, wrong = [], list[str]()

    def said(message: Any) -> None:
        if message.type == "error":
            wrong.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            wrong.append(request.url)

    def open(path: Path, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("console", said)
        page.on("request", asked)
        page.goto(path.as_uri())
        return page

    yield open
    for context in contexts:
        context.close()
    assert not wrong, wrong
