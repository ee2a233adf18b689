"""What a composition would read outside its intermediate, where that is a constant: the exact correction of the ring.

B∘(A + b_A), B zero-padded: between the two the signal ends, and B reads zeros beyond. One convolution reads b_A there
as it does everywhere inside. The difference,

    ring[n] = −Σ_{t: s·n + d·t − lo outside} K_B[t] · b_A,

is zero in the interior and, on each axis, depends only on how far n is from either end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_lowercase

import torch
from torch import Tensor

from convfold.algebra.window import Window


@dataclass(frozen=True, eq=False)
class Ring:
    """A map (c, *sizes) that is zero but for ``margins`` positions (lo, hi) at the ends of each axis.

    ``table`` is (c, *(lo + 1 + hi)): the positions of the margins, and between them the one that stands for all others;
    on an axis with none left it is (lo + hi), and lo + hi is the size.
    """

    table: Tensor
    margins: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]

    def places(self, axis: int) -> Tensor:
        """Where in the table each position of an axis is found."""
        (lo, hi), n = self.margins[axis], self.sizes[axis]
        position = torch.arange(n, device=self.table.device)
        return torch.where(position < lo, position, torch.where(position < n - hi, lo, position - n + self._rows(axis)))

    def _rows(self, axis: int) -> int:
        return self.table.shape[axis + 1]

    def along(self, axis: int) -> Ring:
        """The same with every position of one axis in the table."""
        table = self.table.index_select(axis + 1, self.places(axis))
        margins = tuple(
            (n, 0) if i == axis else m for i, (m, n) in enumerate(zip(self.margins, self.sizes, strict=True))
        )
        return Ring(table, margins, self.sizes)

    def map(self) -> Tensor:
        """(c, *sizes)"""
        table = self.table
        for i in range(len(self.sizes)):
            table = table.index_select(i + 1, self.places(i))
        return table

    def strips(self) -> Iterator[tuple[tuple[tuple[int, int], ...], Tensor]]:
        """Boxes (start, stop an axis) that make up the ring, and what to add there, broadcast where it is alike."""
        inner = [(0, n) for n in self.sizes]
        for i, (lo, hi) in enumerate(self.margins):
            rest = self
            for j in range(i + 1, len(self.sizes)):
                rest = rest.along(j)
            for start, stop in ((0, lo), (self.sizes[i] - hi, self.sizes[i])):
                if start < stop:
                    table = rest.table.index_select(i + 1, self.places(i)[start:stop])
                    for j in range(i):  # the interior of the axes done before
                        table = table.narrow(j + 1, self.margins[j][0], 1)
                    yield (*inner[:i], (start, stop), *inner[i + 1 :]), table
            inner[i] = (lo, self.sizes[i] - hi)
            if inner[i][0] >= inner[i][1]:
                return


def margins(windows: tuple[Window, ...], sizes: tuple[int, ...], after: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """How many outputs at each end of each axis read outside, at known sizes before and after."""
    found = []
    for w, n, m in zip(windows, sizes, after, strict=True):
        lo = min(max(-(-w.lo // w.stride), 0), m)
        hi = m - min(max(-((w.reach - w.lo - n) // w.stride), 0), m)
        found.append((lo, hi) if lo + hi < m else (m, 0))
    return tuple(found)


def ring(taps: Tensor, windows: tuple[Window, ...], sizes: tuple[int, ...], after: tuple[int, ...]) -> Ring:
    """The ring of B behind a constant; ``taps`` is Σ_m K_B[o, m, t]·b_A[m], (c, *T)."""
    ends = margins(windows, sizes, after)
    inside = []
    for w, n, m, (lo, hi) in zip(windows, sizes, after, ends, strict=True):
        middle = [] if lo + hi >= m else [lo]
        positions = torch.tensor([*range(lo), *middle, *range(m - hi, m)], device=taps.device)
        at = positions[:, None] * w.stride + torch.arange(w.taps, device=taps.device) * w.dilation - w.lo
        inside.append(((at >= 0) & (at < n)).to(taps.dtype))  # (positions, T)
    letters = ascii_lowercase[: len(windows)]
    operands = ",".join(c.upper() + c for c in letters)
    table = torch.einsum(f"z{letters},{operands}->z{letters.upper()}", taps, *inside)
    whole = torch.einsum(f"z{letters},{operands}->z{letters.upper()}", taps, *map(torch.ones_like, inside))
    everywhere = [x.all(1) for x in inside]
    interior = everywhere[0]
    for x in everywhere[1:]:
        interior = interior.unsqueeze(-1) & x
    return Ring(torch.where(interior, 0.0, table - whole), ends, after)


def together(rings: list[Ring]) -> Ring:
    """The sum of rings of one map, on the widest margins any of them has."""
    first, *rest = rings
    if not rest:
        return first
    ends = []
    for i, n in enumerate(first.sizes):
        lo, hi = (max(r.margins[i][k] for r in rings) for k in (0, 1))
        ends.append((lo, hi) if lo + hi < n else (n, 0))
    total = None
    for r in rings:
        table = r.table
        for i, (n, (lo, hi)) in enumerate(zip(first.sizes, ends, strict=True)):
            middle = [] if lo + hi >= n else [lo]
            positions = torch.tensor([*range(lo), *middle, *range(n - hi, n)], device=table.device)
            table = table.index_select(i + 1, r.places(i)[positions])
        total = table if total is None else total + table
    assert total is not None
    return Ring(total, tuple(ends), first.sizes)
