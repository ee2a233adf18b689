"""B @ A: the numbers of a composition. What is legal and where taps stand: see `geometry` and `window`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from convfold.algebra import geometry as geo
from convfold.algebra import window as axis
from convfold.algebra.untraced import untraced
from convfold.errors import NotFoldable

if TYPE_CHECKING:
    from convfold.algebra.convolution import Convolution

#: A composition needing more bytes than this (operands, result, scratch) is refused before it is tried.
MEMORY_LIMIT = 4 << 30


@untraced
def series(outer: Convolution, inner: Convolution, sizes: geo.Sizes = None, endless: bool = False) -> Convolution:
    """The convolution that equals ``outer(inner(x))``, border included.

    K[o, i, a·t_A + b·t_B] = Σ_m K_B[o, m, t_B] · K_A[m, i, t_A]  and  bias = b_B + B(b_A).
    Shapes: K_B (O, M/g_B, *T_B), K_A (M, I/g_A, *T_A) → (O, I/gcd(g_A, g_B), *T).

    Raises:
        NotFoldable: with the reason, where no single convolution is equal at the given sizes (None: at all).
    """
    result = geo.series(outer.geometry, inner.geometry, sizes, endless)
    dims = result.dims
    outer, inner = alike(outer, inner)
    outer, inner = outer.lifted(dims), inner.lifted(dims)
    taps = [axis.series(b, a, n) for b, a, n in zip(outer.windows, inner.windows, geo.known(sizes, dims), strict=True)]
    kernel = _product(outer, inner, result.groups, tuple(t.a for t in taps), tuple(t.b for t in taps))
    if any(t.keep is None for t in taps):
        kernel = kernel.new_zeros(result.kernel_shape)
    else:
        kernel = kernel[(..., *(t.keep for t in taps))]
    return type(outer)(kernel, _bias(outer, inner), result.groups, result.windows)


@untraced
def chain(steps: Sequence[Convolution], sizes: Sequence[geo.Sizes] | None = None, endless: bool = False) -> Convolution:
    """The convolution that equals all steps in turn, first applied first; ``sizes`` are those before each step.

    Two steps that are no convolution by themselves (stride 2 then upsample 2) may be one with what comes before or
    after: where they are joined is found on the geometry, and of two ways that with the smaller products is taken.
    """
    known = list(sizes or [None] * len(steps))
    orders: dict[tuple[int, int], _Order] = {(i, i + 1): _Order(s.geometry, 0, i) for i, s in enumerate(steps)}
    reasons: list[NotFoldable] = []
    for length in range(2, len(steps) + 1):
        for i in range(len(steps) - length + 1):
            found = []
            for split in range(i + 1, i + length):
                inner, outer = orders.get((i, split)), orders.get((split, i + length))
                if inner is None or outer is None:
                    continue
                try:
                    g = geo.series(outer.geometry, inner.geometry, known[i], endless)
                except NotFoldable as e:
                    reasons.append(e)
                else:
                    products = outer.geometry.weights * prod(inner.geometry.kernel_shape[1:])
                    found.append(_Order(g, inner.products + outer.products + products, split))
            if found:
                orders[i, i + length] = min(found, key=lambda o: o.products)

    def joined(i: int, j: int) -> Convolution:
        if j - i == 1:
            return steps[i]
        split = orders[i, j].split
        return series(joined(split, j), joined(i, split), known[i], endless)

    if (0, len(steps)) not in orders:
        raise reasons[0]
    return joined(0, len(steps))


class _Order(NamedTuple):
    """How some neighbouring steps are joined: the parts before and after ``split`` first."""

    geometry: geo.Geometry
    products: int
    split: int


def _product(outer: Convolution, inner: Convolution, groups: int, a: tuple[int, ...], b: tuple[int, ...]) -> Tensor:
    """Σ_m K_B[o, m, t_B] K_A[m, i, t_A] placed at a·t_A + b·t_B: (O, I/groups, *T)."""
    kb, ka = outer.kernel, inner.kernel
    if outer.geometry.diagonal:  # one factor per row
        return ka * kb.reshape(-1, *(1,) * (ka.dim() - 1))
    if inner.geometry.diagonal:  # one factor per column
        scale = ka.reshape(outer.groups, 1, -1).expand(-1, outer.c_out // outer.groups, -1)
        return kb * scale.reshape(*kb.shape[:2], *(1,) * len(b))
    _check_memory(outer, inner, groups)
    # A transposed convolution scatters x[·, m, i]·w[m, ·, j] to stride·i + dilation·j: it *is* this product,
    # with the groups of the operand in the weight's place. The finer-grouped operand takes that place; the
    # other is widened to the common groups, which costs nothing unless neither divides the other.
    if inner.groups > groups:
        wide = widened(kb, outer.groups, groups)  # (O, M/groups, *T_B)
        m = inner.c_out
        x = wide.unflatten(0, (groups, -1)).transpose(0, 1).flatten(1, 2)  # (O/groups, M, *T_B)
        y = _scatter(x, ka.reshape(m, -1, *ka.shape[2:]), stride=b, dilation=a, groups=inner.groups)
        result: Tensor = y.unflatten(1, (groups, -1)).transpose(0, 1).flatten(0, 1)  # (O, I/groups, *T)
        return result
    x = widened(ka, inner.groups, groups).transpose(0, 1)  # (I/groups, M, *T_A)
    w = kb.unflatten(0, (outer.groups, -1)).transpose(1, 2).flatten(0, 1)  # (M, O/g_B, *T_B)
    return _scatter(x, w, stride=a, dilation=b, groups=outer.groups).transpose(0, 1)


def _scatter(x: Tensor, w: Tensor, stride: tuple[int, ...], dilation: tuple[int, ...], groups: int) -> Tensor:
    """What a transposed convolution does, (n, m, *T_x), (m, p/groups, *T_w) → (n, p, *T).

    Tap by tap of the one with fewer, a product each: torch's own works signal by signal, and here there are as many as
    channels, each a few taps long.
    """
    taps_x, taps_w = x.shape[2:], w.shape[2:]
    x = x.unflatten(1, (groups, -1))  # (n, g, m/g, *T_x)
    w = w.unflatten(0, (groups, -1))  # (g, m/g, p/g, *T_w)
    lengths = [a * (t - 1) + b * (v - 1) + 1 for a, t, b, v in zip(stride, taps_x, dilation, taps_w, strict=True)]
    fewer_x = prod(taps_x) <= prod(taps_w)
    (s, outer), (d, inner) = [(stride, taps_x), (dilation, taps_w)][:: 1 if fewer_x else -1]

    n, p = len(x), w.shape[2]
    rows = x.movedim(2, -1).transpose(0, 1).flatten(1, -2)  # (g, n·∏T_x, m/g)
    columns = w.flatten(2)  # (g, m/g, p/g·∏T_w)

    def product_of(tap: tuple[int, ...]) -> Tensor:
        """Of one tap with all of the other's: (n, g, p/g, *inner)."""
        if fewer_x:
            return torch.bmm(x[every(tap)].transpose(0, 1), columns).reshape(groups, n, p, *inner).transpose(0, 1)
        of_all = torch.bmm(rows, w[every(tap)]).reshape(groups, n, *inner, p)
        return of_all.movedim(-1, 2).transpose(0, 1)

    if prod(outer) == 1 and list(inner) == lengths:
        return product_of((0,) * len(outer)).flatten(1, 2)
    y = x.new_zeros(n, groups, p, *lengths)
    for tap in product(*map(range, outer)):
        places = (slice(a * i, a * i + b * (v - 1) + 1, b) for a, i, b, v in zip(s, tap, d, inner, strict=True))
        y[every(places)] += product_of(tap)
    return y.flatten(1, 2)


