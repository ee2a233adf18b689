"""The command line. Data goes to standard output; progress, errors and whatever else is printed to standard error.

Exit codes: 0 done, 1 failed, 2 usage, 3 verification failed (nothing written), 4 nothing folded (--require-change),
130 interrupted.
"""

from convfold.cli.commands import main

__all__ = ["main"]
