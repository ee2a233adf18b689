"""How far apart are two models' outputs, and is that more than rounding?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import inf, isfinite, sqrt

import torch
from torch import Tensor

from convfold.comparison.norms import agree, alike, apart, by_place, norm, relative, share_apart
from convfold.comparison.outputs import NO_TENSOR, Output

#: A unit in the last place below this is float64's.
DOUBLE = 1e-15

#: What rounding alone changes by more than this proves nothing by agreeing up to that: of whole numbers and truth
#: values, and where rounding is sampled. For other numbers see `Output.drowned`.
DROWNED = 0.1

#: How often rounding is sampled at least.
SAMPLES = 2

#: Two models' own types against each other, at another size than the one where their rounding is known: each may be off
#: by twice as much there. What is further apart is compared with float64.
ELSEWHERE = 4

#: Numbers below this are small where a model's scores are about one.
SMALL = 1e-2

#: Fewer numbers than these do not tell what rounding does to others like them.
FEW = 64

LOST = "lost in its own rounding"


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
    few: bool = False  # the first's own error is one of few numbers: as likely as not it is small by chance
    most: float = inf  # that may be allowed at all

    def with_error_of(self, others: float) -> Finding:
        """Judged by the first's own error on other inputs, where it is known by few numbers here."""
        allowed = self.allowed + 2 * max(others - self.own_error, 0.0)
        if self.same is not False or not self.few or self.error == inf or self.exactness > min(allowed, self.most):
            return self
        return replace(self, same=True, own_error=others, allowed=allowed)


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
    own_off, off = mine - y, other - y
    places = None if isfinite(norm(own_off) + norm(off)) else _Places(y, mine, other)
    numbers, note = (None, "") if places is None else (places.numbers, places.note(kind))
    overflows = places is not None and places.overflows
    own_error = relative(own_off, y, numbers)
    error = relative(off, y, None if places is None else places.kept) if not overflows else inf
    allowed = 2 * own_error + own.unit
    bound, exactness = min(allowed, own.drowned), error
    if needed := thorough or error > bound or (places is not None and places.astray):
        second = _value(wide())
        same_places = alike(second, y, None if places is None else places.judged)
        exactness = relative(second - y, y, numbers) if same_places else inf
        error = error if same_places else inf
    if exactness < inf and places is not None and not bool(places.numbers.any()):
        return Finding(None, "NaN or infinite" if bool(places.judged.any()) else f"beyond what {kind} holds", note=note)
    if overflows and exactness <= bound:
        note = f"the second overflows {kind} where the first does not"
    interior, ring = by_place(off, y, numbers) if error < inf else (inf, inf)
    drowned = bound < exactness <= allowed
    same = None if drowned else exactness <= bound and not overflows
    why = LOST if drowned else ""
    few = y.numel() < FEW
    return Finding(same, why, error, own_error, exactness, allowed, interior, ring, needed, note, few, own.drowned)


class _Places:
    """Where there are numbers, if not everywhere: in float64, and in the own types of both models."""

    def __init__(self, y: Tensor, mine: Tensor, other: Tensor) -> None:
        self.judged = agree(y, mine)  # elsewhere the first's own type overflows, or turns on its rounding
        self.numbers = self.judged & y.isfinite()
        stray = self.judged & ~agree(mine, other)
        self.astray, self.overflows = bool(stray.any()), bool((self.numbers & stray).any())
        self.kept = self.numbers & ~stray

    def note(self, kind: str) -> str:
        lost = int((~self.judged).sum())
        return f"the first overflows {kind} in {lost} of {self.judged.numel()} numbers" if lost else ""


def _judge_whole(exact: Output, own: Output, got: Output, wide: Callable[[], Output]) -> Finding:
    """Whole numbers and truth values: the share that differs, where the first's own rounding may flip some too."""
    y = _value(exact)
    error, own_error = (share_apart(_value(x), y) for x in (got, own))
    exactness, allowed, needed = error, 2 * own_error, error > min(2 * own_error, DROWNED)
    if needed:
        exactness = share_apart(_value(wide()), y)
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
    numbers = None if not own.unit or isfinite(norm(y)) else y.isfinite()

    def off(x: Tensor) -> float:
        if own.unit is None:
            return share_apart(x, y)
        return relative(x - y, y, numbers) if alike(x, y) else inf

    error = off(other)
    if numbers is not None and not bool(numbers.any()) and error < inf:
        return Finding(None, "NaN or infinite")
    for taken, sample in enumerate(samples, 1):
        spread = max(spread, off(_value(sample)))
        if error <= 2 * spread + unit and taken >= SAMPLES:
            break
    allowed = 2 * spread + unit
    interior, ring = by_place(other - y, y, numbers) if own.unit and error < inf else (error, error)
    if (own.drowned if own.unit and own.coarsest < DOUBLE else DROWNED) < error <= allowed:
        return Finding(None, LOST)
    same = error <= allowed
    if same and not own.proves:
        return Finding(None, NO_TENSOR)
    return Finding(same, "", error, spread, error, allowed, interior, ring)


def close(own: Output, got: Output, own_error: float) -> bool:
    """Are they surely the same, at a size where ``own_error`` was not measured but may be expected?"""
    if own.value is None or got.value is None:
        return own.text == got.text
    if own.unit is None:
        return share_apart(own.value, got.value) <= 2 * own_error
    return apart(got.value, own.value) <= min(ELSEWHERE * own_error + own.unit, own.drowned)


def similar(own: Output, exact: Output) -> bool:
    """Are they the same numbers at all, rounding aside?"""
    if own.value is None or exact.value is None:
        return own.text == exact.text
    if own.unit is None:
        return share_apart(own.value, exact.value) <= DROWNED
    return apart(own.value, exact.value) <= own.drowned


def plausible(own: Output, exact: Output) -> bool:
    """May they be the same numbers, where float64 was run by other code? Small ones may be lost in one and not there.

    ONNX Runtime computes a sigmoid up to 1e-7, whatever that is of a score of 1e-6.
    """
    if own.value is None or exact.value is None or own.unit is None or similar(own, exact):
        return own.value is None or exact.value is None or similar(own, exact)
    x, y = own.value, exact.value
    if x.shape != y.shape:
        return False
    both = x.isfinite() & y.isfinite()  # elsewhere the narrower type overflows
    x, y = torch.where(both, x, 0.0), torch.where(both, y, 0.0)
    return norm(x - y) <= own.drowned * max(norm(y), SMALL * sqrt(y.numel()))


def _without_numbers(own: Output, got: Output) -> Finding | None:
    if own.value is None or got.value is None:
        if own.text == got.text:
            return Finding(None, own.why)
        return Finding(False, error=inf, exactness=inf, note=f"{got.text} instead of {own.text}")
    return Finding(None, "empty") if own.value.numel() == 0 else None


def _value(y: Output) -> Tensor:
    assert y.value is not None
    return y.value
