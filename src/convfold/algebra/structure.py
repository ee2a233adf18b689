"""Structure that a kernel has and its geometry does not say: zero taps, dilation, groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd
from typing import Any

import torch

from convfold.algebra import window
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window


def recovered(op: Convolution) -> Convolution:
    """The same map with its zeros seen: zero end taps dropped, dilation and groups as large as they can be.

    Only exact zeros count. Composing structured kernels leaves such zeros; a trained dense one has none.
    """
    if (
        op.kernel.is_meta or op.kernel.count_nonzero() == op.kernel.numel()
    ):  # nothing to be seen, or no zero: as most are
        return op
    return _groups(trimmed(op, range(op.dims)))


def trimmed(op: Convolution, axes: Iterable[int]) -> Convolution:
    """Zero end taps dropped along some axes, and dilation as large as it can be."""
    kernel, windows = op.kernel, list(op.windows)
    for i in axes:
        w = windows[i]
        used = kernel.detach().transpose(0, i + 2).flatten(1).ne(0).any(1).nonzero().flatten().tolist()
        if not used:
            used = [0]
        first, last = used[0], used[-1]
        step = gcd(*(t - first for t in used)) or 1
        if (first, last, step) == (0, w.taps - 1, 1):
            continue
        kernel = kernel[(slice(None),) * (i + 2) + (slice(first, last + 1, step),)]
        lo, hi = w.lo - w.dilation * first, w.hi - w.dilation * (w.taps - 1 - last)
        windows[i] = Window((last - first) // step + 1, w.stride, w.upsample, w.dilation * step, lo, hi)
    return Convolution(kernel, op.bias, op.groups, tuple(windows))


def alive(op: Convolution, sizes: Sequence[int | None]) -> Convolution:
    """End taps dropped that in a signal of these sizes, where they are known, read nothing but zeros."""
    taps = [range(w.taps) if n is None else window.alive(w, n) for w, n in zip(op.windows, sizes, strict=True)]
    index: tuple[Any, ...] = (..., *(slice(r.start, r.stop) for r in taps))
    windows = tuple(window.cut(w, r) for w, r in zip(op.windows, taps, strict=True))
    return Convolution(op.kernel[index], op.bias, op.groups, windows)


def _groups(op: Convolution) -> Convolution:
    """Split every group into as many equal diagonal blocks as its zeros allow."""
    flat = op.kernel.detach().reshape(*op.kernel.shape[:2], -1)  # flatten(2) would refuse a linear layer's
    used = flat.ne(0).any(2).unflatten(0, (op.groups, -1))  # (g, O/g, I/g)
    if bool(used.all()):  # as trained kernels are
        return op
    o, i = used.shape[1:]
    reads = used.any(0).int()
    rows = reads.any(1).nonzero().flatten()
    first, last = reads[rows].argmax(1), i - 1 - reads[rows].flip(1).argmax(1)
    for n in sorted((n for n in range(2, gcd(o, i) + 1) if o % n == 0 == i % n), reverse=True):
        block = rows // (o // n)
        if bool((first // (i // n) == block).all() and (last // (i // n) == block).all()):
            blocks = op.kernel.unflatten(0, (op.groups, n, o // n)).unflatten(3, (n, i // n))
            kept = torch.stack([blocks[:, j, :, j] for j in range(n)], 1).flatten(0, 2)
            return Convolution(kept, op.bias, op.groups * n, op.windows)
    return op
