"""On what is measured, and is anybody else at work there?"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Where Linux says what its processors are.
_CPUS, _TOPOLOGY = Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu")

#: Of a core: what a machine at rest does.
AT_REST = 0.5


@dataclass(frozen=True)
class Machine:
    """
    Attributes:
        cpu: its name.
        cores: that this process may use; and as ``threads`` they run.
        processors: of the whole machine, which ``load`` is of.
        load: how many of them were at work, averaged over the last minute; None where the system does not say.
    """

    cpu: str
    cores: int
    threads: int
    processors: int
    load: float | None

    @classmethod
    def here(cls) -> Machine:
        """As it is now: to be asked before there is work of one's own, which would count as load."""
        usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        return cls(_name(), _cores(usable), len(usable), os.cpu_count() or len(usable), load)

    def busy(self, threads: int) -> bool:
        """Are fewer processors idle than will be measured on?"""
        return self.load is not None and self.load + threads > self.processors + AT_REST

    @property
    def why_busy(self) -> str:
        return (
            f"this machine is busy: load {self.load or 0.0:.2g} on {_count(self.processors, 'processor')} before "
            "anything was measured; times are longer and less sure for it, ratios less so"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        load = "" if self.load is None else f", load {self.load:.2g}"
        return f"{self.cpu}, {_count(self.cores, 'core')}, {_count(self.threads, 'thread')}{load}"


def _name() -> str:
    try:
        lines = _CPUS.read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(found, "") or platform.processor() or platform.machine()


def _cores(usable: Iterable[int]) -> int:
    """Threads of one core share its name: the list of them."""
    try:
        return len({(_TOPOLOGY / f"cpu{i}" / "topology" / "thread_siblings_list").read_text() for i in usable})
    except OSError:  # not Linux, or one that does not say
        return len(list(usable))


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
