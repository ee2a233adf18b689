"""How much memory is there?"""

from __future__ import annotations

import os
from pathlib import Path

#: Where Linux says it: of the machine, and of the container.
_MACHINE, _CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")


def available() -> int:
    """Bytes a process may still take, by what the machine and the container it is in say."""
    return min(_of_the_machine(), _of_the_container())


def _of_the_machine() -> int:
    try:
        free = _MACHINE.read_text().partition("MemAvailable:")[2].split()
    except OSError:  # not Linux
        free = []
    return 1024 * int(free[0]) if free else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_the_container() -> int:
    try:
        limit = _CONTAINER.read_text().strip()
    except OSError:  # in none
        limit = "max"
    return int(limit) if limit != "max" else 2**63


def in_words(n: int) -> str:
    """4.0 GiB, 1,117,587.0 GiB."""
    return f"{n / 2**30:,.1f} GiB"
