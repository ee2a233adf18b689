"""Standard output, for the command's own data and nothing else."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


@contextmanager
def own_output(for_good: bool) -> Iterator[TextIO]:
    """A stream to standard output; meanwhile ``sys.stdout`` and file descriptor 1 are standard error.

    So whatever else is printed, by Python, by C, by a process started, is no part of the data. ``for_good``: until the
    process ends, for what is printed then. Where ``sys.stdout`` was replaced by something that is no file, by that.
    """
    _open_all()
    before = sys.stdout, sys.stderr
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (never closed, like the one it stands for)
    taken = before[0] is None or _descriptor(before[0]) == 1
    out = _taken(before[0]) if taken else before[0]
    sys.stdout = sys.stderr
    try:
        yield out
        out.flush()
    finally:
        if taken:
            with suppress(OSError):  # what could not be written was said by the flush above
                if not for_good:
                    os.dup2(out.fileno(), 1)
                out.close()
        if not for_good:
            sys.stdout, sys.stderr = before


def _open_all() -> None:
    """Standard streams that were closed become empty ones: or else the next file opened would stand in their place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free: this one


def _descriptor(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):  # no file; closed
        return None


def _taken(stream: TextIO | None) -> TextIO:
    if stream is not None:
        stream.flush()
    raw = _Output(os.dup(1), "w")
    os.dup2(2, 1)
    encoding = stream.encoding if stream is not None else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=raw.isatty())


class _Output(io.FileIO):
    """A reader who has seen enough changes neither the work nor the exit code."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)
        except OSError as e:
            raise OSError(e.errno, e.strerror, "standard output") from e
