"""Resizing: nn.Upsample; aten upsample_* in every mode, size or scale given, antialiased or not; expand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import floor
from typing import Any

from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.spatial import Expand, Resize
from convfold.algebra.window import Window, per_axis
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    ModuleExample,
    dims_of,
    each,
    example,
    flag,
    module_example,
    shape,
    space,
)
from convfold.layers.known import module
from convfold.layers.spelling import Call, Reading, aten, depthwise, known_channels, spatial


def repeat(channels: int, factors: tuple[int, ...]) -> Convolution:
    """Every position r times along each axis: a depthwise transposed convolution of ones, stride r."""
    return depthwise(channels, [Window(r, 1, r, 1, r - 1, r - 1) for r in factors], 1.0)


_SCALES = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}
_MODES = {
    "nearest": [f"upsample_nearest{d}d" for d in (1, 2, 3)],
    "nearest-exact": [f"_upsample_nearest_exact{d}d" for d in (1, 2, 3)],
    "linear": ["upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa"],
    "bicubic": ["upsample_bicubic2d", "_upsample_bicubic2d_aa"],
}


def _reader(mode: str, antialiased: bool) -> Callable[[Call], Reading]:
    def read(call: Call) -> Reading:
        x, dims = call.first, call.first.dim - 2
        scales = _scales(call, dims)
        if x.symbols[2:] == call.out.symbols[2:] and all(s in (None, 1.0) for s in scales):
            return x  # type: ignore[no-any-return]
        by_scale = None not in scales and _floored(x.shape[2:], scales) == call.out.shape[2:]
        if any(s is not None for s in scales) and not by_scale:
            raise NotFoldable("not-affine", "a resize to one size by the factors of another")
        factors = _whole_factors(call, scales) if mode.startswith("nearest") else None
        convolution = repeat(x.shape[1], factors) if factors is not None else None
        aligned, given = bool(call["align_corners"]), tuple(map(float, scales)) if by_scale else None
        kind = partial(Resize, mode=mode, aligned=aligned, antialiased=antialiased, scales=given)
        return spatial(call, range(2, x.dim), kind, convolution=convolution)

    return read


for _mode, _names in _MODES.items():
    for _name in _names:
        aten(f"{_name}.vec", f"{_name}.default")(_reader(_mode, _name.endswith("_aa")))


@aten("expand.default")
def read_expand(call: Call) -> Reading:
    """One position repeated: a nearest resize from one. Every other axis stays as long as it is, however long."""
    x = call["self"]
    if x.symbols == call.out.symbols:
        return x  # type: ignore[no-any-return]
    if x.dim != call.out.dim:
        raise NotFoldable("not-affine", "an expansion that adds axes")
    axes = [i for i, (n, m) in enumerate(zip(x.symbols, call.out.symbols, strict=True)) if n != m]
    shape = tuple(m if i in axes else -1 for i, m in enumerate(call.out.shape))
    return spatial(call, axes, partial(Expand, shape=shape))


def _scales(call: Call, dims: int) -> list[Any]:
    """The factors where they are given: by 2.25, 2 positions become 4, but not each twice."""
    return list(call["scale_factors"] or [call[name] for name in _SCALES[dims]])


def _floored(before: Sequence[int], scales: Sequence[float]) -> tuple[int, ...]:
    """How long the axes become."""
    return tuple(floor(n * s) for n, s in zip(before, scales, strict=True))


def _whole_factors(call: Call, scales: Sequence[float | None]) -> tuple[int, ...] | None:
    """How many times every position is repeated, the same number everywhere; None where it is not."""
    dims, x = len(scales), call.first
    found = []
    for s, n, m in zip(scales, x.signal.known(1, dims), call.out.signal.known(1, dims), strict=True):
        r = s if s is not None else m / n if n is not None and m is not None else 0.0
        if r != int(r) or r < 1:
            return None
        found.append(int(r))
    return tuple(found)


@module(nn.Upsample)
def of_module(m: nn.Upsample, channels: int | None = None, dims: int | None = None) -> Convolution:
    scale = m.scale_factor
    factors = scale if isinstance(scale, tuple) else per_axis(scale, dims or 2)
    if m.mode not in ("nearest", "nearest-exact") or any(f is None or f != int(f) or f < 1 for f in factors):
        raise NotFoldable(
            "not-affine", f"Upsample(mode={m.mode!r}, scale_factor={m.scale_factor}) is not a convolution"
        )
    return repeat(known_channels(m, channels), tuple(map(int, factors)))


@example(*(f"{name}.{overload}" for names in _MODES.values() for name in names for overload in ("vec", "default")))
def drawn(draw: Draw, spelling: str) -> Example:
    """To sizes, by factors, or to the sizes that the factors give or nearly so, which torch takes as they are."""
    dims = dims_of(spelling)
    x = draw.signal(draw.integer(1, 2), draw.integer(1, 3), *space(draw, dims))
    factors = [draw.pick((2.0, 1.0, 1.5, 0.7, 2.25, 3.0)) for _ in range(dims)]
    factors = [f if n * f >= 1 else 1.0 for n, f in zip(x.shape[2:], factors, strict=True)]
    sizes, aligned = list(each(draw, dims, 1, 7 if dims < 3 else 5)), () if "nearest" in spelling else (flag(draw),)
    by_factor = flag(draw)
    if spelling.endswith("vec"):
        return Example((x, None, *aligned, factors) if by_factor else (x, sizes, *aligned, None))
    right = list(_floored(x.shape[2:], factors))
    if not by_factor:
        return Example((x, sizes, *aligned))
    wrong = flag(draw) and sizes != right and "_aa" not in spelling  # antialiased, torch reads beyond the signal then
    return Example((x, sizes if wrong else right, *aligned, *factors), refused="not-affine" if wrong else None)


@example("expand.default")
def drawn_expand(draw: Draw, spelling: str) -> Example:
    before = tuple(n if flag(draw) else 1 for n in shape(draw))
    after = [draw.integer(1, 4) if n == 1 else draw.pick((n, -1)) for n in before]
    more = draw.pick(((), (), (2,), (1,)))
    return Example((draw.signal(*before), [*more, *after]), refused="not-affine" if more else None)


@module_example(nn.Upsample)
def drawn_module(draw: Draw, cls: type[nn.Upsample]) -> ModuleExample:
    dims = draw.integer(1, 3)
    linear = ("linear", "bilinear", "trilinear")[dims - 1]
    mode = draw.pick(("nearest", "nearest-exact", linear))
    factor = draw.pick((float(draw.integer(1, 3)), tuple(map(float, each(draw, dims, 1, 3))), 1.5))
    how: dict[str, Any] = {"size": each(draw, dims, 1, 6)} if flag(draw) else {"scale_factor": factor}
    fits = mode != linear and "size" not in how and factor != 1.5
    x = draw.signal(draw.integer(1, 2), draw.integer(1, 3), *space(draw, dims))
    return ModuleExample(cls(mode=mode, **how), x, None if fits else "not-affine")
