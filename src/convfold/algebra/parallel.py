"""A + B, concat(A, B) and blocks of A: several operators on one input seen as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from convfold.algebra import geometry as geo
from convfold.algebra import window as axis
from convfold.algebra.series import alike as in_one_type
from convfold.algebra.series import tile, widened
from convfold.algebra.untraced import untraced

if TYPE_CHECKING:
    from convfold.algebra.convolution import Convolution


@untraced
def parallel(a: Convolution, b: Convolution, sizes: geo.Sizes = None, alike: bool = False) -> Convolution:
    """The convolution that equals ``a(x) + b(x)``: kernels added where their taps stand.

    Raises:
        NotFoldable: ``sizes-differ`` or ``channels-differ`` where the two outputs cannot be added.
    """
    g = geo.parallel(a.geometry, b.geometry, sizes, alike)
    a, b = in_one_type(a, b)
    first, second = _aligned(a, b, g, sizes, alike)
    kernel = widened(first, a.groups, g.groups) + widened(second, b.groups, g.groups)
    return type(a)(kernel, _sum(_period(a, g), _period(b, g)), g.groups, g.windows)


@untraced
def stack(a: Convolution, b: Convolution, sizes: geo.Sizes = None, alike: bool = False) -> Convolution:
    """The convolution that equals ``concat([a(x), b(x)], channels)``: rows below rows."""
    g = geo.stack(a.geometry, b.geometry, sizes, alike)
    a, b = in_one_type(a, b)
    first, second = _aligned(a, b, g, sizes, alike)
    return _over(torch.cat([widened(first, a.groups, 1), widened(second, b.groups, 1)]), a, b, g)


@untraced
def beside(a: Convolution, b: Convolution) -> Convolution:
    """The convolution that equals ``concat([a(x), b(y)], channels)`` on ``concat([x, y], channels)``."""
    g = geo.beside(a.geometry, b.geometry)
    a, b = in_one_type(a, b)
    return _over(torch.cat([a.kernel, b.kernel]), a, b, g)


def _over(kernel: Tensor, a: Convolution, b: Convolution, g: geo.Geometry) -> Convolution:
    """The outputs of a, then those of b."""
    if g.period is None:
        return type(a)(kernel, None, g.groups, g.windows)
    parts = [
        kernel.new_zeros(c.c_out, *g.period) if (p := _period(c, g)) is None else p.reshape(c.c_out, *g.period)
        for c in (a, b)
    ]
    return type(a)(kernel, torch.cat(parts), g.groups, g.windows)


def block(a: Convolution, rows: range, cols: range) -> Convolution | None:
    """The block (rows, cols) of the channel matrix, bias included; None if it is all zero.

    Over the parts of a concat B∘concat(x_i) = Σ B_i∘x_i, B_i the column blocks: take the bias of one only.
    """
    g = geo.block(a.geometry, rows, cols)
    if g is None:
        return None
    kernel = a.kernel[rows.start : rows.stop]
    if a.groups == 1:
        kernel = kernel[:, cols.start : cols.stop]
    bias = None if a.bias is None else a.bias[rows.start : rows.stop]
    return type(a)(kernel, bias, g.groups, g.windows)


def _aligned(a: Convolution, b: Convolution, g: geo.Geometry, sizes: geo.Sizes, alike: bool) -> tuple[Tensor, Tensor]:
    """Both kernels on the common grid of taps: (c_out, c_in // own groups, *T)."""
    a, b = a.lifted(g.dims), b.lifted(g.dims)
    known = geo.known(sizes, g.dims)
    taps = [axis.parallel(v, w, n, alike) for v, w, n in zip(a.windows, b.windows, known, strict=True)]
    return (
        _placed(a.kernel, g.taps, tuple(t.first for t in taps)),
        _placed(b.kernel, g.taps, tuple(t.second for t in taps)),
    )


def _placed(kernel: Tensor, taps: tuple[int, ...], at: tuple[slice, ...]) -> Tensor:
    if tuple(kernel.shape[2:]) == taps:
        return kernel
    out = kernel.new_zeros(*kernel.shape[:2], *taps)
    index: tuple[Any, ...] = (..., *at)
    out[index] = kernel
    return out


def _period(a: Convolution, g: geo.Geometry) -> Tensor | None:
    """The bias of ``a`` repeated to the common period."""
    if a.bias is None or not g.periodic:
        return a.bias
    return tile(a.lifted(g.dims).periodic_bias(), g.period or ())


def _sum(x: Tensor | None, y: Tensor | None) -> Tensor | None:
    return y if x is None else x if y is None else x + y
