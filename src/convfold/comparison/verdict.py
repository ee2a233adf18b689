"""What does a comparison come to? Same, different, or nothing to compare; and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from convfold.comparison.judge import LOST, Finding
from convfold.comparison.outputs import NO_TENSOR

OWN = "its own type"


@dataclass(frozen=True)
class Verdict:
    """Relative errors ‖y − y64‖ / ‖y64‖ against the first model run in float64; the worst over all inputs tried.

    The second model is the same function if it differs from that by at most twice the rounding error the first makes in
    its own type, plus one unit in the last place. Where its own arithmetic takes it further, it is computed in float64
    too, and judged by that: all that is left then is its weights having been rounded once. What its own arithmetic adds
    is reported, not judged: it depends on the order of the sums (one convolution that has absorbed an identity branch
    adds small products to a large one) and, where a model picks the best of nearly equal scores, on luck.

    ``passed`` is False where nothing could be compared, too; ``nothing`` says why, and is empty otherwise.
    """

    passed: bool
    error: float  # of the second model in its own type
    own_error: float  # of the first in its own type
    exactness: float  # what is judged: of the second computed in float64, or in its own type where that was enough
    allowed: float  # for exactness: 2 · own_error + one ulp
    interior: float  # the second's error on the interior of maps
    ring: float  # and on their border
    tried: tuple[str, ...] = ()
    nothing: str = ""
    computed_in: str = "float64"  # what exactness was computed in: "float64", or "its own type"
    reference: str = "float64"  # what the first was: "float64", or "its own type" where it cannot run in float64
    notes: tuple[str, ...] = ()

    @classmethod
    def of_nothing(cls, why: str) -> Verdict:
        """There was nothing to compare."""
        return cls(False, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, nothing=why)

    @property
    def ratio(self) -> float:
        """error / own_error (1 where both are exact)."""
        return self.error / self.own_error if self.own_error else float(self.error > 0) * inf or 1.0

    @property
    def overflows(self) -> bool:
        """Is it the same function, but in its own type beyond what that can hold where the first is not?"""
        return not self.passed and self.error == inf and self.exactness <= self.allowed

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        at = f"; at {', '.join(self.tried)}" if self.tried else ""
        notes = "".join(f"; {note}" for note in self.notes)
        if self.nothing:
            return f"nothing to compare: {self.nothing}{notes}{at}"
        if self.reference == OWN:
            numbers = f"off by {self.exactness:.1e} (allowed {self.allowed:.1e}), both in their own type"
        elif self.computed_in != OWN:
            numbers = (
                f"off by {self.exactness:.1e} in float64 (allowed {self.allowed:.1e}), by {self.error:.1e} in its own "
                f"type (the original by {self.own_error:.1e})"
            )
        else:
            numbers = f"off by {self.error:.1e} (allowed {self.allowed:.1e}), the original by {self.own_error:.1e}"
        places = f"interior {self.interior:.1e}, ring {self.ring:.1e}"
        return f"{'same' if self.passed else 'DIFFERENT'}: {numbers}; {places}{notes}{at}"


def concluded(
    findings: Sequence[Finding], tried: tuple[str, ...], no_float64: str = "", more: Sequence[str] = ()
) -> Verdict:
    """The worst of what was found. ``no_float64``: why the comparison was made without; ``more``: further notes."""
    judged = [f for f in findings if f.same is not None]
    notes = [f.note for f in findings if f.note]
    notes += [f"an output is {LOST}" for f in findings if f.why == LOST and judged]
    notes += [f"float64 cannot run: {no_float64}"] if no_float64 else []
    notes = list(dict.fromkeys([*notes, *more]))
    if not judged:
        why = sorted({f.why for f in findings} - {NO_TENSOR})
        nothing = f"what it returns is {' or '.join(why)}" if why else "it returns no tensor"
        return Verdict(False, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, tried, nothing, notes=tuple(notes))
    worst = max(judged, key=lambda f: (not f.same, f.exactness / f.allowed if f.allowed else float(f.exactness > 0)))
    return Verdict(
        passed=bool(worst.same),
        error=worst.error,
        own_error=worst.own_error,
        exactness=worst.exactness,
        allowed=worst.allowed,
        interior=max(f.interior for f in judged),
        ring=max(f.ring for f in judged),
        tried=tried,
        computed_in="float64" if worst.in_float64 else OWN,
        reference=OWN if no_float64 else "float64",
        notes=tuple(notes),
    )
