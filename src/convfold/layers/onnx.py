"""How ONNX spells windows: pads of all low ends, then of all high ones, given or to be found so that sizes fit."""

from __future__ import annotations

from collections.abc import Sequence

from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.layers.spelling import Call


def windows_of(call: Call, taps: Sequence[int]) -> tuple[Window, ...]:
    """Of a convolution or a pool, whose signal is its first argument: (N, C, *space)."""
    dims = len(taps)
    strides = call["strides"] or (1,) * dims
    dilations = call["dilations"] or (1,) * dims
    plain = [Window(t, s, 1, d) for t, s, d in zip(taps, strides, dilations, strict=True)]
    pairs = ends(call, plain)
    if any(n + lo + hi <= w.reach for n, w, (lo, hi) in zip(call.first.shape[-dims:], plain, pairs, strict=True)):
        raise NotFoldable("not-affine", "a window larger than its map: runtimes differ in what they make of it")
    return tuple(Window(w.taps, w.stride, 1, w.dilation, lo, hi) for w, (lo, hi) in zip(plain, pairs, strict=True))


def ends(call: Call, windows: Sequence[Window]) -> list[tuple[int, int]]:
    """(lo, hi) of each axis: as ``pads`` says, none, or so many that there is one output a stride."""
    dims, auto = len(windows), call["auto_pad"] or "NOTSET"
    if auto == "VALID":
        return [(0, 0)] * dims
    if auto == "NOTSET":
        flat = list(call["pads"] or (0,) * (2 * dims))
        return list(zip(flat[:dims], flat[dims:], strict=True))
    found = []
    for w, n in zip(windows, call.first.signal.known(1, dims), strict=True):
        if n is None and w.stride > 1:
            raise NotFoldable("size-depends-on-remainder", f"auto_pad={auto} with a stride, and the size is free")
        total = w.reach if n is None else max((-(-n // w.stride) - 1) * w.stride + w.reach + 1 - n, 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return found
