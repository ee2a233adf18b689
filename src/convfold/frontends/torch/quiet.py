"""What torch says of its own tracing is left unsaid while we trace: graphs that failed, attempts that need no answer.

What the model prints, logs and warns is heard as ever, and so is torch by whoever asked for more of it: by the variable
TORCH_LOGS, `torch._logging.set_logs`, or the command line's --debug (`aloud`). Nothing here needs torch.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Any, TextIO

#: Libraries that print, log and warn about their own internals: graphs that failed, steps that went well.
ABOUT_THEMSELVES = ("torch", "onnx", "onnxscript", "onnx_ir")

#: What a message passes through on its way.
ON_THE_WAY = ("logging", "traceback", "contextlib")

#: How warnings of torch's begin that are put down to `copy` and `contextlib`.
_BY_WAY_OF_OTHERS = (r"`isinstance\(treespec, LeafSpec\)`", "The tensor attributes? .* assigned during export")

_asked_for: ContextVar[bool] = ContextVar("asked_for", default=False)


@contextmanager
def aloud() -> Iterator[None]:
    """Meanwhile nothing is left unsaid."""
    token = _asked_for.set(True)
    try:
        yield
    finally:
        _asked_for.reset(token)


@contextmanager
def quiet() -> Iterator[None]:
    """Meanwhile those libraries neither print to ``sys.stderr``, nor log, nor warn; may be nested."""
    if _asked_for.get() or os.environ.get("TORCH_LOGS"):
        yield
        return
    with warnings.catch_warnings(), _without_logs(), _without_prints():
        warnings.filterwarnings("ignore", module=rf"({'|'.join(ABOUT_THEMSELVES)})(\.|$)")
        for text in _BY_WAY_OF_OTHERS:
            warnings.filterwarnings("ignore", text)
        yield


@contextmanager
def _without_prints() -> Iterator[None]:
    before = sys.stderr
    if before is None:
        yield
        return
    sys.stderr = filtered = Messages(before, ABOUT_THEMSELVES)
    try:
        yield
    finally:
        filtered.silent = ()  # should somebody hold it still
        if sys.stderr is filtered:
            sys.stderr = before


@contextmanager
def _without_logs() -> Iterator[None]:
    """By filters on handlers: those of a logger would not see what loggers below it pass on."""
    known = list(logging.root.manager.loggerDict.items())
    loggers = [x for name, x in known if isinstance(x, logging.Logger) and _package(name) in ABOUT_THEMSELVES]
    handlers = {h for logger in (logging.root, *loggers) for h in logger.handlers}
    unheard = _Unheard()
    for handler in handlers:
        handler.addFilter(unheard)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(unheard)


class _Unheard(logging.Filter):
    """Takes nothing that these libraries say in this thread, but from loggers that were told to say more."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return (
            _package(record.name) not in ABOUT_THEMSELVES
            or record.thread != self.thread
            or logging.getLogger(record.name).getEffectiveLevel() < logging.WARNING
        )


class Messages:
    """A text stream that takes nothing from some packages; a reader who is gone ends no work."""

    def __init__(self, stream: TextIO, silent: tuple[str, ...]) -> None:
        self.silent = silent
        self._stream = stream

    def write(self, text: str) -> int:
        if not self.silent or _speaker(sys._getframe(1)) not in self.silent:
            with suppress(OSError):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _speaker(frame: FrameType | None) -> str:
    """The package whose code this message began in; a stand-in that passes it on is no speaker."""
    while frame is not None:
        package = _package(str(frame.f_globals.get("__name__")))
        if package not in ON_THE_WAY and frame.f_code is not Messages.write.__code__:
            return package
        frame = frame.f_back
    return ""


def _package(name: str) -> str:
    return name.partition(".")[0]
