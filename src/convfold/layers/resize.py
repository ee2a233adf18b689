"""Resizing: nn.Upsample; aten upsample_* in every mode, size or scale given, antialiased or not; expand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window, per_axis
from convfold.errors import NotFoldable
from convfold.layers.known import module
from convfold.layers.spelling import Call, Reading, aten, depthwise, known_channels, spatial


def repeat(channels: int, factors: tuple[int, ...]) -> Convolution:
    """Every position r times along each axis: a depthwise transposed convolution of ones, stride r."""
    return depthwise(channels, [Window(r, 1, r, 1, r - 1, r - 1) for r in factors], 1.0)


_SCALES = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}
_NEAREST = [f"{kind}{d}d" for kind in ("upsample_nearest", "_upsample_nearest_exact") for d in (1, 2, 3)]
_SMOOTH = [
    "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d",
    "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
]  # fmt: skip


@aten(*(f"{kind}.{overload}" for kind in _NEAREST for overload in ("vec", "default")))
def read_nearest(call: Call) -> Reading:
    return _resize(call, _whole_factors(call), 1)


@aten(*(f"{kind}.{overload}" for kind in _SMOOTH for overload in ("vec", "default")))
def read_smooth(call: Call) -> Reading:
    x = next(iter(call.arguments.values()))
    return _resize(call, None, (4 if "cubic" in str(call.target) else 2) ** (x.dim - 2))


@aten("expand.default")
def read_expand(call: Call) -> Reading:
    """One position repeated: a nearest resize from one. `graph.normalise` has written −1 for every other axis."""
    x = call["self"]
    if x.symbols == call.out.symbols:
        return x  # type: ignore[no-any-return]
    if x.dim != call.out.dim:
        raise NotFoldable("not-affine", "an expansion that adds axes")
    axes = [i for i, (n, m) in enumerate(zip(x.symbols, call.out.symbols, strict=True)) if n != m]
    return spatial(call, axes, constants=True)


def _resize(call: Call, factors: tuple[int, ...] | None, reads: int) -> Reading:
    """Weights that sum to one at every position: constants are preserved."""
    x = next(iter(call.arguments.values()))
    axes = range(2, x.dim)
    sizes = (x.symbols[2:], call.out.symbols[2:])
    if sizes[0] == sizes[1] and all(s in (None, 1.0) for s in _scales(call, x.dim - 2)):
        return x  # type: ignore[no-any-return]
    known = not any(i in v.signal.free for v in (x, call.out) for i in axes)
    known = known and not ("_aa" in str(call.target) and 1 in call.out.shape[2:])
    matrices = _matrices(call, x.shape[2:], call.out.shape[2:]) if known else None
    convolution = repeat(x.shape[1], factors) if factors is not None else None
    return spatial(call, axes, constants=True, convolution=convolution, matrices=matrices, reads=reads)


def _scales(call: Call, dims: int) -> list[Any]:
    """The factors where they are given: by 2.25, 2 positions become 4, but not each twice."""
    return list(call["scale_factors"] or [call[name] for name in _SCALES[dims]])


def _whole_factors(call: Call) -> tuple[int, ...] | None:
    """How many times every position is repeated, the same number everywhere; None where it is not."""
    x = next(iter(call.arguments.values()))
    dims = x.dim - 2
    found = []
    for s, n, m in zip(_scales(call, dims), x.signal.known(1, dims), call.out.signal.known(1, dims), strict=True):
        r = s if s is not None else m / n if n is not None and m is not None else 0.0
        if r != int(r) or r < 1:
            return None
        found.append(int(r))
    return tuple(found)


def _matrices(call: Call, before: tuple[int, ...], after: tuple[int, ...]) -> Callable[[], tuple[Tensor, ...]]:
    """One matrix an axis, (after, before), in float64: the call itself on unit impulses, the other axes two long.

    Not one long: of an antialiased resize to one column torch reads the wrong rows.
    """
    dims = len(before)
    target, scales = call.target, _scales(call, dims)
    rest = {key: value for key, value in list(call.arguments.items())[1:]}
    name = next(iter(call.arguments))

    def matrices() -> tuple[Tensor, ...]:
        found = []
        for i, (n, m) in enumerate(zip(before, after, strict=True)):
            along = [n if j == i else 1 for j in range(dims)]
            wide = [n if j == i else 2 for j in range(dims)]
            impulses = torch.eye(n, dtype=torch.float64).reshape(n, 1, *along).expand(n, 1, *wide)
            own = dict(rest)
            if "scale_factors" in rest:
                given = rest["scale_factors"] is not None
                own["scale_factors"] = [scales[i] if j == i else 1.0 for j in range(dims)] if given else None
                own["output_size"] = None if given else [m if j == i else 2 for j in range(dims)]
            else:
                own["output_size"] = [m if j == i else 2 for j in range(dims)]
                own |= {key: scales[i] if j == i else None for j, key in enumerate(_SCALES[dims])}
            response = target(**{name: impulses, **own}).movedim(2 + i, 2)
            found.append(response.reshape(n, m, -1)[:, :, 0].t())
        return tuple(found)

    return matrices


@module(nn.Upsample)
def of_module(m: nn.Upsample, channels: int | None = None, dims: int | None = None) -> Convolution:
    scale = m.scale_factor
    factors = scale if isinstance(scale, tuple) else per_axis(scale, dims or 2)
    if m.mode not in ("nearest", "nearest-exact") or any(f is None or f != int(f) or f < 1 for f in factors):
        raise NotFoldable(
            "not-affine", f"Upsample(mode={m.mode!r}, scale_factor={m.scale_factor}) is not a convolution"
        )
    return repeat(known_channels(m, channels), tuple(map(int, factors)))
