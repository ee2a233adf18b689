"""How fast a machine is, in three numbers: what turns counts into seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from convfold.algebra.operation import Work

#: Output channels that are computed at once. Measured on transposed convolutions: 64→3 with 18×18 taps takes 4.5 times
#: as long as its 5×5 phases, which multiply 1.23 times as much; one to 16 channels or more takes as long as its
#: multiply-adds say.
LANES = 16


@dataclass(frozen=True, slots=True)
class Machine:
    """Multiply-adds a second, bytes a second, and seconds every call costs whatever it does."""

    peak: float
    bandwidth: float
    overhead: float

    def attoseconds(self, work: Work, itemsize: int) -> int:
        """``MACs / peak + bytes / bandwidth + overhead``: nothing hides behind anything, for what one runtime overlaps
        another does not, and fewer multiply-adds are worth something on all of them."""
        mac, byte, call = round(1e18 / self.peak), round(1e18 / self.bandwidth), round(1e18 * self.overhead)
        idle = -(-LANES // work.abreast) if work.abreast else 1
        return work.macs * idle * mac + work.moved * itemsize * byte + work.calls * call

    def dearer(self, times: float) -> Self:
        return replace(self, peak=self.peak / times)


#: What is planned with where there is no table of a runtime: fixed, so that one input has one plan everywhere. About
#: one core of a current server: float32 convolutions at 50 G multiply-adds a second, 20 GB/s for elementwise calls,
#: between what main memory and the caches give, 5 µs for an eager call.
DEFAULT = Machine(peak=50e9, bandwidth=20e9, overhead=5e-6)
