"""An upsampling's phases as channels: one convolution where every input is, its outputs to be interleaved after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import torch

from convfold.algebra import geometry as geo
from convfold.algebra.geometry import Geometry
from convfold.algebra.window import Window

if TYPE_CHECKING:
    from convfold.algebra.convolution import Convolution


def unshuffle(channels: int, rates: Sequence[int], like: Convolution) -> Convolution:
    """Every phase of each axis as a channel, (c, φ_0, φ_1, …): one-hot, stride r, in c groups."""
    phases = prod(rates)
    one_hot = torch.eye(phases, dtype=like.kernel.dtype, device=like.kernel.device)
    kernel = one_hot.reshape(phases, 1, *rates).repeat(channels, 1, *(1,) * len(rates))
    return type(like)(kernel, None, channels, _strided(rates))


def split(value: Convolution, rate: int) -> Convolution:
    """unshuffle ∘ value: the convolution that computes every phase of an upsampling as a channel of its own.

    The law of series does it: stride r after upsample r divides out. A last period that is cut short is computed whole.
    """
    whole = type(value)(value.kernel, value.bias, value.groups, _whole(value.windows, rate))
    return unshuffle(value.c_out, (rate,) * value.dims, value) @ whole


def geometry(g: Geometry, rate: int) -> Geometry:
    """That of :func:`split`."""
    rates = (rate,) * g.dims
    outer = Geometry(g.c_out * rate**g.dims, g.c_out, g.c_out, _strided(rates))
    return geo.series(outer, replace(g, windows=_whole(g.windows, rate)))


def excess(w: Window, rate: int) -> int:
    """How many outputs of the last period are not wanted."""
    return -(w.slack + 1) % rate


def rate_of(g: Geometry) -> int | None:
    """The rate r of an upsampling in two axes whose r² phases all read the same inputs, or nearly; else None.

    It is one convolution to r² times the channels and a pixel shuffle; a bias that differs from phase to phase is a
    plain one there.
    """
    rates = {w.upsample for w in g.windows}
    if g.dims != 2 or len(rates) != 1 or rates == {1}:
        return None
    (r,) = rates
    if any(w.stride > 1 or w.dilation > 1 or w.slack >= r for w in g.windows):
        return None
    return r


def _strided(rates: Sequence[int]) -> tuple[Window, ...]:
    return tuple(Window(r, r) for r in rates)


def _whole(windows: Sequence[Window], rate: int) -> tuple[Window, ...]:
    return tuple(replace(w, hi=w.hi + excess(w, rate)) for w in windows)
