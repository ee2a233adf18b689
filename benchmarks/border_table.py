"""``python -m benchmarks.border_table [--share 0.02]``: every pair of layers at the border.

What the plan makes of it, and how wrong the border and the interior are.

First and second are each one of 192: {1, 3, 5, 4 taps} × {bias, none, batch norm} × {pad 0, 1, same, asymmetric} ×
{stride 1, 2} × {convolution, transposed convolution}. In float64, against torch run layer by layer; beside it what one
convolution gives whose border is left as it comes ("naive": the textbook formula). Exits with 1 above 1e-12.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

import torch
import torch.nn.functional as F
from rich.table import Table
from torch import Tensor

from benchmarks.record import console, progress, record
from convfold.algebra.apply import Apply
from convfold.algebra.convolution import Convolution
from convfold.algebra.margins import margins
from convfold.algebra.series import chain
from convfold.errors import NotFoldable
from convfold.plan import Prices, plan
from convfold.plan.border import Correct
from convfold.plan.deferred import Given
from convfold.plan.realisation import cheapest
from convfold.plan.refusals import refusals
from convfold.region import Node, Region, Signal

TAPS = {"1": 1, "3": 3, "5": 5, "even": 4}
BIASES = ("bias", "none", "batch norm")
PADS = ("0", "1", "same", "asymmetric")
#: Channels in, between and out: with many between two layers are seldom cheaper apart.
CHANNELS = (2, 12, 2)
SIZE = 11
#: Of any error, relative to the largest output.
ALLOWED = 1e-12


@dataclass(frozen=True)
class Kind:
    """One of the 192 layers."""

    taps: str
    bias: str
    pad: str
    stride: int
    transposed: bool

    def __str__(self) -> str:
        name, taps = "transposed " if self.transposed else "", f"{TAPS[self.taps]} tap" + "s" * (self.taps != "1")
        return f"{name}{taps}, {self.bias}, pad {self.pad}, stride {self.stride}"

    def values(self, dims: int, c_in: int, c_out: int, generator: torch.Generator) -> list[Convolution]:
        """The layer and, where it has one, its batch norm."""
        k = TAPS[self.taps]
        shape = (c_in, c_out) if self.transposed else (c_out, c_in)
        weight = torch.randn(*shape, *(k,) * dims, dtype=torch.float64, generator=generator)
        bias = torch.randn(c_out, dtype=torch.float64, generator=generator) if self.bias == "bias" else None
        padding = {"0": 0, "1": 1, "same": (k - 1) // 2, "asymmetric": 0}[self.pad]
        if self.transposed:
            extra = int(self.pad == "asymmetric" and self.stride > 1)
            op = Convolution.conv_transpose(weight, bias, self.stride, padding, extra)
            extra = int(self.pad == "asymmetric" and self.stride == 1)  # torch has no such padding: a crop of one end
            windows = tuple(type(w)(w.taps, w.stride, w.upsample, w.dilation, w.lo, w.hi - extra) for w in op.windows)
        else:
            op = Convolution(weight, bias, stride=self.stride, padding=padding)
            lo, hi = (0, 1) if self.pad == "asymmetric" else (padding, padding)
            hi += self.pad == "same" and k % 2 == 0
            windows = tuple(type(w)(w.taps, w.stride, w.upsample, w.dilation, lo, hi) for w in op.windows)
        op = Convolution(op.kernel, op.bias, 1, windows)
        if self.bias != "batch norm":
            return [op]
        scale, shift = (torch.randn(c_out, dtype=torch.float64, generator=generator) for _ in range(2))
        norm = Convolution(scale.reshape(-1, 1), shift, c_out).lifted(dims)
        return [op, norm]


KINDS = [
    Kind(taps, bias, pad, stride, transposed)
    for taps, bias, pad, stride, transposed in product(TAPS, BIASES, PADS, (1, 2), (False, True))
]


def by_torch(op: Convolution, x: Tensor) -> Tensor:
    """A step by plain calls on a padded signal: zeros inserted, padded or cropped, read."""
    for axis, w in enumerate(op.windows, start=2):
        if w.upsample > 1:
            spread = x.new_zeros(*x.shape[:axis], (x.shape[axis] - 1) * w.upsample + 1, *x.shape[axis + 1 :])
            spread[(slice(None),) * axis + (slice(None, None, w.upsample),)] = x
            x = spread
    x = F.pad(x, [n for w in reversed(op.windows) for n in (w.lo, w.hi)])
    conv = {1: F.conv1d, 2: F.conv2d}[op.dims]
    return conv(x, op.kernel, op.bias, [w.stride for w in op.windows], groups=op.groups)


@dataclass(frozen=True)
class Row:
    """One pair: the form chosen, and errors relative to the largest output."""

    form: str
    ring: float
    interior: float
    naive: float  # of the ring, were it left as it comes


def examine(first: Kind, second: Kind, dims: int, seed: int) -> Row | None:
    """None where torch itself would refuse: too few positions."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c = CHANNELS
    values = [*first.values(dims, a, b, generator), *second.values(dims, b, c, generator)]
    sizes = [(SIZE,) * dims]
    for value in values:
        sizes.append(value.geometry.size(sizes[-1]))
    if any(0 in s for s in sizes):
        return None
    nodes = [Node("x", None, (), Signal((1, a, *sizes[0])))]
    for i, (value, size) in enumerate(zip(values, sizes[1:], strict=True)):
        how, _ = cheapest(value.geometry, nodes[-1].signal, 1, Prices("macs"))
        step = Apply(Given(value.geometry, value, f"v{i}"), 1, how)
        nodes.append(Node(f"v{i}", step, (nodes[-1].name,), Signal((1, value.c_out, *size)), f"v{i}"))
    region = Region(tuple(nodes), (nodes[-1].name,))
    planned = plan(region, Prices("macs")).region
    x = torch.randn(1, a, *sizes[0], dtype=torch.float64, generator=generator)
    exact = x
    for value in values:
        exact = by_torch(value, exact)
    (got,) = planned.evaluate({"x": x}).values()
    try:
        naive = chain(values, sizes[:-1], endless=True)(x)
    except NotFoldable:
        naive = exact
    ends = margins([[(v.windows, v.bias is not None) for v in values]], sizes[0])
    ring = torch.ones_like(exact, dtype=torch.bool)
    inside = [slice(e.lo, max(n - e.hi, e.lo)) for e, n in zip(ends, exact.shape[2:], strict=True)]
    ring[(slice(None), slice(None), *inside)] = False
    scale = float(exact.abs().max())
    errors = [(t - exact).abs() / scale for t in (got, naive)]
    return Row(
        _form(planned),
        _most(errors[0][ring]),
        _most(errors[0][~ring]),
        _most(errors[1][ring]),
    )


