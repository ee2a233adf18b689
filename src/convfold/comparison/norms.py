"""How large is a difference, relative to what it is a difference of, and where is it?"""

from __future__ import annotations

from math import hypot, inf, isfinite

import torch
from torch import Tensor


def relative(x: Tensor, to: Tensor, where: Tensor | None = None) -> float:
    """‖x‖ / ‖to‖ at the places given, and ‖x‖ itself if there is nothing to relate it to."""
    if where is not None:
        x, to = torch.where(where, x, 0.0), torch.where(where, to, 0.0)
    return norm(x) / (norm(to) or 1.0)


def norm(*xs: Tensor) -> float:
    """√Σx², in float64; scaled by the largest where squares would overflow or vanish."""
    total = hypot(*(float(torch.linalg.vector_norm(x, dtype=torch.float64)) for x in xs))
    if 1e-150 < total < inf:
        return total
    largest = max((float(x.abs().max()) for x in xs if x.numel()), default=0.0)
    if not 0 < largest < inf:
        return largest
    return largest * hypot(*(float(torch.linalg.vector_norm(x.double() / largest)) for x in xs))


def apart(x: Tensor, y: Tensor) -> float:
    """Relative to y, of all that are numbers; ∞ if they are not numbers at the same places."""
    if x.element_size() < 4:
        x, y = x.float(), y.float()  # a difference may be beyond a narrower type
    difference = relative(x - y, y) if x.shape == y.shape else inf
    if isfinite(difference) or not alike(x, y):
        return difference if isfinite(difference) else inf
    return relative(x - y, y, y.isfinite())


def share_apart(x: Tensor, y: Tensor) -> float:
    """Of whole numbers and truth values: how many of them differ."""
    if x.shape != y.shape:
        return inf
    return float((x != y).double().mean()) if y.numel() else 0.0


def alike(x: Tensor, y: Tensor, where: Tensor | None = None) -> bool:
    """Of one size, with numbers at the same places, and the same of NaN, +∞ and −∞ elsewhere?"""
    if x.shape != y.shape:
        return False
    return isfinite(norm(x - y)) or bool((agree(x, y) if where is None else agree(x, y)[where]).all())


def agree(x: Tensor, y: Tensor) -> Tensor:
    """Where both are numbers, or both the same of NaN, +∞ and −∞."""
    return (x.isfinite() & y.isfinite()) | (x == y) | (x.isnan() & y.isnan())


def by_place(difference: Tensor, exact: Tensor, numbers: Tensor | None) -> tuple[float, float]:
    """Relative error on the interior and on the border ring (an eighth of the size, at least 1) of (N, C, *space)."""
    if numbers is not None:
        difference, exact = torch.where(numbers, difference, 0.0), torch.where(numbers, exact, 0.0)
    if exact.dim() < 3:
        whole = relative(difference, exact)
        return whole, whole
    (inside, around), (exact_inside, exact_around) = _parts(difference), _parts(exact)
    return norm(inside) / (norm(exact_inside) or 1.0), norm(*around) / (norm(*exact_around) or 1.0)


def _parts(x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The interior, and the slabs around it."""
    around = []
    for axis in range(2, x.dim()):
        n = x.shape[axis]
        width = max(1, min(16, n // 8))
        low, x, high = x.split([min(width, n), max(n - 2 * width, 0), min(width, max(n - width, 0))], axis)
        around += [low, high]
    return x, around
