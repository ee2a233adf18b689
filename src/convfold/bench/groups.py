"""Models beside each other, in every runtime, at every batch, on every number of threads that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, product
from typing import Any

import torch
from torch import nn

from convfold.bench.rounds import Comparison, compare, torch_threads
from convfold.errors import ConvfoldError, InvalidInput
from convfold.frontends.torch.running.state import State
from convfold.runtimes import Call, Runtime, Share, runtime
from convfold.runtimes.base import leaves
from convfold.runtimes.exported import onnx_model
from convfold.verify import ILLEGAL_SIZE

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Entrant:
    """A model that takes part.

    Attributes:
        word: what it is called.
        model: as it was given: what is exported.
        module: what PyTorch runs; None of an ONNX model.
    """

    word: str
    model: Any
    module: nn.Module | None

    @property
    def runtime(self) -> str:
        """Where none was asked for."""
        return "onnxruntime" if self.module is None else "eager"


@dataclass(frozen=True)
class Row:
    """One comparison: of each model its runtime, which is the same but where none was asked for, and where its time
    goes, if that was.
    """

    runtimes: tuple[str, ...]
    batch: int | None  # None: that of the inputs as they came
    threads: int
    comparison: Comparison
    breakdowns: tuple[list[Share], ...] = ()

    @property
    def title(self) -> str:
        return _title(self.runtimes, self.batch, self.threads)

    def to_dict(self, words: Sequence[str]) -> dict[str, Any]:
        timed = self.comparison
        speedups = (None, *map(asdict, timed.speedups))
        models: list[dict[str, Any]] = []
        for word, name, t, speedup in zip(words, self.runtimes, timed.timings, speedups, strict=True):
            models.append({"model": word, "runtime": name, **asdict(t), "speedup": speedup})
        for found, shares in zip(models, self.breakdowns, strict=False):
            found["breakdown"] = list(map(asdict, shares))
        return {
            "runtime": ", ".join(dict.fromkeys(self.runtimes)),
            "batch": self.batch,
            "threads": self.threads,
            "warm_up": timed.warm_up,
            "settled": timed.settled,
            "models": models,
        }


def line_ups(entrants: Sequence[Entrant], names: Sequence[str], device: str) -> list[list[Runtime]]:
    """Of each row a runtime for every model: the same for all, or each its own where none is named.

    Raises:
        InvalidInput: one is unknown, is not installed or does not take one of the models.
    """
    rows = [[name for _ in entrants] for name in names] or [[e.runtime for e in entrants]]
    found = [[runtime(name, device) for name in row] for row in rows]
    for row in found:
        for entrant, each in zip(entrants, row, strict=True):
            each.check(entrant.model)
    return found


def measure(
    entrants: Sequence[Entrant],
    inputs: Mapping[int | None, Inputs],
    runtimes: Sequence[str] = (),
    threads: Sequence[int] = (),
    *,
    seconds: float = 5.0,
    breakdown: bool = False,
    progress: Callable[[str], None] = lambda stage: None,
) -> Iterator[Row]:
    """A row for every batch, runtime and number of threads, in this order; ``seconds`` for each.

    Args:
        entrants: the models; the first is what the others are compared with.
        inputs: by the size of their batch; None: as they came.
        runtimes: by name; none: PyTorch models run in eager, ONNX ones in ONNX Runtime.
        threads: torch's number where none is given.
        breakdown: which operators take the time?
        progress: is told what is being done.

    Raises:
        InvalidInput: a runtime does not take a model, or a PyTorch model does not run on its inputs: before anything is
            measured; or else where it comes to be known, that a model does not run in a runtime.
    """
    given = [x for args, kwargs in inputs.values() for x in leaves(args, kwargs)]
    rows = line_ups(entrants, runtimes, given[0].device.type if given else "cpu")
    groups = [_Group(entrants, batch, *each) for batch, each in inputs.items()]
    progress("running each model once")
    for group in groups:
        group.run_once()
    on = threads or (torch.get_num_threads(),)
    return chain.from_iterable(group.rows(rows, on, seconds, breakdown, progress) for group in groups)


class _Group:
    """Models with inputs of one batch."""

    def __init__(self, entrants: Sequence[Entrant], batch: int | None, args: Any, kwargs: Any) -> None:
        self.entrants, self.batch, self.args, self.kwargs = entrants, batch, args, kwargs
        self.state = State([e.module for e in entrants if e.module is not None], args, kwargs)
        self.exported: dict[int, Any] = {}

    def run_once(self) -> None:
        """Which also tells what they change."""
        for entrant in self.entrants:
            if entrant.module is not None:
                call = partial(entrant.module, *self.args, **self.kwargs)
                with self._or_one_line(entrant), torch.no_grad():
                    self.state.run(call)

    def rows(
        self,
        runtimes: Sequence[Sequence[Runtime]],
        threads: Sequence[int],
        seconds: float,
        breakdown: bool,
        progress: Callable[[str], None],
    ) -> Iterator[Row]:
        for each, n in product(runtimes, threads):
            yield self._row(each, n, seconds, breakdown, progress)
        self.exported.clear()  # no other group has these sizes

    def _row(self, runtimes: Sequence[Runtime], threads: int, seconds: float, breakdown: bool, progress: Any) -> Row:
        names = tuple(r.name for r in runtimes)
        title = _title(names, self.batch, threads)
        with torch_threads(threads):
            progress(f"preparing {title}")
            calls = [self._ready(i, each, threads) for i, each in enumerate(runtimes)]
            progress(f"measuring {title}")
            timed = compare(calls, seconds=seconds, threads=threads, state=self.state)
            if not breakdown:
                return Row(names, self.batch, threads, timed)
            progress(f"profiling {title}")
            found = [self._breakdown(i, each, threads) for i, each in enumerate(runtimes)]
            return Row(names, self.batch, threads, timed, tuple(found))

    def _ready(self, i: int, runtime: Runtime, threads: int) -> Call:
        """Run once without being watched: what is compiled at the first call is compiled then."""
        with self._or_one_line(self.entrants[i], runtime), self._put_back():
            call = runtime.ready(self._model(i, runtime), self.args, self.kwargs, threads)
            call()
            return call

    def _breakdown(self, i: int, runtime: Runtime, threads: int) -> list[Share]:
        with self._or_one_line(self.entrants[i], runtime), self._put_back():
            model = self._model(i, runtime)
            return runtime.breakdown(model, self.args, self.kwargs, threads, self.state.start_over)

    def _model(self, i: int, runtime: Runtime) -> Any:
        """As this runtime takes it; exported once for all that need it."""
        entrant = self.entrants[i]
        if not runtime.reads_onnx:
            return entrant.module
        if i not in self.exported:
            self.exported[i] = onnx_model(entrant.model, self.args, self.kwargs)
        return self.exported[i]

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        """What exporting and compiling change besides is not what a run does: only that is to be undone every time."""
        changing = self.state.changing
        with self.state.kept():
            yield
        self.state.changing = changing

    @contextmanager
    def _or_one_line(self, entrant: Entrant, runtime: Runtime | None = None) -> Iterator[None]:
        """A model that does not run is no failure of the measurement."""
        try:
            yield
        except (*ILLEGAL_SIZE, ConvfoldError) as e:
            at = "" if self.batch is None else f" at batch {self.batch}"
            where = "" if runtime is None or runtime.name == "eager" else f" in {runtime.name}"
            raise InvalidInput(f"{entrant.word} does not run on these inputs{at}{where}: {e}") from e


def _title(runtimes: Sequence[str], batch: int | None, threads: int) -> str:
    at = [] if batch is None else [f"batch {batch}"]
    return ", ".join([*dict.fromkeys(runtimes), *at, f"{threads} thread{'s' * (threads > 1)}"])
