"""``python -m benchmarks.plan_time [SHAPE...]``: how long planning takes, and how that grows with the region.

Regions of 10 to 400 operations in the shapes networks have, and random ones: seconds of ``plan(region)``, geometry
only, medians of three (one run where it takes over ten seconds). Random regions have as many operations as asked for,
give or take a tenth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from random import Random
from statistics import median
from time import perf_counter
from typing import Any

import torch
from rich.table import Table
from torch import nn

import convfold
from benchmarks.record import console, progress, record
from convfold.algebra.apply import Apply
from convfold.algebra.joins import Concat, Sum
from convfold.algebra.operation import Operation
from convfold.algebra.realisation import Convolve
from convfold.algebra.spatial import Resize
from convfold.collector import collector_paused
from convfold.plan import plan
from convfold.plan.deferred import Given
from convfold.region import Node, Region, Signal
from convfold.spec import check
from tests.plan.regions import random_region

SIZES = (10, 20, 50, 100, 200, 400)
CHANNELS, SIZE = 8, 1024  # no tensor of this size is ever made
LONG = 10.0  # seconds; measured once


class Builder:
    """A region, node by node; every method returns the name of the value it adds."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def __len__(self) -> int:
        return sum(n.operation is not None for n in self.nodes)

    def input(self, size: int = SIZE) -> str:
        return self._add(None, (), (1, CHANNELS, size, size))

    def conv(self, x: str, size: int = 1, padding: int = 0, channels: int = CHANNELS) -> str:
        return self._apply(x, nn.Conv2d(self._shape(x)[1], channels, size, padding=padding))

    def scale(self, x: str) -> str:
        """A depthwise 1×1, as a batch norm is read."""
        c = self._shape(x)[1]
        return self._apply(x, nn.Conv2d(c, c, 1, groups=c))

    def resize(self, x: str, size: int) -> str:
        n, c, *before = self._shape(x)
        carried = ((0, 0), (1, 1))
        sizes = (tuple(before), (size, size))
        resize = Resize(sizes=sizes, carried=carried, axis=1, mode="linear")
        return self._add(resize, (x,), (n, c, size, size))

    def sum(self, *xs: str) -> str:
        """Two at a time, as models write it."""
        total, *rest = xs
        for x in rest:
            total = self._add(Sum(), (total, x), self._shape(x))
        return total

    def concat(self, *xs: str) -> str:
        n, _, *space = self._shape(xs[0])
        return self._add(Concat(1), xs, (n, sum(self._shape(x)[1] for x in xs), *space))

    def region(self) -> Region:
        region = Region(tuple(self.nodes), (self.nodes[-1].name,))
        check("lift", region)
        return region

    def _apply(self, x: str, layer: nn.Conv2d) -> str:
        with torch.no_grad():
            op = convfold.Convolution.of(layer)
        n, _, *space = self._shape(x)
        name = f"v{len(self.nodes)}"
        return self._add(
            Apply(Given(op.geometry, op, name), 1, Convolve()), (x,), (n, op.geometry.c_out, *op.geometry.size(space))
        )

    def _add(self, operation: Operation | None, inputs: tuple[str, ...], shape: tuple[int, ...]) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(Node(name, operation, inputs, Signal(shape), name))
        return name

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.nodes[int(name[1:])].signal.shape


def chain(n: int) -> Region:
    """1×1 and 3×3 in turn, unpadded: any stretch of it is one convolution."""
    b = Builder()
    x = b.input()
    while len(b) < n:
        x = b.conv(x, 3 if len(b) % 2 else 1)
    return b.region()


def residual(n: int) -> Region:
    """x + 1×1(3×3(x)), three operations a block."""
    b = Builder()
    x = b.input()
    while len(b) + 3 <= n:
        x = b.sum(x, b.conv(b.conv(x, 3, padding=1)))
    return b.region()


def branches(n: int) -> Region:
    """3×3, 1×1 and nothing, each with a norm, summed: seven operations a block, no activation between blocks."""
    b = Builder()
    x = b.input()
    while len(b) + 7 <= n:
        x = b.sum(b.scale(b.conv(x, 3, padding=1)), b.scale(b.conv(x)), b.scale(x))
    return b.region()


def wide(n: int) -> Region:
    """One such sum, of many branches of one input."""
    b = Builder()
    x = b.input()
    b.sum(*(b.scale(b.conv(x, 3, padding=1) if i % 2 else b.conv(x)) for i in range((n + 1) // 3)))
    return b.region()


def pyramid(n: int) -> Region:
    """Maps of several sizes, each 1×1 and resized, side by side, 1×1: nine operations; the next reads the result."""
    b = Builder()
    x = b.input()
    while len(b) + 9 <= n:
        levels = [b.conv(x)] + [b.resize(b.conv(b.input(SIZE >> i)), SIZE) for i in (1, 2, 3)]
        x = b.conv(b.concat(*levels))
    return b.region()


def levels(n: int) -> Region:
    """One such pyramid, of many levels."""
    b = Builder()
    b.conv(b.concat(*(b.resize(b.conv(b.input(8 + i)), SIZE) for i in range((n - 2) // 2))))
    return b.region()


def randomly(n: int) -> Region:
    """Every kind of operation, some with several readers: the first of ten per cent about the size asked for."""
    for seed in range(10_000):
        torch.manual_seed(seed)
        region = random_region(Random(seed), n + n * (seed % 20) // 10)
        if abs(len(region.steps) - n) <= n / 10:
            return region
    raise AssertionError(f"no random region of {n} operations")


SHAPES: Mapping[str, Callable[[int], Region]] = {
    "chain": chain,
    "residual": residual,
    "branches": branches,
    "wide": wide,
    "pyramid": pyramid,
    "levels": levels,
    "random": randomly,
}


def measure(shape: str, sizes: list[int]) -> dict[str, Any]:
    """Seconds by size, and operations before and after."""
    found: dict[str, Any] = {}
    for n in sizes:
        region = SHAPES[shape](n)
        seconds: list[float] = []
        while len(seconds) < 3 and not (seconds and seconds[0] > LONG):
            with collector_paused():  # as `fold` pauses it
                start = perf_counter()
                after = plan(region).region
                seconds.append(perf_counter() - start)
        found[str(n)] = {"operations": [len(region.steps), len(after.steps)], "seconds": median(seconds)}
        progress.print(f"  {n}: {median(seconds):.3f} s")
    return found


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    table = Table(box=None, pad_edge=False)
    table.add_column("seconds at operations")
    for n in options.sizes:
        table.add_column(str(n), justify="right")
    for shape in options.shapes or SHAPES:
        progress.print(f"{shape} …")
        found = measure(shape, options.sizes)
        record("plan_time", {shape: found})
        table.add_row(shape, *(f"{case['seconds']:.3f}" for case in found.values()))
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