def every(last: Iterable[Any]) -> tuple[Any, ...]:
    """An index of the last axes, for all of the others."""
    return (..., *last)


def alike(a: Convolution, b: Convolution) -> tuple[Convolution, Convolution]:
    """Both in the wider type, and on the device of the one with weights: pads, shuffles and pools are on the CPU."""
    if (a.kernel.dtype, a.kernel.device) == (b.kernel.dtype, b.kernel.device):
        return a, b
    dtype = torch.promote_types(a.kernel.dtype, b.kernel.dtype)
    device = next((c.kernel.device for c in (a, b) if c.kernel.device.type != "cpu"), a.kernel.device)
    return a.to(dtype, device), b.to(dtype, device)


def widened(kernel: Tensor, groups: int, to: int) -> Tensor:
    """A grouped kernel (c_out, c_in/groups, *T) written with fewer groups: zeros outside its own block."""
    ratio = groups // to
    if ratio == 1:
        return kernel
    blocks = kernel.reshape(to, ratio, -1, 1, *kernel.shape[1:])  # (to, ratio, rows, 1, cols, *T)
    eye = torch.eye(ratio, dtype=kernel.dtype, device=kernel.device)
    wide = blocks * eye.reshape(1, ratio, 1, ratio, *(1,) * (kernel.dim() - 1))
    return wide.flatten(3, 4).flatten(0, 2)


