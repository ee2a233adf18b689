"""How fast a machine is, in three numbers: what turns counts into seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """Multiply-adds a second, bytes a second, and seconds every call costs whatever it does."""

    peak: float
    bandwidth: float
    overhead: float


#: One core of a current server: float32 convolutions at 50 G multiply-adds a second, elementwise calls on tensors
#: larger than the cache at 10 GB/s, 5 µs for an eager call.
DEFAULT = Machine(peak=50e9, bandwidth=10e9, overhead=5e-6)
