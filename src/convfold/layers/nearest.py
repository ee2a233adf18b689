"""Nearest-neighbour upsampling by a whole number: nn.Upsample; aten upsample_nearest1d-3d and their exact kin."""

from __future__ import annotations

from torch import nn

from convfold.algebra import spelling
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.layers.spelling import Call, Map, Step, aten, depthwise, known_channels, per_axis


def repeat(channels: int, factors: tuple[int, ...]) -> Convolution:
    """Every position r times along each axis: a depthwise transposed convolution of ones, stride r."""
    return depthwise(channels, [Window(r, 1, r, 1, r - 1, r - 1) for r in factors], 1.0)


_SCALES = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}
_KINDS = [f"{kind}{d}d" for kind in ("upsample_nearest", "_upsample_nearest_exact") for d in (1, 2, 3)]


@aten(*(f"{kind}.{overload}" for kind in _KINDS for overload in ("vec", "default")))
def read(call: Call) -> Step:
    x = call["self"] if call["self"] is not None else call["input"]
    dims = x.dim - 2
    scales = call["scale_factors"] or [call[name] for name in _SCALES[dims]]
    factors = []
    for i, (n, m) in enumerate(zip(x.signal.known(1, dims), call.out.signal.known(1, dims), strict=True)):
        r = scales[i]
        if r is None:  # a factor counts where it is given: by 2.25, 2 positions become 4, but not each twice
            if n is None or m is None:
                raise NotFoldable("not-affine", "resized to a size that is not a fixed multiple")
            r = m / n
        if r != int(r) or r < 1:
            raise NotFoldable("not-affine", f"nearest resize by {r:g}, not a whole number")
        factors.append(int(r))
    return Step(Map(repeat(x.shape[1], tuple(factors)), 1, moves=True), (x,))


@spelling.of.register(nn.Upsample)
def of_module(m: nn.Upsample, channels: int | None = None, dims: int | None = None) -> Convolution:
    factors = per_axis(m.scale_factor, dims or 2)
    if m.mode not in ("nearest", "nearest-exact") or any(f is None or f != int(f) or f < 1 for f in factors):
        raise NotFoldable(
            "not-affine", f"Upsample(mode={m.mode!r}, scale_factor={m.scale_factor}) is not a convolution"
        )
    return repeat(known_channels(m, channels), tuple(map(int, factors)))
