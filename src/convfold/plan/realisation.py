"""Which realisation of an operator is taken: decided here once, for the cost as for what is written."""

from __future__ import annotations

from torch import Tensor

from convfold.algebra import polyphase
from convfold.algebra.geometry import Geometry
from convfold.algebra.realisation import Convolve, Linear, Realisation, Scale, Shift, Shuffle, Transpose
from convfold.algebra.window import Window
from convfold.plan.cost import Cost, Prices
from convfold.plan.deferred import Deferred, Given, Uniform
from convfold.region import Signal


def chosen(operator: Deferred, x: Signal, axis: int, prices: Prices, part: bool = False) -> tuple[Realisation, Cost]:
    """The cheapest way to compute an operator on a signal, or on a ``part`` of one, and what it costs."""
    g = operator.geometry
    if isinstance(operator, Given) and operator.calls_own(axis, len(x.shape)) and not (part and operator.sized):
        return operator.how, prices.realised(operator.how, g, x, axis)
    if (
        isinstance(operator, Uniform)
        and g.diagonal
        and not isinstance(operator.factor, Tensor)
        and operator.factor == 1
    ):
        return Shift(), prices.realised(Shift(), g, x, axis)
    # To scatter where one could gather must be the model's own idea: many runtimes do it slowly.
    scatters = not g.upsamples and _widens(g) and any(given.scatters for given in operator.given)
    return cheapest(g, x, axis, prices, scatters)


def cheapest(g: Geometry, x: Signal, axis: int, prices: Prices, scatters: bool = False) -> tuple[Realisation, Cost]:
    """The same of an operator of which only the geometry is known."""
    found = [(how, prices.realised(how, g, x, axis)) for how in _ways(g, x, axis, scatters, prices)]
    return min(found, key=lambda way: way[1].rank)


def _widens(g: Geometry) -> bool:
    """Without stride or upsampling, more outputs than inputs: cheaper scattered from the inputs than gathered."""

    def plain(w: Window) -> bool:
        return w.stride == w.upsample == 1 and w.slack >= 0 and w.lo <= w.reach and 0 <= w.hi - w.lo < w.dilation

    return all(map(plain, g.windows)) and any(w.slack > 0 for w in g.windows)


def _ways(g: Geometry, x: Signal, axis: int, scatters: bool, prices: Prices) -> list[Realisation]:
    if g.diagonal:
        return [Scale(prices.fused)]
    convolves = axis == 1 and 3 <= len(x.shape) <= 5 and (x.itemsize < 8 or prices.doubles)
    if g.dims == 0 and not convolves:
        return [Linear(prices.fused or len(x.shape) == 2)]
    if g.upsamples:
        return _upsamplings(g, x, axis, prices)
    return [Convolve(prices.ends), Transpose(prices.ends)] if scatters else [Convolve(prices.ends)]


def _upsamplings(g: Geometry, x: Signal, axis: int, prices: Prices) -> list[Realisation]:
    """Scattered, or by phases where these multiply a third more at most; where only multiply-adds count and they
    multiply no more, by phases: some runtimes scatter slowly."""
    rate, ends = polyphase.rate_of(g), prices.ends
    if rate is None:
        return [Transpose(ends)]
    scattered, split = (
        sum(w.macs for w in how.work(g, x.shape, axis)) for how in (Transpose(ends), Shuffle(rate, ends))
    )
    if split <= scattered and prices.objective == "macs":
        return [Shuffle(rate, ends)]
    return [Transpose(ends), Shuffle(rate, ends)] if 3 * split <= 4 * scattered else [Transpose(ends)]
