"""Which realisation of an operator is taken: decided here once, for the cost as for what is written."""

from __future__ import annotations

from convfold.algebra import phases
from convfold.algebra.geometry import Geometry
from convfold.algebra.realisation import Convolve, Linear, OwnCall, Realisation, Scale, Shuffle, Transpose
from convfold.plan.cost import Cost, Prices
from convfold.plan.recipe import Given, Recipe
from convfold.region import Signal

#: Output channels that are computed at once: a transposed convolution to fewer leaves lanes idle.
VECTOR = 16


def chosen(operator: Recipe, x: Signal, axis: int, prices: Prices, part: bool = False) -> tuple[Realisation, Cost]:
    """The cheapest way to compute an operator on a signal, or on a ``part`` of one, and what it costs."""
    g = operator.geometry
    if isinstance(operator, Given) and operator.call is not None and not (part and operator.sized):
        return OwnCall(), prices.realised(OwnCall(), g, x, axis)
    # To scatter where one could gather must be the model's own idea: many runtimes do it slowly.
    scatters = not g.upsamples and g.widens and any(given.scatters for given in operator.given)
    return cheapest(g, x, axis, prices, scatters)


def cheapest(g: Geometry, x: Signal, axis: int, prices: Prices, scatters: bool = False) -> tuple[Realisation, Cost]:
    """The same of an operator of which only the geometry is known."""
    ways: list[Realisation] = [usual(g, x, axis), *([Transpose()] if scatters else [])]
    found = [(how, prices.realised(how, g, x, axis)) for how in ways]
    return min(found, key=lambda way: way[1].rank)


def usual(g: Geometry, x: Signal, axis: int) -> Realisation:
    """How an operator is written if nothing else is asked for."""
    if g.diagonal:
        return Scale()
    if g.dims == 0 and not (axis == 1 and 3 <= len(x.shape) <= 5):
        return Linear()
    return _upsampling(g, x, axis) if g.upsamples else Convolve()


def _upsampling(g: Geometry, x: Signal, axis: int) -> Realisation:
    """Phases where they multiply no more than what is scattered; to few channels a third more is taken for it.

    Measured: a transposed convolution 64→3 with 18×18 taps takes 4.5 times as long as its 5×5 phases with 1.23 times
    the work, one to 16 channels or more as long as its multiply-adds say.
    """
    rate = phases.rate_of(g)
    if rate is None:
        return Transpose()
    scattered, split = (sum(c.macs for c in how.calls(g, x.shape, axis)) for how in (Transpose(), Shuffle(rate)))
    few = g.c_out < VECTOR and 3 * split <= 4 * scattered
    return Shuffle(rate) if split <= scattered or few else Transpose()
