"""Modules in series: nn.Sequential, and the chain that `merge` folds."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from convfold.algebra import series, spelling
from convfold.algebra.convolution import Convolution
from convfold.errors import NotFoldable
from convfold.layers import batch_norm


def chain(modules: Iterable[nn.Module], channels: int | None = None, dims: int | None = None) -> list[Convolution]:
    """Each module's value, in order; those that know their channels tell those that do not (pools, pads, shuffles)."""
    todo = list(flattened(modules))
    known: dict[int, Convolution] = {}
    for i, m in enumerate(todo):
        try:
            known[i] = _value(m, None, None)
        except NotFoldable as e:
            if e.code != "channels-differ":
                raise NotFoldable(e.code, e.detail, f"module {i} ({type(m).__name__})") from None
    dims = max((v.dims for v in known.values()), default=dims)
    width = channels
    for i, m in enumerate(todo):
        if i not in known:
            if width is None and (later := [j for j in known if j > i]):  # read it off the first that knows
                width = known[min(later)].c_in
                for between in reversed(todo[i : min(later)]):
                    width = _channels_into(between, width)
            known[i] = _value(m, width, dims)
        width = known[i].c_out
    return [known[i] for i in range(len(todo))]


def _channels_into(m: nn.Module, channels_out: int) -> int:
    """For a module that does not know its channels: how many it must be given to return so many."""
    if isinstance(m, nn.PixelShuffle):
        return channels_out * m.upscale_factor**2
    return channels_out // m.downscale_factor**2 if isinstance(m, nn.PixelUnshuffle) else channels_out


def _value(m: nn.Module, channels: int | None, dims: int | None) -> Convolution:
    """As `Convolution.of`, but that a batch norm's scale and shift are not rounded to its type before they compose."""
    value = batch_norm.unrounded(m) if isinstance(m, batch_norm.BatchNorm) else spelling.of(m, channels, dims)
    assert isinstance(value, Convolution)
    return value


def composed(values: list[Convolution]) -> Convolution:
    """The whole chain as one value, in float64."""
    return series.chain([v.to(torch.float64) for v in values])


def flattened(modules: Iterable[nn.Module]) -> Iterable[nn.Module]:
    for m in modules:
        if isinstance(m, nn.Sequential):
            yield from flattened(m)
        else:
            yield m


@spelling.of.register(nn.Sequential)
def of_module(m: nn.Sequential, channels: int | None = None, dims: int | None = None) -> Convolution:
    values = chain(m, channels, dims)
    if not values:
        raise NotFoldable("channels-differ", "an empty Sequential does not say how many channels it has")
    own = (t.dtype for t in (*m.parameters(), *m.buffers()) if t.is_floating_point())
    return composed(values).to(next(own, values[0].kernel.dtype))
