"""Resizing as ONNX defines it: which position each result stands at, and how much it takes of the positions there."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import floor

import torch
from torch import Tensor

from convfold.algebra.spatial.base import Spatial, along_axes
from convfold.errors import NotFoldable


@dataclass(frozen=True, kw_only=True)
class Interpolate(Spatial):
    """As the operator Resize does, along ``axes``; see https://onnx.ai/onnx/operators/onnx__Resize.html.

    Attributes:
        mode: nearest, linear or cubic.
        coordinates: how a place in the result is one in the signal: ``coordinate_transformation_mode``.
        rounding: of such a place, which position is nearest: ``nearest_mode``, or simple.
        cubic: the coefficient a of the cubic kernel.
        excluded: positions beyond the ends are left out, the other weights made larger; not: they are as the ends are.
        antialiased: the kernel is as wide as the step from one place to the next.
        factors: (after / before) of each axis; ``given``: by the model, else they are what the sizes make them.
        crops: of each axis the part (start, end) that tf_crop_and_resize takes, of one; what is outside is zero.
        output: how long each axis is after, at the example's sizes.
    """

    axes: tuple[int, ...]
    mode: str
    coordinates: str
    rounding: str
    cubic: float
    excluded: bool
    antialiased: bool
    factors: tuple[float, ...]
    given: bool
    crops: tuple[tuple[float, float], ...]
    output: tuple[int, ...]

    @property
    def constants(self) -> bool:
        """The weights of every position sum to one, but for those that lie outside, if only by rounding."""
        inside = all((a, b) == (0, 1) or (0 <= a < 1 and 0 <= b < 1) for a, b in self.crops)
        return inside or self.coordinates != "tf_crop_and_resize"

    @property
    def label(self) -> str:
        return f"{self.mode} resize"

    @property
    def called(self) -> str:
        return self.mode

    @property
    def reads(self) -> int:
        return int({"nearest": 1, "linear": 2, "cubic": 4}[self.mode] ** len(self.axes))

    @property
    def matrices(self) -> Callable[[], tuple[Tensor, ...]] | None:
        """None also where it depends on who rounds: positions in float32, or the length that a factor gives."""
        before, after = self.sizes
        fixed = all(isinstance(n, int) for n in (*before, *after))
        behind = self.axes == tuple(range(self.axis + 1, self.axis + 1 + len(self.axes)))
        return self._matrices if fixed and behind and self._certain(before) else None

    def alone(self, i: int) -> Callable[[Tensor], Tensor] | None:
        if self.coordinates == "tf_crop_and_resize" or self.axes[0] != self.axis + 1:
            return None
        at = self.axes[i]
        return lambda x: along_axes(x, [self._weights(i, x.shape[at], torch.float64)], [at])

    def _matrices(self) -> tuple[Tensor, ...]:
        return self.along([int(n) for n in self.sizes[0]])  # type: ignore[call-overload]

    def along(self, before: Sequence[int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        """One an axis, (after, before), in float64; ``dtype``: in which places are computed."""
        return tuple(self._weights(i, n, dtype) for i, n in enumerate(before))

    def matrix(self, rank: int, axis: int, n: int) -> Tensor:
        if not self._certain(tuple(n if i == axis else 1 for i in self.axes)):
            raise NotFoldable("not-affine", "a position halfway between two: which is nearest depends on who rounds")
        return super().matrix(rank, axis, n)

    def _certain(self, before: Sequence[Hashable]) -> bool:
        sizes = [int(n) for n in before]  # type: ignore[call-overload]
        ends = self.coordinates in ("align_corners", "tf_crop_and_resize", "pytorch_half_pixel")
        if ends and any(f * n != m for f, n, m in zip(self.factors, sizes, self.output, strict=True)):
            return False
        if self.mode != "nearest" and self.coordinates != "tf_crop_and_resize":
            return True
        pairs = zip(self.along(sizes), self.along(sizes, torch.float32), strict=True)
        return all(torch.allclose(a, b, atol=1e-3) for a, b in pairs)

    def __call__(self, x: Tensor) -> Tensor:
        return along_axes(x, self.along([x.shape[i] for i in self.axes]), self.axes)

    def _weights(self, i: int, n: int, dtype: torch.dtype) -> Tensor:
        factor, m = self.factors[i], self.output[i]
        if m == n and factor == 1 and self.crops[i] == (0, 1):
            return torch.eye(n, dtype=torch.float64)
        at = places(self.coordinates, n, m, factor, self.crops[i], dtype)
        inside = (at >= 0) & (at <= n - 1) if self.coordinates == "tf_crop_and_resize" else torch.ones(m)
        if self.mode == "nearest":
            positions, weights = rounded(at, self.rounding, factor)[:, None].long(), torch.ones(m, 1)
        else:
            scale = min(factor, 1.0) if self.antialiased else 1.0
            reach = 1 if self.mode == "linear" else 2
            first = floor(-reach / scale) + 1
            left = at.ceil() - 1
            positions = (left[:, None] + torch.arange(first, 2 - first)).long()
            away = ((positions - at[:, None]) * scale).abs().double()
            weights = (1 - away).clamp(min=0) if self.mode == "linear" else cubic(away, self.cubic)
            if self.antialiased:
                weights = weights / weights.sum(1, keepdim=True)
        if self.excluded and (self.antialiased or self.mode == "cubic"):
            weights = weights * ((positions >= 0) & (positions < n))
            total = weights.sum(1, keepdim=True)
            weights = weights / torch.where(total == 0, 1, total)  # far outside a crop nothing is read
        matrix = torch.zeros(m, n, dtype=torch.float64)
        matrix.scatter_add_(1, positions.clamp(0, n - 1), weights.double())
        return matrix * inside[:, None].double()


def places(how: str, n: int, m: int, factor: float, crop: tuple[float, float], dtype: torch.dtype) -> Tensor:
    """(m,): where in a signal of n positions each of m results stands."""
    at, scale = torch.arange(m, dtype=dtype), torch.tensor(factor, dtype=dtype)
    start, end = crop
    match how:
        case "asymmetric":
            return at / scale
        case "align_corners":
            return at * (n - 1) / max(m - 1, 1)
        case "tf_crop_and_resize":
            if m == 1:
                return torch.tensor([0.5 * (start + end) * (n - 1)], dtype=dtype)
            return start * (n - 1) + at * (end - start) * (n - 1) / (m - 1)
        case "half_pixel_symmetric":
            return n / 2 * (1 - m / (factor * n)) + (at + 0.5) / scale - 0.5
        case "pytorch_half_pixel" if m == 1:
            return torch.zeros(1, dtype=dtype)
        case _:
            return (at + 0.5) / scale - 0.5


def rounded(at: Tensor, how: str, factor: float) -> Tensor:
    """The nearest positions."""
    match how:
        case "floor":
            return at.floor()
        case "ceil":
            return at.ceil()
        case "round_prefer_ceil":
            return (at + 0.5).floor()
        case "round_prefer_floor":
            return (at - 0.5).ceil()
        case _:  # simple: of opset 10
            return at.ceil() if factor < 1 else at.floor()


def cubic(away: Tensor, a: float) -> Tensor:
    """Keys' kernel, of distances that are not negative."""
    near = ((a + 2) * away - (a + 3)) * away**2 + 1
    far = ((away - 5) * away + 8) * away * a - 4 * a
    return torch.where(away <= 1, near, torch.where(away < 2, far, torch.zeros_like(away)))
