"""How far apart are two models' outputs, and is that more than rounding?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, sqrt

import torch
from torch import Tensor

from convfold.outputs import Output

#: A unit in the last place below this is float64's.
DOUBLE = 1e-15

#: What rounding alone changes by more than this proves nothing by agreeing up to that: of whole numbers and truth
#: values, and where rounding is sampled. Of other numbers it is the root of their unit in the last place.
DROWNED = 0.1

#: How often rounding is sampled at least.
SAMPLES = 2

#: Two models' own types against each other, at another size than the one where their rounding is known: each may be off
#: by twice as much there. What is further apart is compared with float64.
ELSEWHERE = 4


NO_TENSOR, LOST = "no tensor", "lost in its own rounding"


@dataclass(frozen=True)
class Finding:
    """What one output says. ``same`` is None where it says nothing, because it is ``why``."""

    same: bool | None
    why: str = ""
    error: float = 0.0
    own_error: float = 0.0
    exactness: float = 0.0
    allowed: float = 0.0
    interior: float = 0.0
    ring: float = 0.0
    in_float64: bool = False  # exactness is of the second model in float64, not in its own type
    note: str = ""


def judge(exact: Output, own: Output, got: Output, wide: Callable[[], Output], thorough: bool = False) -> Finding:
    """``got`` may be off ``exact`` by twice what ``own`` is, plus one in the last place; if it is not, ``wide`` may.

    exact, own: what the first model returns in float64 and in its own type; got, wide: the second.
    thorough: ask for ``wide`` in any case.
    """
    if (found := _without_numbers(own, got)) is not None:
        return found
    if own.unit is None:
        return _judge_whole(exact, own, got, wide)
    y, mine, other, kind = _value(exact), _value(own), _value(got), own.kind.partition(" ")[0]
    judged = _agree(y, mine)  # elsewhere the first's own type overflows, or turns on its rounding
    numbers, stray = judged & y.isfinite(), judged & ~_agree(mine, other)
    note = "" if bool(judged.all()) else f"the first overflows {kind} in {_share(~judged)} of its numbers"
    overflows = bool((numbers & stray).any())
    own_error = relative(mine - y, y, numbers)
    error = inf if overflows else relative(other - y, y, numbers & ~stray)
    allowed = 2 * own_error + own.unit
    bound = min(allowed, sqrt(own.unit))
    exactness, interior, ring = error, *(_by_place(other - y, y, numbers) if error < inf else (inf, inf))
    needed = thorough or bool(stray.any()) or error > bound
    if needed:
        second = _value(wide())
        alike = second.shape == y.shape and bool(_agree(y, second)[judged].all())
        exactness = relative(second - y, y, numbers) if alike else inf
        if not alike:
            error = interior = ring = inf
    if exactness < inf and not bool(numbers.any()):
        return Finding(None, "NaN or infinite" if bool(judged.any()) else f"beyond what {kind} holds", note=note)
    if overflows and exactness <= bound:
        note = f"the second overflows {kind} in {_share(numbers & stray)} of its numbers, where the first does not"
    drowned = bound < exactness <= allowed
    same = None if drowned else exactness <= bound and not overflows
    why = LOST if drowned else ""
    return Finding(same, why, error, own_error, exactness, allowed, interior, ring, needed, note)


def _judge_whole(exact: Output, own: Output, got: Output, wide: Callable[[], Output]) -> Finding:
    """Whole numbers and truth values: the share that differs, where the first's own rounding may flip some too."""
    y = _value(exact)
    error, own_error = (float((_value(x) != y).double().mean()) for x in (got, own))
    exactness, allowed, needed = error, 2 * own_error, error > min(2 * own_error, DROWNED)
    if needed:
        second = _value(wide())
        exactness = float((second != y).double().mean()) if second.shape == y.shape else inf
    drowned = DROWNED < exactness <= allowed
    same = None if drowned or (exactness <= allowed and not own.proves) else exactness <= allowed
    why = LOST if drowned else NO_TENSOR
    return Finding(same, why, error, own_error, exactness, allowed, error, error, needed)


