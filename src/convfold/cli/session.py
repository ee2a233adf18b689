"""What holds for all of one run of the command: how much it says, and where to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TextIO

from convfold.cli.messages import without_torch
from convfold.cli.output import own_output
from convfold.cli.progress import Stage, shown


@dataclass
class Session:
    """``own_process``: the interpreter was started for it, and ends with it."""

    own_process: bool = False
    quiet: bool = False
    debug: bool = False

    def output(self) -> AbstractContextManager[TextIO]:
        """Standard output, kept from everybody else."""
        return own_output(self.own_process)

    @contextmanager
    def working(self) -> Iterator[Stage]:
        """While the user's code and torch run. To be told of each stage."""
        if self.own_process and not self.debug:
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # C++ logs past sys.stderr; read when torch is loaded
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # so does torch's profiler, beyond its highest level not
        with shown(self.quiet) as stage, without_torch(self.debug):
            yield stage
