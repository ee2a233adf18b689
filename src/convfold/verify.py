"""Is the folded model the same function? Both are run from one state, and compared with the original in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from convfold.comparison.judge import Finding, close, judge, judge_sampled, similar
from convfold.comparison.outputs import Output, outputs, paired
from convfold.comparison.rounding import UNITS, RoundingAtRandom
from convfold.comparison.trials import Inputs, Trial, at_example, randomised
from convfold.comparison.verdict import Verdict, concluded
from convfold.errors import InvalidInput
from convfold.frontends.torch.running.precision import run_in
from convfold.frontends.torch.running.state import State, Watch

__all__ = ["Verdict", "verify"]

#: What a model raises on inputs too small or of the wrong shape for it.
ILLEGAL_SIZE = (RuntimeError, ValueError, IndexError, AssertionError, TypeError)


def verify(
    model_a: nn.Module | ExportedProgram,
    model_b: nn.Module | ExportedProgram,
    args: Any,
    kwargs: dict[str, Any] | None = None,
    *,
    more: Sequence[tuple[str, Inputs]] = (),
    seed: int = 0,
    trials: Sequence[Trial] | None = None,
    thorough: bool = True,
) -> Verdict:
    """Compare two models that should compute the same, on the example and on random inputs of its size.

    Neither model is changed: whatever a run writes (buffers, attributes, random numbers) is put back after it.

    Args:
        model_a: the reference; it is run in float64 too.
        model_b: the one to judge.
        args, kwargs: example inputs.
        more: further inputs (at other sizes), each with a name for the report; sizes model_a refuses are passed over.
        seed: of the random inputs, and of what the models draw themselves.
        trials: what to compare at instead of all that.
        thorough: compute model_b in float64 even where its own type settles that it is the same.

    Raises:
        InvalidInput: the inputs do not fit, or the outputs have different structure.
    """
    args = (args,) if isinstance(args, Tensor) else args
    if not isinstance(args, tuple | list):
        raise InvalidInput(f"args must be a tuple of the models' inputs, got {type(args).__name__}")
    example: Inputs = (tuple(args), dict(kwargs or {}))
    if trials is None:
        generator = torch.Generator().manual_seed(seed)
        others = [Trial(name, randomised(inputs, generator), exact=False) for name, inputs in more]
        trials = [*at_example(example, seed), *others]
    with torch.no_grad():
        comparison = _Comparison(_module(model_a), _module(model_b), trials, seed, thorough)
        for trial in trials:
            comparison.at(trial)
    return comparison.verdict()


def _module(model: object) -> nn.Module:
    if isinstance(model, ExportedProgram):
        return model.module()
    if isinstance(model, nn.Module):
        for name, p in (*model.named_parameters(), *model.named_buffers()):
            if nn.parameter.is_lazy(p):
                raise InvalidInput(f"{name!r} has no shape yet, and a run would give it one: run the model once first")
        return model
    raise InvalidInput(f"cannot verify a {type(model).__name__}; give an nn.Module or an ExportedProgram")


class _Runs:
    """One of the models, run from the state it came in."""

    def __init__(self, model: nn.Module, inputs: Sequence[Inputs], seed: int) -> None:
        self.model, self.seed, self.state = model, seed, State(model, inputs)
        units = [torch.finfo(t.dtype).eps for t in self.state.tensors if t.is_floating_point()]
        self.read = partial(outputs, apart=self.state.apart, coarsest=max(units, default=0.0))

    def __call__(self, inputs: Inputs, mode: Watch | None = None) -> list[Output]:
        args, kwargs = inputs
        return self.state.run(lambda: self.read(self.model(*args, **kwargs)), mode, self.seed)

    def in_float64(self, inputs: Inputs) -> list[Output]:
        found = run_in(torch.float64, self.model, *inputs, state=self.state, read=self.read, seed=self.seed)
        return found  # type: ignore[no-any-return]


class _NoFloat64(Exception):
    """A model runs in its own type and not in float64: an operator lacks it, or the program insists on its own."""


class _Empty(Exception):
    """The second does not run where a map has no elements left: a convolution takes none such, a crop gives one."""


class _Comparison:
    """Two models at one trial after another, and what that has shown."""

    def __init__(self, a: nn.Module, b: nn.Module, trials: Sequence[Trial], seed: int, thorough: bool) -> None:
        inputs = [x for t in trials for x in (t.inputs, t.part) if x is not None]
        self.first, self.second, self.thorough = _Runs(a, inputs, seed), _Runs(b, inputs, seed), thorough
        self.findings: list[Finding] = []
        self.tried: list[str] = []
        self.refused = ""  # why the first model did not run
        self.empty = ""  # why the second did not, where there was nothing to compute
        self.no_float64 = ""  # why one does not run in float64
        self.rounding: dict[str, float] = {}  # of the first in its own type, by output

    def at(self, trial: Trial) -> None:
        """Run both, unless the first refuses; a spare only if nothing has been compared so far."""
        if trial.spare and any(f.same is not None for f in self.findings):
            return
        try:
            own = self.first(trial.inputs)
            if trial.part is not None:
                exact = self._exact(trial.part, own)
                part = _items(own, exact) or self.first(trial.part)
        except ILLEGAL_SIZE as e:
            self.refused = self.refused or _line(e)
            return
        self.tried.append(trial.name)
        try:
            got = self._second(trial.inputs, own)
        except _Empty as e:
            self.empty = self.empty or str(e)
            self.tried.pop()
            return
        known = bool(self.rounding) and not trial.exact
        if trial.part is not None:
            self._judge(trial.part, exact, part, self._second(trial.part, part))
            known = True
        if not known or not all(close(o, g, self.rounding.get(o.place, 0.0)) for o, g in zip(own, got, strict=True)):
            self._judge(trial.inputs, self._exact(trial.inputs, own), own, got)

    def verdict(self) -> Verdict:
        if not self.tried:
            raise InvalidInput(self.empty or f"the model does not run on its example inputs: {self.refused}")
        return concluded(self.findings, tuple(self.tried), self.no_float64)

    def _second(self, inputs: Inputs, own: list[Output]) -> list[Output]:
        try:
            got = paired(own, self.second(inputs))
        except ILLEGAL_SIZE as e:
            why = f"the second model does not run at {self.tried[-1]}: {_line(e)}"
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
            return paired(own, self.first.in_float64(inputs))
        except Exception as e:  # whatever the model or an operator has against another type
            self.no_float64 = _line(e)
            return None

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
        for y, f in zip(own, found, strict=True):
            if f.same is not None:
                self.rounding[y.place] = max(self.rounding.get(y.place, 0.0), f.own_error)

    def _by_float64(self, inputs: Inputs, exact: list[Output], own: list[Output], got: list[Output]) -> list[Finding]:
        @cache
        def wide() -> list[Output]:
            try:
                found = paired(exact, self.second.in_float64(inputs))
            except Exception as e:
                raise _NoFloat64(f"the second: {_line(e)}") from e
            if len(found) != len(exact):
                raise _NoFloat64("the second returns something else")
            return found

        values = enumerate(zip(exact, own, got, strict=True))
        return [judge(e, o, g, lambda i=i: wide()[i], self.thorough) for i, (e, o, g) in values]  # type: ignore[misc]

    def _by_samples(self, inputs: Inputs, own: list[Output], got: list[Output]) -> list[Finding]:
        @cache
        def sample(k: int) -> list[Output]:
            return paired(own, self.first(inputs, RoundingAtRandom(self.first.state, k)))

        values = enumerate(zip(own, got, strict=True))
        return [judge_sampled(o, g, (sample(k)[i] for k in range(len(UNITS)))) for i, (o, g) in values]


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


def _line(e: BaseException) -> str:
    text = str(e).strip()
    return text.splitlines()[0][:300] if text else type(e).__name__
