"""Two models at one input after another: is the second the same function as the first, and by what is it judged?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Protocol

from convfold.comparison.judge import Finding, close, judge, judge_sampled, plausible, similar
from convfold.comparison.outputs import Output, paired
from convfold.comparison.rounding import UNITS
from convfold.comparison.trials import Inputs, Trial
from convfold.comparison.verdict import Verdict, concluded
from convfold.errors import InvalidInput

#: What a model raises on inputs too small or of the wrong shape for it.
ILLEGAL_SIZE = (RuntimeError, ValueError, IndexError, AssertionError, TypeError)

#: By how many times what is allowed a result of few numbers may be off for further inputs to be tried.
DOUBT = 16


class NotSampled(Exception):
    """A model cannot be run with its results rounded at random."""


class Runs(Protocol):
    """A model that can be run again and again, from one state: in its own types, in float64, and rounded at random."""

    @property
    def otherwise(self) -> bool:
        """Is float64 run by other code than its own types are, which may understand an operator otherwise?"""

    @property
    def notes(self) -> Sequence[str]:
        """What a verdict should say of how it was run."""

    def __call__(self, inputs: Inputs, /) -> list[Output]: ...

    def in_float64(self, inputs: Inputs, /) -> list[Output]: ...

    def rounded(self, inputs: Inputs, sample: int, /) -> list[Output]:
        """In its own types with every result rounded once more, at random, by so many `UNITS`.

        Raises:
            NotSampled: that cannot be done with it.
        """


class _NoFloat64(Exception):
    """A model runs in its own type and not in float64: an operator lacks it, or the program insists on its own."""


class _Empty(Exception):
    """The second does not run where a map has no elements left: a convolution takes none such, a crop gives one."""


class Comparison:
    """Two models at one trial after another, and what that has shown."""

    def __init__(self, first: Runs, second: Runs, thorough: bool) -> None:
        self.first, self.second, self.thorough = first, second, thorough
        self.findings: list[Finding] = []
        self.places: list[str] = []  # of the findings' outputs
        self.tried: list[str] = []
        self.refused = ""  # why the first model did not run
        self.empty = ""  # why the second did not, where there was nothing to compute
        self.no_float64 = ""  # why one does not run in float64
        self.rounding: dict[str, float] = {}  # of the first in its own type, by output

    def at(self, trial: Trial) -> bool:
        """Run both, unless the first refuses; a spare only if nothing has been compared so far. Was there anything?"""
        if trial.spare and any(f.same is not None for f in self.findings):
            return False
        try:
            own = self.first(trial.inputs)
            if trial.part is not None:
                exact = self._exact(trial.part, own)
                part = _items(own, exact) or self.first(trial.part)
        except ILLEGAL_SIZE as e:
            self.refused = self.refused or line(e)
            return False
        self.tried.append(trial.name)
        try:
            got = self._second(trial.inputs, own)
        except _Empty as e:
            self.empty = self.empty or str(e)
            self.tried.pop()
            return False
        known = bool(self.rounding) and not trial.exact
        if trial.part is not None:
            self._judge(trial.part, exact, part, self._second(trial.part, part))
            known = True
        if not known or not all(close(o, g, self.rounding.get(o.place, 0.0)) for o, g in zip(own, got, strict=True)):
            self._judge(trial.inputs, self._exact(trial.inputs, own), own, got)
        return any(y.value is not None and y.value.numel() > 0 for y in own)

    def verdict(self) -> Verdict:
        if not self.tried:
            raise InvalidInput(self.empty or f"the model does not run on its example inputs: {self.refused}")
        notes = dict.fromkeys((*self.first.notes, *self.second.notes))
        return concluded(self._findings(), tuple(dict.fromkeys(self.tried)), self.no_float64, tuple(notes))

    @property
    def doubtful(self) -> bool:
        """Would it pass if the first were known to be off by more, which a few numbers do not tell?"""
        wrong = [f for f in self._findings() if f.same is False]
        return bool(wrong) and all(f.few and f.exactness <= DOUBT * f.allowed for f in wrong)

    def _findings(self) -> list[Finding]:
        return [f.with_error_of(self.rounding.get(p, 0.0)) for f, p in zip(self.findings, self.places, strict=True)]

    def _second(self, inputs: Inputs, own: list[Output]) -> list[Output]:
        try:
            got = paired(own, self.second(inputs))
        except ILLEGAL_SIZE as e:
            why = f"the second model does not run at {self.tried[-1]}: {line(e)}"
            raise _Empty(why) if any(map(_is_of_nothing, own)) else InvalidInput(why) from e
        kinds = [[y.kind for y in each] for each in (own, got)]
        if kinds[0] != kinds[1]:
            said = [", ".join(each) or "none" for each in kinds]
            raise InvalidInput(f"the models return different outputs: {said[0]} and {said[1]}")
        return got

    def _exact(self, inputs: Inputs, own: list[Output]) -> list[Output] | None:
        """The first in float64; None if that says nothing its own type does not, or cannot be had."""
        if self.no_float64 or any(y.kind.startswith(("float64 ", "complex128 ")) for y in own):
            return None
        try:
            exact = paired(own, self.first.in_float64(inputs))
        except Exception as e:  # whatever the model or an operator has against another type
            self.no_float64 = line(e)
            return None
        if self.first.otherwise and not all(map(plausible, own, exact)):
            self.no_float64 = "it returns other numbers there"
            return None
        return exact

    def _judge(self, inputs: Inputs, exact: list[Output] | None, own: list[Output], got: list[Output]) -> None:
        """Against float64, or if that cannot be had, against each other."""
        if exact is not None and [_size(y) for y in exact] != [_size(y) for y in own]:
            self.no_float64, exact = "it returns other sizes", None
        try:
            found = self._by_samples(inputs, own, got) if exact is None else self._by_float64(inputs, exact, own, got)
        except _NoFloat64 as e:
            self.no_float64 = str(e)
            found = self._by_samples(inputs, own, got)
        self.findings += found
        self.places += [y.place for y in own]
        for y, f in zip(own, found, strict=True):
            if f.same is not None:
                self.rounding[y.place] = max(self.rounding.get(y.place, 0.0), f.own_error)

    def _by_float64(self, inputs: Inputs, exact: list[Output], own: list[Output], got: list[Output]) -> list[Finding]:
        @cache
        def wide() -> list[Output]:
            try:
                found = paired(exact, self.second.in_float64(inputs))
            except Exception as e:
                raise _NoFloat64(f"the second: {line(e)}") from e
            if len(found) != len(exact):
                raise _NoFloat64("the second returns something else")
            return found

        values = enumerate(zip(exact, own, got, strict=True))
        return [judge(e, o, g, lambda i=i: wide()[i], self.thorough) for i, (e, o, g) in values]  # type: ignore[misc]

    def _by_samples(self, inputs: Inputs, own: list[Output], got: list[Output]) -> list[Finding]:
        @cache
        def sample(k: int) -> list[Output]:
            return paired(own, self.first.rounded(inputs, k))

        values = enumerate(zip(own, got, strict=True))
        try:
            return [judge_sampled(o, g, (sample(k)[i] for k in range(len(UNITS)))) for i, (o, g) in values]
        except NotSampled as e:
            return [Finding(None, f"of unknown rounding ({e})") for _ in own]


def _items(own: list[Output], exact: list[Output] | None) -> list[Output]:
    """The first items of a batch's outputs, as many as float64 computed; none if they are not the same numbers."""
    if exact is None or len(own) != len(exact):
        return []
    found = []
    for y, e in zip(own, exact, strict=True):
        if y.value is not None and e.value is not None and y.value.dim() and y.value.dim() == e.value.dim():
            kind = " ".join((y.kind.partition(" ")[0], e.kind.partition(" ")[2]))
            y = replace(y, value=y.value[: len(e.value)], kind=kind)
        if _size(y) != _size(e) or not similar(y, e):
            return []
        found.append(y)
    return found


def _is_of_nothing(y: Output) -> bool:
    """Without elements, or the mean of such."""
    return y.value is not None and bool(y.value.numel() == 0 or y.value.isnan().all())


def _size(y: Output) -> tuple[int, ...] | None:
    return None if y.value is None else tuple(y.value.shape)


def line(e: BaseException) -> str:
    text = str(e).strip()
    return text.splitlines()[0][:300] if text else type(e).__name__
