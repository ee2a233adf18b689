"""What is written to mend a border: its numbers, how each operator is computed, and what all of it costs."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, replace
from math import prod

from torch import Tensor

from convfold.algebra.border import Piece
from convfold.algebra.convolution import Convolution
from convfold.algebra.margins import Spans
from convfold.algebra.realisation import Realisation
from convfold.plan.border import Border, Stepped
from convfold.plan.cost import Cost, Prices
from convfold.plan.realisation import cheapest
from convfold.plan.recipe import Recipe, composed
from convfold.region import Signal


@dataclass(frozen=True, eq=False)
class Mending(ABC):
    border: Border
    cost: Cost


@dataclass(frozen=True, eq=False)
class Constants(Mending):
    """Added to the parts of the border: where, and (c, *positions) or one position for all."""

    parts: tuple[tuple[Spans, Tensor], ...]


@dataclass(frozen=True, eq=False)
class Map(Mending):
    """Added everywhere: (c, *sizes)."""

    values: Tensor


@dataclass(frozen=True, eq=False)
class Ones(Mending):
    """Chains that are applied to a map of ones as large as the input, and added everywhere."""

    chains: tuple[tuple[tuple[Convolution, Realisation], ...], ...]


@dataclass(frozen=True, eq=False)
class Kernels(Mending):
    """Added to the parts of the border; of a piece that reads nothing no realisation."""

    pieces: tuple[tuple[Piece, Realisation | None], ...]


@dataclass(frozen=True, eq=False)
class Steps(Mending):
    """Run on strips in place of what the one convolution gave there."""

    paths: tuple[tuple[Recipe, ...], ...]
    strips: tuple[Stepped, ...]


@dataclass(frozen=True, eq=False)
class Hoisted(Mending):
    """Nothing: the border is left changed, as asked."""


def mending(border: Border, way: str, prices: Prices, x: Signal, y: Signal, axis: int) -> Mending:
    """One way to mend a border, composed; ``x`` is what the operator reads, ``y`` what it gives."""
    match way:
        case "hoisted":
            return Hoisted(border, Cost())
        case "map":
            return Map(border, border.cost(way, prices, x, y, axis), border.map())
        case "constants":
            return Constants(border, border.cost(way, prices, x, y, axis), tuple(border.constants()))
        case "ones":
            return _ones(border, prices, y)
        case "steps":
            paths = tuple(tuple(composed(step) for step in path) for path in border.paths)
            strips = tuple(border.stepped(paths, prices, x, y, axis))
            return Steps(border, sum((strip.cost for strip in strips), Cost()), paths, strips)
        case _:
            return _kernels(border, prices, x, y, axis)


def _ones(border: Border, prices: Prices, y: Signal) -> Ones:
    total, chains = Cost(), []
    for steps in border.ones():
        now, chain = Signal((1, 1, *border.sizes), frozenset(), y.itemsize), []
        for op in steps:
            how, cost = cheapest(op.geometry, now, 1, prices)
            total += cost
            chain.append((op, how))
            now = replace(now, shape=(1, op.c_out, *op.geometry.size(now.shape[2:])))
        chains.append(tuple(chain))
        total += prices.step(0, 3 * y.bytes)
    return Ones(border, total, tuple(chains))


def _kernels(border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Kernels:
    batch = prod(y.shape[:axis])
    total = Cost()
    pieces: list[tuple[Piece, Realisation | None]] = []
    for piece in border.pieces():
        sizes = [n if r is None else len(r) for r, n in zip(piece.rows, border.after, strict=True)]
        out = batch * border.whole.geometry.c_out * prod(sizes) * y.itemsize
        cuts = sum(r is not None for r in piece.rows)
        total += prices.step(0, 3 * out, cuts + 1)
        if not piece.linear:
            pieces.append((piece, None))
            continue
        read = tuple(n if q is None else len(q) for q, n in zip(piece.reads, border.sizes, strict=True))
        strip = Signal((*x.shape[: axis + 1], *read), frozenset(), x.itemsize)
        how, cost = cheapest(piece.operator.geometry, strip, axis, prices)
        total += cost + prices.step(0, 2 * strip.bytes, cuts) + prices.step(0, 2 * out, 3)
        pieces.append((piece, how))
    return Kernels(border, total, tuple(pieces))
