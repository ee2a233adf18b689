"""Never slower than the original where it runs: stretches that make it so are put back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from convfold.bench import compare
from convfold.errors import InvalidInput
from convfold.report import Timed
from convfold.runtimes import Call, Runtime, runtime
from convfold.stages import Stages

#: What is lost to noise: slower by no more than this share is as fast.
NOISE = 0.02

#: Seconds for one comparison, and for all of them: what is at fault beyond that is not told from what is not.
ONCE, ALL = 2.0, 60.0


#: Makes a written model ready to run, the original where there is none.
Ready = Callable[[Runtime, int, Any], Call]


def guarded(stages: Stages[Any], ready: Ready) -> tuple[Stages[Any], Timed | str | None]:
    """The stages with every stretch written that does not make the model slower, and how fast it is then.

    As they are where no target is named nor anything measured; and, with the reason, where its runtime does not run the
    original.
    """
    config = stages.config
    it = stages.target
    if not config.guards or it is None:
        return stages, None
    run, threads = runtime(it.runtime, it.device), it.threads
    if stages.graph.device.type != run.device:
        return stages, f"the example lies on {stages.graph.device.type}, the target is of {run.device}"
    stages.write()
    names = stages.rewritten
    if not names:
        return stages, None
    stages.progress("time")
    try:
        original, end = ready(run, threads, None), perf_counter() + ALL
    except InvalidInput as e:
        return stages, str(e)
    known: dict[tuple[str, ...], Timed] = {}

    def timed(kept: Sequence[str]) -> Timed:
        key = tuple(kept)
        if key not in known:
            made = stages if key == names else stages.reopened(stages.left | (frozenset(names) - set(kept)), quiet=True)
            made.write()
            calls = [original, ready(run, threads, made.graph.model())]
            ratio = compare(calls, seconds=ONCE, threads=threads).speedups[0]
            known[key] = Timed(run.name, threads, ratio.median, ratio.low, ratio.high)
        return known[key]

    left = at_fault(names, lambda kept: perf_counter() < end and timed(kept).high >= 1 - NOISE)
    if not left:
        return stages, known[names]
    kept = [name for name in names if name not in left]
    return stages.reopened(stages.left | frozenset(left)), timed(kept) if kept else None


def at_fault(names: Sequence[str], fine: Callable[[Sequence[str]], bool]) -> list[str]:
    """Which of some must go, that what is left be ``fine``.

    By halves: a half that is fine alone is kept, one that is not is halved again. Halves that are fine alone and not
    together go together.
    """
    if fine(names):
        return []
    if len(names) == 1:
        return list(names)
    middle = len(names) // 2
    bad = [*at_fault(names[:middle], fine), *at_fault(names[middle:], fine)]
    kept = [name for name in names if name not in bad]
    return bad if bad and (not kept or fine(kept)) else list(names)
