"""What is the command doing, and for how long? For the one who waits, on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from time import monotonic

from convfold.cli.messages import one_line

#: What each stage of a fold is doing.
STAGES = {
    "read": "reading the model",
    "lift": "finding its affine regions",
    "plan": "choosing the cheapest form",
    "trace": "searching once more, watched",
    "explain": "asking what stays as it is, and why",
    "lower": "composing the weights",
    "measure": "writing every stretch in several ways",
    "time": "timing it against the original",
    "verify": "comparing with the original in float64",
}

#: Seconds between signs of life.
BEAT = 10

Stage = Callable[[str], None]


@contextmanager
def shown(quiet: bool) -> Iterator[Stage]:
    """To be called with each stage as it begins: a live line on a terminal, or else a line a stage."""
    stream = sys.stderr
    if quiet:
        yield lambda stage: None
    elif stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        from rich.console import Console
        from rich.markup import escape

        with Console(file=stream).status("…") as status:
            yield lambda stage: status.update(escape(one_line(f"{STAGES.get(stage, stage)} …")))
    else:

        def say(line: str) -> None:
            with suppress(OSError):  # nobody reads
                stream.write(one_line(f"convfold: {line}") + "\n")
                stream.flush()

        with beating(Lines(say)) as lines:
            yield lines.begin


class Lines:
    """A line as each stage begins, a line every so often while it lasts, and one with its seconds if that was long."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = monotonic) -> None:
        self.say, self.clock, self.lock = say, clock, Lock()
        self.stage, self.began, self.due = "", 0.0, 0.0

    def begin(self, stage: str) -> None:
        with self.lock:
            self._end()
            self.stage, self.began = STAGES.get(stage, stage), self.clock()
            self.due = self.began + BEAT
            self.say(f"{self.stage} …")

    def beat(self) -> None:
        with self.lock:
            if self.stage and self.clock() >= self.due:
                self.say(f"{self.stage} … {self.clock() - self.began:.0f} s")
                self.due += BEAT

    def end(self) -> None:
        with self.lock:
            self._end()
            self.stage = ""

    def _end(self) -> None:
        if self.stage and (took := self.clock() - self.began) >= BEAT:
            self.say(f"{self.stage}: {took:.0f} s")


@contextmanager
def beating(lines: Lines, pause: float = 1.0) -> Iterator[Lines]:
    """A thread that lets it beat, and is gone however the block ends."""
    done = Event()

    def beats() -> None:
        while not done.wait(pause):
            lines.beat()

    thread = Thread(target=beats, name="convfold-heartbeat", daemon=True)
    thread.start()
    try:
        yield lines
        lines.end()
    finally:
        done.set()
        thread.join()
