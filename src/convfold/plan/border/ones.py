"""What is missing is a constant at sizes that are free: what the steps make of a map of ones tells where."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from convfold.algebra.convolution import Convolution
from convfold.algebra.geometry import Geometry
from convfold.algebra.operation import T, Work
from convfold.algebra.realisation import Realisation
from convfold.ops import Ops
from convfold.plan.border.mismatch import Border
from convfold.plan.border.way import Mending, Way, Works, added, behind
from convfold.plan.cost import Prices
from convfold.plan.realisation import cheapest
from convfold.region import Signal


class Ones(Way):
    text = "a convolution of a map of ones added"
    reads = True

    def exact(self, border: Border) -> bool:
        return not border.fixed and border.constant and _level(border) is not None

    def works(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Works:
        found = [added(y)]
        level = _level(border)
        assert level is not None
        for steps, first in zip(border.geometries, level, strict=True):
            one = Signal((1, 1, *border.sizes), frozenset(), y.itemsize)
            for i, g in enumerate(steps[first + 1 :]):
                if i == 0:
                    g = Geometry(g.c_out, 1, 1, g.windows, (1,) * g.dims)
                found += cheapest(g, one, 1, prices)[0].work(g, one.shape, 1)
                one = behind(one, g, 1)
        return tuple(found)

    def composed(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Mending:
        works: list[Work] = []
        chains = []
        for steps in _chains(border):
            now, chain = Signal((1, 1, *border.sizes), frozenset(), y.itemsize), []
            for op in steps:
                how = cheapest(op.geometry, now, 1, prices)[0]
                works += how.work(op.geometry, now.shape, 1)
                chain.append((op, how))
                now = replace(now, shape=(1, op.c_out, *op.geometry.size(now.shape[2:])))
            chains.append(tuple(chain))
            works.append(added(y))
        return _Chains(border, tuple(works), tuple(chains))


@dataclass(frozen=True, eq=False)
class _Chains(Mending):
    """Applied to a map of ones as large as the input, and added everywhere."""

    chains: tuple[tuple[tuple[Convolution, Realisation], ...], ...]

    def lower(self, ops: Ops[T], y: T, x: T, axis: int, rank: int) -> T:
        for dim in range(axis + 1):
            x = ops.slice(x, dim, 0, 1)
        ones = ops.ones_like(x)
        for chain in self.chains:
            part = ones
            for op, how in chain:
                weights = ops.weights([*self.border.parts], "border_")
                part = how.lower(ops, op.to(ops.like), axis, part, rank, weights)
            y = ops.add(y, part)
        return y


def _level(border: Border) -> list[int] | None:
    """Of each path the step whose bias it is, if what comes up to it is pointwise: a constant over the input."""
    found = []
    for steps in border.geometries:
        first = next((i for i, g in enumerate(steps) if g.period is not None), None)
        if first is None or first + 1 == len(steps):
            return None
        if any(not g.pointwise or g.periodic for g in steps[: first + 1]):
            return None
        found.append(first)
    return found if not border.whole.geometry.periodic else None


def _chains(border: Border) -> list[list[Convolution]]:
    """Chains that, applied to a map of ones as large as the input, add up to what is missing."""
    level = _level(border)
    assert level is not None
    found = []
    for steps, first in zip(border.chains(), level, strict=True):
        value, rest = steps[first].periodic_bias(), steps[first + 1 :]
        for op in rest[:1]:
            taps = torch.einsum(
                "gom...,gm->go...",
                op.kernel.unflatten(0, (op.groups, -1)),
                value.reshape(op.groups, -1),
            ).flatten(0, 1)
            rest[0] = Convolution(taps.unsqueeze(1), op.bias, 1, op.windows)
        found.append(rest)
    whole = border.whole.value.lifted(len(border.sizes))
    if whole.bias is not None:  # what the operator has added everywhere
        last = found[-1][-1]
        left = -whole.bias if last.bias is None else last.bias - whole.bias
        found[-1][-1] = Convolution(last.kernel, left, last.groups, last.windows)
    return found
