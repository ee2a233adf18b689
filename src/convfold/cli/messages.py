"""What may be written to standard error while the command works, and what of it is left out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

import click

#: Libraries that print, log and warn about their own internals: graphs that failed, steps that went well.
ABOUT_THEMSELVES = ("torch", "onnx", "onnxscript", "onnx_ir")

#: What a message passes through on its way.
ON_THE_WAY = ("logging", "traceback", "contextlib")

#: Letters of a line.
LONGEST = 1000


def say(text: str) -> None:
    """One line on standard error, whatever is in the text, if anybody reads it."""
    with suppress(OSError):
        click.echo(one_line(text), err=True)


def one_line(text: str) -> str:
    """The text without breaks, control characters, or a middle that is too long to be read."""
    line = " ".join(click.unstyle(text).split())
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


@contextmanager
def without_torch(debug: bool) -> Iterator[None]:
    """Whatever is printed goes to standard error, but for what torch says of itself and all warnings; --debug shows it.

    torch prints and logs in many places that no setting reaches, so it is asked of each message who speaks.
    """
    before = sys.stdout, sys.stderr
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default" if debug else "ignore")
            sys.stdout = sys.stderr = Messages(sys.stderr, () if debug else ABOUT_THEMSELVES)
            yield
    finally:
        sys.stdout, sys.stderr = before


class Messages:
    """A text stream that takes nothing from some packages; a reader who is gone ends no work."""

    def __init__(self, stream: TextIO, silent: tuple[str, ...]) -> None:
        self._stream, self._silent = stream, silent

    def write(self, text: str) -> int:
        if _speaker(sys._getframe(1)) not in self._silent:
            with suppress(OSError):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _speaker(frame: FrameType | None) -> str:
    """The package whose code this message began in."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package not in ON_THE_WAY:
            return package
        frame = frame.f_back
    return ""
