"""Resizing, sampling and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from convfold.frontends.onnx.running.spelled import operator, tensor, unsupported

Floats = np.ndarray[Any, Any]


@operator("Resize")
def Resize(
    version: int,
    x: Tensor,
    *inputs: Tensor | None,
    mode: str | None = None,
    axes: Any = None,
    antialias: int | None = None,
    keep_aspect_ratio_policy: str | None = None,
    coordinate_transformation_mode: str | None = None,
    nearest_mode: str | None = None,
    cubic_coeff_a: float | None = None,
    exclude_outside: int | None = None,
    extrapolation_value: float | None = None,
    **_: Any,
) -> Tensor:
    """The positions read are computed in float32, whatever the signal's type, as in runtimes: `nearest` turns on it."""
    if version < 11:
        roi, scales, sizes = None, inputs[0], None
        coordinate_transformation_mode, nearest_mode = "asymmetric", "simple"
    else:
        roi, scales, sizes = (*inputs, None, None, None)[:3]
    if antialias or keep_aspect_ratio_policy not in (None, "stretch"):
        raise unsupported("a Resize with antialias or keep_aspect_ratio_policy")
    at = [a % x.dim() for a in axes] if axes else list(range(x.dim()))
    how = _How(
        mode or "nearest",
        coordinate_transformation_mode or "half_pixel",
        nearest_mode or "round_prefer_floor",
        -0.75 if cubic_coeff_a is None else cubic_coeff_a,
        bool(exclude_outside),
        extrapolation_value or 0.0,
    )
    by_size = sizes is not None and sizes.numel() > 0
    axes_to = []
    for i, axis in enumerate(at):
        n = x.shape[axis]
        if by_size:
            assert sizes is not None
            m = int(sizes[i])
            scale = np.float32(m) / np.float32(n)
        else:
            assert scales is not None
            scale = np.float32(scales[i].item())
            m = int(np.floor(np.float32(n) * scale))
        crop = None if roi is None or not roi.numel() else (float(roi[i]), float(roi[i + len(at)]))
        axes_to.append((axis, n, m, scale, crop))
    if how.coordinates != "tf_crop_and_resize" and all(n == m for _, n, m, _, _ in axes_to):
        return x  # runtimes do not look at the scales then
    for each in axes_to:
        x = how(x, *each)
    return x


@operator("Upsample")
def Upsample(
    version: int, x: Tensor, factors: Tensor | None = None, *, mode: str | None = None, scales: Any = None, **_: Any
) -> Tensor:
    how = _How(mode or "nearest", "asymmetric", "simple", -0.75, False, 0.0)
    given = scales if factors is None else factors.tolist()
    to = [int(np.floor(np.float32(n) * np.float32(factor))) for n, factor in zip(x.shape, given, strict=True)]
    if to == list(x.shape):
        return x
    for axis, (m, factor) in enumerate(zip(to, given, strict=True)):
        x = how(x, axis, x.shape[axis], m, np.float32(factor), None)
    return x


