"""How fast a machine is, in three numbers: what turns counts into seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import log2
from time import perf_counter
from typing import Self

import torch
import torch.nn.functional as F

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


#: What is planned with unless something else is asked for: fixed, so that one input has one plan everywhere. About one
#: core of a current server: float32 convolutions at 50 G multiply-adds a second, 20 GB/s for elementwise calls, between
#: what main memory and the caches give, 5 µs for an eager call.
DEFAULT = Machine(peak=50e9, bandwidth=20e9, overhead=5e-6)


def measured(device: torch.device) -> Machine:
    """This machine: a 3×3 convolution, a sum of two large tensors and a tiny convolution, the fastest run of each.

    Measured once a device and number of threads, in about 0.1 s, and rounded to half powers of two. Only where it is
    asked for: a busy machine gives other numbers, and so another plan.
    """
    return _measured(str(device), torch.get_num_threads())


@cache
def _measured(device: str, threads: int) -> Machine:
    with torch.inference_mode():
        x, w = torch.randn(1, 128, 32, 32, device=device), torch.randn(128, 128, 3, 3, device=device)
        convolution = _fastest(lambda: F.conv2d(x, w, padding=1), device)
        a, b = torch.randn(2, 1 << (23 if device == "cpu" else 26), device=device)
        addition = _fastest(lambda: a + b, device)
        small, one = torch.randn(1, 8, 4, 4, device=device), torch.randn(8, 8, 1, 1, device=device)
        call = _fastest(lambda: F.conv2d(small, one), device, repeats=50)
    return Machine(_rounded(32**2 * w.numel() / convolution), _rounded(12 * a.numel() / addition), _rounded(call))


def _fastest(call: Callable[[], object], device: str, repeats: int = 1) -> float:
    times = []
    for _ in range(6):
        _wait(device)
        start = perf_counter()
        for _ in range(repeats):
            call()
        _wait(device)
        times.append((perf_counter() - start) / repeats)
    return min(times[1:])


def _wait(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()


def _rounded(x: float) -> float:
    return float(2 ** (round(2 * log2(x)) / 2))
