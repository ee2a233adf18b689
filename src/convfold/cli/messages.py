"""What may be written to standard error while the command works, and what of it is left out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import click

from convfold.frontends.torch.quiet import ABOUT_THEMSELVES, Messages, aloud

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
        with warnings.catch_warnings(), aloud() if debug else nullcontext():
            warnings.simplefilter("default" if debug else "ignore")
            sys.stdout = sys.stderr = Messages(sys.stderr, () if debug else ABOUT_THEMSELVES)
            yield
    finally:
        sys.stdout, sys.stderr = before