def _most(x: Tensor) -> float:
    return float(x.max()) if x.numel() else 0.0


def _form(region: Region) -> str:
    borders = [n.operation.way for n in region.steps if isinstance(n.operation, Correct)]
    layers = [n for n in region.steps if isinstance(n.operation, Apply) and not n.operation.operator.geometry.diagonal]
    if len(layers) == 1:
        return f"one, border by {borders[0]}" if borders else "one"
    codes = [e.code for _, _, e in refusals(region)]
    return f"apart: {codes[0] if codes else 'does-not-pay'}"


def pairs(share: float, seed: int = 0) -> Iterator[tuple[Kind, Kind]]:
    """That share of all pairs, each layer as often first as any other."""
    r = Random(seed)
    for first in KINDS:
        yield from ((first, second) for second in r.sample(KINDS, max(round(share * len(KINDS)), 1)))


@dataclass
class Summary:
    """All pairs that came to one form."""

    pairs: int = 0
    ring: float = 0.0
    interior: float = 0.0
    naive: float = 0.0
    naive_wrong: int = 0

    def add(self, row: Row) -> None:
        self.pairs += 1
        self.ring, self.interior = max(self.ring, row.ring), max(self.interior, row.interior)
        self.naive = max(self.naive, row.naive)
        self.naive_wrong += row.naive > 1e-9


def run(share: float, dims: int) -> dict[str, Summary]:
    found: dict[str, Summary] = {}
    for i, (first, second) in enumerate(pairs(share)):
        if (row := examine(first, second, dims, i)) is not None:
            found.setdefault(row.form, Summary()).add(row)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.border_table")
    parser.add_argument("--share", type=float, default=1.0, help="of all pairs")
    share = parser.parse_args().share
    torch.set_num_threads(1)
    table = Table(box=None, pad_edge=False)
    for heading in ("", "form", "pairs", "ring", "interior", "naive ring", "naive wrong"):
        table.add_column(heading, justify="left" if heading in ("", "form") else "right")
    cases, worst = {}, 0.0
    for dims in (1, 2):
        for form, s in sorted(run(share, dims).items(), key=lambda item: -item[1].pairs):
            errors = (f"{s.ring:.1e}", f"{s.interior:.1e}", f"{s.naive:.2g}", str(s.naive_wrong))
            table.add_row(f"{dims}-D", form, str(s.pairs), *errors)
            cases[f"{dims}-D {form}"] = vars(s)
            worst = max(worst, s.ring, s.interior)
    console.print(table)
    record("border_table", cases)
    if worst > ALLOWED:
        progress.print(f"worst error {worst:.1e}, allowed {ALLOWED:.0e}")
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