def judge_sampled(own: Output, got: Output, samples: Iterable[Output]) -> Finding:
    """``got`` may be off ``own`` by twice what rounding at random changes the first model's outputs by.

    samples: what the first returns in its own type with every operator's result rounded once more, at random; as many
    are taken as it needs to explain the difference.
    """
    if (found := _without_numbers(own, got)) is not None:
        return found
    y, other, spread, unit = _value(own), _value(got), 0.0, own.unit or 0.0

    def off(x: Tensor) -> float:
        if x.shape != y.shape:
            return inf
        if own.unit is None:
            return float((x != y).double().mean())
        return relative(x - y, y, y.isfinite()) if bool(_agree(x, y).all()) else inf

    if own.unit and not bool(y.isfinite().any()) and off(other) < inf:
        return Finding(None, "NaN or infinite")
    error = off(other)
    for taken, sample in enumerate(samples, 1):
        spread = max(spread, off(_value(sample)))
        if error <= 2 * spread + unit and taken >= SAMPLES:
            break
    allowed = 2 * spread + unit
    interior, ring = _by_place((other - y).double(), y, y.isfinite()) if own.unit and error < inf else (error, error)
    if (sqrt(unit) if own.unit and unit < DOUBLE else DROWNED) < error <= allowed:
        return Finding(None, LOST)
    same = error <= allowed
    if same and not own.proves:
        return Finding(None, NO_TENSOR)
    return Finding(same, "", error, spread, error, allowed, interior, ring)


def close(own: Output, got: Output, own_error: float) -> bool:
    """Are they surely the same, at a size where ``own_error`` was not measured but may be expected?"""
    if own.value is None or got.value is None:
        return own.text == got.text
    y, other = _value(own), _value(got)
    if own.unit is None:
        return float((y != other).double().mean()) <= 2 * own_error if y.numel() else True
    allowed = ELSEWHERE * own_error + own.unit
    return bool(_agree(y, other).all()) and relative(other - y, y, y.isfinite()) <= min(allowed, sqrt(own.unit))


def alike(own: Output, exact: Output) -> bool:
    """Are they the same numbers at all, rounding aside?"""
    if own.value is None or exact.value is None:
        return own.text == exact.text
    y, x = _value(exact), _value(own)
    if own.unit is None:
        return y.numel() == 0 or float((y != x).double().mean()) <= DROWNED
    return bool(_agree(x, y).all()) and relative(x - y, y, y.isfinite()) <= sqrt(own.unit)


def relative(x: Tensor, to: Tensor, where: Tensor) -> float:
    """‖x‖ / ‖to‖, and ‖x‖ itself where there is nothing to relate it to."""
    return _norm(x, where) / (_norm(to, where) or 1.0)


def _norm(x: Tensor, where: Tensor) -> float:
    """Scaled by the largest: squares neither overflow nor vanish."""
    x = torch.where(where, x, 0.0)
    largest = float(x.abs().max()) if x.numel() else 0.0
    return largest * float((x / largest).norm()) if 0 < largest < inf else largest


def _without_numbers(own: Output, got: Output) -> Finding | None:
    if own.value is None or got.value is None:
        if own.text == got.text:
            return Finding(None, NO_TENSOR)
        return Finding(False, error=inf, exactness=inf, note=f"{got.text} instead of {own.text}")
    return Finding(None, "empty") if own.value.numel() == 0 else None


def _value(y: Output) -> Tensor:
    assert y.value is not None
    return y.value.double() if y.unit else y.value


def _agree(x: Tensor, y: Tensor) -> Tensor:
    """Both numbers, or both the same of NaN, +∞ and −∞."""
    return (x.isfinite() & y.isfinite()) | (x == y) | (x.isnan() & y.isnan())


def _share(where: Tensor) -> str:
    return f"{int(where.sum())} of {where.numel()}"


def _by_place(difference: Tensor, exact: Tensor, finite: Tensor) -> tuple[float, float]:
    """Relative error on the interior and on the border ring (an eighth of the size, at least 1) of (N, C, *space)."""
    if exact.dim() < 3:
        whole = relative(difference, exact, finite)
        return whole, whole
    inside = torch.ones_like(finite)
    for axis in range(2, exact.dim()):
        n = exact.shape[axis]
        width = max(1, min(16, n // 8))
        position = torch.arange(n, device=exact.device)
        keep = (position >= width) & (position < n - width)
        inside &= keep.reshape(-1, *(1,) * (exact.dim() - 1 - axis))
    return relative(difference, exact, finite & inside), relative(difference, exact, finite & ~inside)