def _check_memory(outer: Convolution, inner: Convolution, groups: int) -> None:
    result = outer.c_out * inner.c_in // groups
    for w, v in zip(outer.windows, inner.windows, strict=True):
        result *= v.stride * w.reach + w.upsample * v.reach + 1
    # Every tap of one with every tap of the other, before they are summed where they meet.
    scratch = outer.c_out * inner.c_in // groups * prod(inner.geometry.taps) * prod(outer.geometry.taps)
    needed = (2 * result + scratch + outer.kernel.numel() + inner.kernel.numel()) * outer.kernel.element_size()
    if needed > MEMORY_LIMIT:
        raise NotFoldable("too-large", f"needs {needed / 2**30:.1f} GiB, the limit is {MEMORY_LIMIT / 2**30:.1f}")


def _bias(outer: Convolution, inner: Convolution) -> Tensor | None:
    """b_B + B(b_A), where b_A is a constant (or periodic) signal without end: (O,) or (O, *period)."""
    if inner.bias is None:
        return outer.bias
    if not outer.geometry.periodic and inner.bias.dim() == 1 and all(w.upsample == 1 for w in outer.windows):
        total = outer.kernel.flatten(2) if outer.dims else outer.kernel[:, :, None]
        total = total[:, :, 0] if total.shape[2] == 1 else total.sum(2)  # (O, M/g): all taps see one constant
        passed = torch.einsum(
            "gom,gm->go", total.unflatten(0, (outer.groups, -1)), inner.bias.unflatten(0, (outer.groups, -1))
        )
        return passed.flatten() if outer.bias is None else outer.bias + passed.flatten()
    period = geo.series_period(outer.geometry, inner.geometry)
    signal = inner.periodic_bias()
    windows = []
    for i, (w, p) in enumerate(zip(outer.windows, period, strict=True)):
        # Positions of A that outputs 0 … p−1 read: the signal is laid out from the first, the pad moves too.
        first = -(w.lo // w.upsample)
        last = ((p - 1) * w.stride + w.reach - w.lo) // w.upsample
        count = max(last - first + 1, 1)
        index = (torch.arange(count, device=signal.device) + first) % signal.shape[i + 1]
        signal = signal.index_select(i + 1, index)
        lo = w.lo + first * w.upsample
        moved = axis.Window(w.taps, w.stride, w.upsample, w.dilation, lo, w.reach - lo)
        windows.append(moved.with_size(count, p))
    passed = type(outer)(outer.kernel, None, outer.groups, tuple(windows))(signal[None])[0]
    own = outer.periodic_bias()
    return passed + tile(own, passed.shape[1:]) if outer.bias is not None else passed


def tile(bias: Tensor, period: tuple[int, ...]) -> Tensor:
    """A bias (c, *p) repeated to a multiple of its period."""
    return bias.repeat(1, *(q // p for q, p in zip(period, bias.shape[1:], strict=True)))
