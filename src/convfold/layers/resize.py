"""Resizing: nn.Upsample; aten upsample_* in every mode, size or scale given, antialiased or not; expand; ONNX Resize,
Upsample, Expand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import floor
from typing import Any

import torch
from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.spatial import Expand, Interpolate, Resize
from convfold.algebra.window import Window, per_axis
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    ModuleExample,
    OnnxExample,
    constant,
    dims_of,
    each,
    example,
    flag,
    module_example,
    onnx_example,
    opset,
    shape,
    space,
)
from convfold.layers.known import module
from convfold.layers.spelling import Call, Reading, Value, aten, depthwise, known_channels, onnx, spatial


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


@onnx("Resize", "Upsample")
def read_onnx(call: Call) -> Reading:
    """By factors or to sizes, of all axes or of those that are named; before opset 11 places are ``x / factor``."""
    x, y = call["X"], call.out
    given = [axis % x.dim for axis in call.numbers("axes")] if call["axes"] is not None else list(range(x.dim))
    factors, by_factors = _factors(call, given)
    coordinates = call["coordinate_transformation_mode"] or "asymmetric"
    crops = _crops(call, given) if coordinates == "tf_crop_and_resize" else [(0.0, 1.0)] * x.dim
    if any(factor == 1 and crop != (0, 1) for factor, crop in zip(factors, crops, strict=True)):
        raise NotFoldable("not-affine", "a part as long as the whole: the standard takes it, ONNX Runtime the whole")
    axes = [i for i in range(x.dim) if x.symbols[i] != y.symbols[i] or factors[i] != 1 or crops[i] != (0, 1)]
    if not axes:
        return x  # type: ignore[no-any-return]
    if axes[0] > 1:
        axes = list(range(2, x.dim))
    kind = partial(
        Interpolate,
        axes=tuple(axes),
        mode=call["mode"],
        coordinates=coordinates,
        rounding=call["nearest_mode"] or "simple",
        cubic=-0.75 if call["cubic_coeff_a"] is None else call["cubic_coeff_a"],
        excluded=bool(call["exclude_outside"]),
        antialiased=bool(call["antialias"]),
        factors=tuple(factors[i] for i in axes),
        given=by_factors,
        crops=tuple(crops[i] for i in axes),
        output=tuple(y.shape[i] for i in axes),
    )
    found = spatial(call, axes, kind)
    resize = found.operation
    assert isinstance(resize, Interpolate)
    if call["extrapolation_value"] and not resize.constants:
        raise NotFoldable("padding-mode", "what lies outside is another number than zero")
    if axes[0] > 1 and x.dim <= 5 and (times := _times(call, resize)) is not None:
        return spatial(call, axes, kind, channel=1, convolution=repeat(x.shape[1], times))
    return found


def _factors(call: Call, named: Sequence[int]) -> tuple[list[float], bool]:
    """Of every axis: as they are given, or as the sizes are, by one for all where the ratio of the sides is kept.

    And whether they are numbers of the model's, at every size of the signal.
    """
    x, y, scales = call["X"], call.out, call["scales"]
    if isinstance(scales, Value) and 0 not in scales.shape:
        scales = scales.tensor().tolist()
    if isinstance(scales, list | tuple):
        pairs = dict(zip(named, scales, strict=True))
        return [float(pairs.get(i, 1.0)) for i in range(x.dim)], True
    policy = call["keep_aspect_ratio_policy"] or "stretch"
    if policy == "stretch":
        return [m / n for n, m in zip(x.shape, y.shape, strict=True)], False
    if any(i in x.signal.free for i in named):
        raise NotFoldable("size-depends-on-remainder", f"{policy} of a size that is free")
    ratios = [m / x.shape[i] for i, m in zip(named, call.numbers("sizes"), strict=True)]
    factor = min(ratios) if policy == "not_larger" else max(ratios)
    return [factor if i in named else 1.0 for i in range(x.dim)], True


def _crops(call: Call, named: Sequence[int]) -> list[tuple[float, float]]:
    """All starts, then all ends."""
    roi = call.tensor("roi")
    assert roi is not None
    flat = roi.tolist()
    pairs = dict(zip(named, zip(flat[: len(named)], flat[len(named) :], strict=True), strict=True))
    return [pairs.get(i, (0.0, 1.0)) for i in range(call["X"].dim)]


#: By which rounding a place that is one of r in a position is taken for that position, in every signal.
_REPEATS = {
    "asymmetric": ("floor", "simple"),
    "half_pixel": ("round_prefer_floor", "round_prefer_ceil"),
    "half_pixel_symmetric": ("round_prefer_floor", "round_prefer_ceil"),
    "pytorch_half_pixel": ("round_prefer_floor", "round_prefer_ceil"),
}


def _times(call: Call, resize: Interpolate) -> tuple[int, ...] | None:
    """How many times every position is repeated, the same number everywhere; None where it is not."""
    x, y = call["X"], call.out
    times = [m // n for n, m in zip(x.shape[2:], y.shape[2:], strict=True)]
    before, after = x.symbols[2:], y.symbols[2:]
    whole = all(n * r == m and f == r for n, m, r, f in zip(before, after, times, resize.factors, strict=True))
    fits = resize.mode == "nearest" and resize.rounding in _REPEATS.get(resize.coordinates, ())
    return tuple(times) if whole and fits and min(times) >= 1 else None


@onnx("Expand")
def read_onnx_expand(call: Call) -> Reading:
    return _expanded(call, call["input"])


@aten("expand.default")
def read_expand(call: Call) -> Reading:
    return _expanded(call, call["self"])


def _expanded(call: Call, x: Value) -> Reading:
    """One position repeated: a nearest resize from one. Every other axis stays as long as it is, however long."""
    if x.symbols == call.out.symbols:
        return x
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


@onnx_example("Expand")
def drawn_onnx_expand(draw: Draw, spelling: str) -> OnnxExample:
    """To sizes, or to ones where it stays as it is; fewer axes may be named, or more."""
    x = draw.signal(*(draw.pick((n, 1)) for n in shape(draw)))
    sizes = [draw.pick((1, n)) if n > 1 else draw.integer(1, 3) for n in x.shape][draw.integer(0, x.dim()) :]
    more = draw.integer(0, 4) == 4
    if more:
        sizes = [2, *draw.pick(([1] * x.dim(), list(x.shape)))]
    return OnnxExample((x, sizes), refused="not-affine" if more else None, opset=opset(draw, 8))


@onnx_example("Upsample")
def drawn_onnx_upsample(draw: Draw, spelling: str) -> OnnxExample:
    """Only the space axes, and only to more positions; linear of two of them."""
    version, mode = draw.pick((9, 7, 8)), draw.pick(("nearest", "linear"))
    dims = 2 if mode == "linear" else draw.integer(1, 3)
    x = draw.signal(draw.integer(1, 2), draw.integer(1, 3), *space(draw, dims))
    factors = [1.0, 1.0, *(draw.pick((2.0, 1.0, 3.0, 1.5, 2.25)) for _ in range(dims))]
    if version < 9:
        return OnnxExample((x,), {"mode": mode, "scales": factors}, opset=version)
    return OnnxExample((x, constant(torch.tensor(factors))), {"mode": mode}, opset=version)


@onnx_example("Resize")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """Every parameter, as far as ONNX Runtime goes along: cubic and antialiased ones of two axes."""
    version = opset(draw, 10)
    mode = draw.pick(("nearest", "linear", *(("cubic",) if version >= 11 else ())))
    antialiased = version >= 18 and mode != "nearest" and flag(draw)
    dims = draw.integer(1, 3) if mode == "nearest" else 2
    x = draw.signal(draw.integer(1, 2), draw.integer(1, 2), *space(draw, dims))
    how: dict[str, Any] = {"mode": mode}
    factors = [draw.pick((2.0, 1.0, 0.5, 1.5, 0.7, 2.25, 3.0)) for _ in range(dims)]
    factors = [f if n * f >= 1 else 1.0 for n, f in zip(x.shape[2:], factors, strict=True)]
    scales = constant(torch.tensor([1.0, 1.0, *factors]))
    if version == 10:
        return OnnxExample((x, scales), how, opset=version)
    places = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "tf_crop_and_resize"]
    how["coordinate_transformation_mode"] = draw.pick([*places, *(["half_pixel_symmetric"] if version >= 19 else [])])
    if mode == "nearest":
        how["nearest_mode"] = draw.pick(("round_prefer_floor", "floor", "ceil", "round_prefer_ceil"))
    if mode == "cubic":
        how |= {"cubic_coeff_a": draw.pick((-0.75, -0.5)), "exclude_outside": int(flag(draw))}
    if antialiased:
        how["antialias"] = 1
    none = constant(torch.zeros(0))
    roi, refused, cropped = none if version < 13 else None, None, False
    if how["coordinate_transformation_mode"] == "tf_crop_and_resize":
        crop = draw.pick(((0.0, 1.0), (0.25, 0.75), (-0.5, 1.25)))
        value = draw.pick((0.0, 1.5))
        how["extrapolation_value"] = value
        roi = constant(torch.tensor([0.0, 0.0, *[crop[0]] * dims, 1.0, 1.0, *[crop[1]] * dims]))
        refused = "padding-mode" if value and crop[0] < 0 else None
        cropped = crop != (0.0, 1.0)
    sizes = [x.shape[0], x.shape[1], *each(draw, dims, 1, 7 if dims < 3 else 5)]
    by_factors = flag(draw)
    if cropped and (1 in factors if by_factors else any(n == m for n, m in zip(sizes[2:], x.shape[2:], strict=True))):
        refused = "not-affine"
    if by_factors:
        return OnnxExample((x, roi, scales), how, refused, version)
    named = version >= 18 and roi is None and flag(draw)
    if named:
        how["keep_aspect_ratio_policy"] = draw.pick(("stretch", "not_larger", "not_smaller"))
        kept = how["keep_aspect_ratio_policy"] != "stretch"  # then ONNX Runtime takes axes from the end for others
        how["axes"] = [i - draw.pick((0, 0 if kept else x.dim())) for i in range(2, x.dim())]
        sizes = sizes[2:]
    return OnnxExample((x, roi, none if version < 13 else None, sizes), how, refused, version)
