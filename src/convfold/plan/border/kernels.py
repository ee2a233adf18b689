"""What is missing is data: composed kernels of their own for every edge and corner, added there."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from convfold.algebra.border import Piece
from convfold.algebra.margins import reads
from convfold.algebra.operation import Sums, T, Work
from convfold.algebra.realisation import Realisation
from convfold.ops import Ops
from convfold.plan.border.mismatch import Border
from convfold.plan.border.way import Mending, Way, Works, assembled
from convfold.plan.cost import Prices
from convfold.plan.realisation import cheapest
from convfold.region import Signal

#: Where composing kernels for a border would go through one with more numbers than this, they are not considered.
LARGEST = 1 << 24


class Kernels(Way):
    text = "kernels of its own for every edge and corner"
    reads = True

    def exact(self, border: Border) -> bool:
        if border.constant or not (border.fixed or (border.apart and all(e.data or e.empty for e in border.ends))):
            return False
        return _largest(border) <= LARGEST

    def works(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Works:
        g = border.whole.geometry
        batch = y.numbers // max(g.c_out * prod(border.after), 1)
        found = []
        for shape in border.shapes():
            rows = prod(len(r) for r in shape.rows if r is not None)
            read = prod(len(q) for q in shape.reads if q is not None)
            rest = [i for i, r in enumerate(shape.rows) if r is None]
            out = batch * g.c_out * rows * prod(border.after[i] for i in rest)
            if not shape.linear:
                found.append(Work(0, 3 * out, "sum", calls=2, ops=2))
                continue
            weights, positions = g.c_out * rows * (g.c_in // g.groups) * read, batch
            for i in rest:
                w = g.windows[i]
                weights *= w.upsample * -(-w.taps // w.upsample) if w.upsample > 1 else w.taps
                positions *= -(-border.after[i] // w.upsample)
            strip = batch * g.c_in * read * prod(border.sizes[i] for i in rest)
            calls = 3 + 2 * sum(q is not None and n is not None for q, n in zip(shape.reads, border.least, strict=True))
            summed = Sums(g.groups, g.c_in // g.groups * read, g.c_out // g.groups * rows, 1, positions)
            moved = 2 * strip + weights + 4 * out
            found.append(Work(weights * positions, moved, "convolution", summed, calls=calls, ops=calls))
        return (*found, *assembled(border, prices, y))

    def composed(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Mending:
        batch, c_out = prod(y.shape[:axis]), border.whole.geometry.c_out
        works: list[Work] = []
        pieces: list[tuple[Piece, Realisation | None]] = []
        for piece in border.pieces():
            out = (
                batch * c_out * prod(n if r is None else len(r) for r, n in zip(piece.rows, border.after, strict=True))
            )
            cuts = sum(r is not None for r in piece.rows)
            pads = 2 * sum(r is not None and n is not None for r, n in zip(piece.rows, border.least, strict=True))
            works.append(Work(0, 3 * out, "sum", calls=cuts + 1, ops=cuts + 1))
            if not piece.linear:
                pieces.append((piece, None))
                continue
            read = tuple(n if q is None else len(q) for q, n in zip(piece.reads, border.sizes, strict=True))
            strip = Signal((*x.shape[: axis + 1], *read), frozenset(), x.itemsize)
            how = cheapest(piece.operator.geometry, strip, axis, prices)[0]
            works += how.work(piece.operator.geometry, strip.shape, axis)
            works += [Work(0, 2 * strip.numbers, calls=cuts + pads, ops=cuts + pads), Work(0, 2 * out, calls=3, ops=3)]
            pieces.append((piece, how))
        return _Pieces(border, (*works, *assembled(border, prices, y)), tuple(pieces))


@dataclass(frozen=True, eq=False)
class _Pieces(Mending):
    """Of a piece that reads nothing no realisation."""

    pieces: tuple[tuple[Piece, Realisation | None], ...]

    def lower(self, ops: Ops[T], y: T, x: T, axis: int, rank: int) -> T:
        parts = [piece.part(self._piece(ops, piece, how, x, axis, rank), axis) for piece, how in self.pieces]
        return ops.added_to(y, axis + 1, parts)

    def _piece(self, ops: Ops[T], piece: Piece, how: Realisation | None, x: T, axis: int, rank: int) -> T:
        if how is None:
            return ops.constant("border", piece.constants())
        weights = ops.weights([*self.border.parts], "border_")
        y = how.lower(ops, piece.operator.to(ops.like), axis, piece.read(ops, x, axis), rank, weights)
        return piece.laid_out(ops, y, axis)


def _largest(border: Border) -> int:
    """Numbers in the largest kernel that composing kernels for edges and corners goes through."""
    found = 0
    for shape in border.shapes():
        for steps in border.geometries:
            numbers = [g.weights for g in steps]
            for i, (rows, n) in enumerate(zip(shape.rows, border.lengths, strict=True)):
                if rows is not None:
                    spans = reads([g.windows[i] for g in steps], n, rows, endless=True)
                    for k, (g, a, b) in enumerate(zip(steps, spans, spans[1:], strict=False)):
                        numbers[k] = numbers[k] * len(a) * len(b) // g.windows[i].taps
            found = max(found, *numbers)
    return found