class _How:
    def __init__(self, mode: str, coordinates: str, nearest: str, a: float, exclude: bool, beyond: float) -> None:
        self.mode, self.coordinates, self.nearest = mode, coordinates, nearest
        self.a, self.exclude, self.beyond = a, exclude, beyond

    def __call__(
        self, x: Tensor, axis: int, n: int, m: int, scale: np.float32, crop: tuple[float, float] | None
    ) -> Tensor:
        """One axis from n to m positions."""
        cropped = self.coordinates == "tf_crop_and_resize"
        if scale == 1 and n == m and not cropped:
            return x
        at = self._positions(n, m, scale, crop or (0.0, 1.0))
        outside = tensor((at < 0) | (at > n - 1)) if cropped else None
        if self.mode == "nearest":
            y = x.index_select(axis, tensor(self._nearest(at, scale).clip(0, n - 1)))
        else:
            taps, weights = self._linear(at, n) if self.mode == "linear" else self._cubic(at, n)
            each = [1] * x.dim()
            each[axis] = m
            y = torch.zeros(())
            for tap, weight in zip(taps, weights, strict=True):
                y = y + x.index_select(axis, tensor(tap)) * tensor(weight).to(x.dtype).reshape(each)
        if outside is not None:
            each = [1] * x.dim()
            each[axis] = m
            y = torch.where(outside.reshape(each), torch.tensor(self.beyond, dtype=x.dtype), y)
        return y

    def _positions(self, n: int, m: int, scale: np.float32, crop: tuple[float, float]) -> Floats:
        i, half = np.arange(m, dtype=np.float32), np.float32(0.5)
        match self.coordinates:
            case "asymmetric":
                return i / scale
            case "half_pixel":
                return (i + half) / scale - half
            case "pytorch_half_pixel":
                return (i + half) / scale - half if m > 1 else i * 0
            case "align_corners":
                return i * np.float32(n - 1) / np.float32(m - 1) if m > 1 else i * 0
            case "tf_half_pixel_for_nn":
                return (i + half) / scale
            case "half_pixel_symmetric":
                adjusted = np.float32(m) / (scale * np.float32(n))
                return np.float32(n) / 2 * (1 - adjusted) + (i + half) / scale - half
            case "tf_crop_and_resize":
                lo, hi = map(np.float32, crop)
                if m > 1:
                    return lo * np.float32(n - 1) + i * (hi - lo) * np.float32(n - 1) / np.float32(m - 1)
                return i + half * (lo + hi) * np.float32(n - 1)
        raise unsupported(f"a Resize by {self.coordinates}")

    def _nearest(self, at: Floats, scale: np.float32) -> Floats:
        match self.nearest:
            case "simple":
                found = np.ceil(at) if scale < 1 else np.trunc(at)
            case "floor":
                found = np.floor(at)
            case "ceil":
                found = np.ceil(at)
            case "round_prefer_ceil":
                found = np.floor(at + np.float32(0.5))
            case _:
                found = np.ceil(at - np.float32(0.5))
        return found.astype(np.int64)

    def _linear(self, at: Floats, n: int) -> tuple[list[Floats], list[Floats]]:
        at = at.clip(0, n - 1)
        low = np.floor(at).astype(np.int64)
        part = at.astype(np.float64) - low
        return [low, np.minimum(low + 1, n - 1)], [1 - part, part]

    def _cubic(self, at: Floats, n: int) -> tuple[list[Floats], list[Floats]]:
        low, a = np.floor(at).astype(np.int64), self.a
        s = at.astype(np.float64) - low
        weights = [
            ((a * (s + 1) - 5 * a) * (s + 1) + 8 * a) * (s + 1) - 4 * a,
            ((a + 2) * s - (a + 3)) * s * s + 1,
            ((a + 2) * (1 - s) - (a + 3)) * (1 - s) * (1 - s) + 1,
            ((a * (2 - s) - 5 * a) * (2 - s) + 8 * a) * (2 - s) - 4 * a,
        ]
        taps = [low + k for k in range(-1, 3)]
        if self.exclude:
            weights = [np.where((t >= 0) & (t < n), w, 0.0) for t, w in zip(taps, weights, strict=True)]
            total = sum(weights)
            weights = [w / np.where(total == 0, 1, total) for w in weights]  # far outside a crop nothing is read
        return [t.clip(0, n - 1) for t in taps], weights


@operator("GridSample")
def GridSample(
    version: int,
    x: Tensor,
    grid: Tensor,
    *,
    align_corners: int | None = None,
    mode: str | None = None,
    padding_mode: str | None = None,
    **_: Any,
) -> Tensor:
    how = {"linear": "bilinear", "cubic": "bicubic"}.get(mode or "linear", mode or "bilinear")
    return F.grid_sample(x, grid, how, padding_mode or "zeros", bool(align_corners))


@operator("Pad")
def Pad(
    version: int,
    x: Tensor,
    amounts: Tensor | None = None,
    value: Tensor | None = None,
    axes: Tensor | None = None,
    *,
    mode: str | None = None,
    pads: Any = None,
    **attributes: Any,
) -> Tensor:
    given: Sequence[int] = list(pads) if amounts is None else amounts.tolist()
    at = list(range(x.dim())) if axes is None else [int(a) % x.dim() for a in axes]
    ends = [(0, 0)] * x.dim()
    for i, axis in enumerate(at):
        ends[axis] = int(given[i]), int(given[i + len(at)])
    cut = tuple(slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi) in zip(x.shape, ends, strict=True))
    more = [(max(lo, 0), max(hi, 0)) for lo, hi in ends]
    y = x[cut].numpy()
    if mode in (None, "constant"):
        filling = attributes.get("value") or 0.0 if value is None else value.item()
        return tensor(np.pad(y, more, constant_values=filling))
    return tensor(np.pad(y, more, mode={"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode]))  # type: ignore[call-overload]
