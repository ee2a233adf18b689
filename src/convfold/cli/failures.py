"""What went wrong, as one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import click

from convfold.arguments import BadUsage
from convfold.cli.messages import say
from convfold.cli.session import Session
from convfold.errors import ConvfoldError, VerificationFailed

FAILED, USAGE, DIFFERENT, UNCHANGED, INTERRUPTED = 1, 2, 3, 4, 130


class Commands(click.Group):
    """Every failure is one line on standard error and an exit code; the traceback only with --debug."""

    def __call__(self, *args: Any, **extra: Any) -> Any:
        """As a process of its own, to whose end standard output stays the command's."""
        return self.main(*args, **{"obj": Session(own_process=True), **extra})

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as e:
            click.echo(e.format_message(), err=True)
            code = USAGE
        except click.ClickException as e:
            code = fail(e.format_message(), e.exit_code)
        except click.Abort:
            code = fail("interrupted", INTERRUPTED)
        except OSError as e:  # standard output cannot be written, while help is printed
            code = fail(_of_the_system(e), FAILED)
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BaseException as e:
            session = ctx.ensure_object(Session)
            if session.debug and not isinstance(e, BadUsage | VerificationFailed):
                traceback.print_exc()
            return failed(e, session.debug)


def failed(e: BaseException, debug: bool, what: str = "") -> int:
    """``what``: of several models, which."""
    lead = f"{what}: " if what and what not in str(e) else ""
    match e:
        case BadUsage():
            return fail(f"{lead}{e}", USAGE)
        case VerificationFailed():
            return fail(f"{lead}{e}", DIFFERENT)
        case ConvfoldError():
            return fail(f"{lead}{e}", FAILED)
        case OSError():  # the disk is full, the file unreadable
            return fail(_of_the_system(e), FAILED)
        case MemoryError():
            return fail(f"{lead}not enough memory", FAILED)
        case KeyboardInterrupt():
            return fail("interrupted", INTERRUPTED)
        case SystemExit():
            return fail(f"the model's own code called for an exit ({e.code!r})", FAILED)
    hint = "" if debug else " (run with --debug for the traceback)"
    return fail(f"{type(e).__name__}: {e}{hint}", FAILED, "internal error")


def _of_the_system(e: OSError) -> str:
    return f"{e.filename}: {e.strerror}" if e.filename and e.strerror else str(e)


def fail(message: str, code: int, kind: str = "error") -> int:
    """One line, whatever was in it."""
    say(f"convfold: {kind}: {message}")
    return code
