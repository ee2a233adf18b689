"""What each command does, once its words are parsed: load, call, print. From here on there is torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import convfold
from convfold.arguments import Free, Origin, Shape
from convfold.cli import show
from convfold.cli.failures import DIFFERENT, FAILED, UNCHANGED, fail
from convfold.cli.messages import say
from convfold.cli.progress import Stage
from convfold.cli.session import Session
from convfold.config import FoldConfig
from convfold.errors import InvalidInput
from convfold.saving import refuse_output

if TYPE_CHECKING:
    from convfold.inputs import Inputs
    from convfold.loading import Model


def fold(
    session: Session,
    origin: Origin,
    output: Path,
    shapes: Sequence[Shape],
    free: Sequence[Free],
    config: FoldConfig,
    require_change: bool,
    as_json: bool,
) -> int:
    """``convfold fold``."""
    refuse_output(output)
    target = output.absolute()  # the user's code may change the folder
    with session.output() as out:
        with session.working() as stage:
            model = _found(origin, shapes, stage)
            asked = model.dynamic_shapes(free)
            result = convfold.fold(model.value, *model.inputs, dynamic_shapes=asked, config=config, progress=stage)
            written = result.report.changed or not require_change
            if written:
                stage(f"writing {output}")
                result.save(target)
        show.report(result.report, as_json, out)
    if not written:
        return fail("nothing to fold; nothing is written", UNCHANGED)
    if not session.quiet:
        say(f"wrote {output}")
    return 0


def explain(
    session: Session,
    origin: Origin,
    shapes: Sequence[Shape],
    free: Sequence[Free],
    config: FoldConfig,
    trace: str | None,
    as_json: bool,
) -> int:
    """``convfold explain``."""
    with session.output() as out:
        with session.working() as stage:
            model = _found(origin, shapes, stage)
            asked = model.dynamic_shapes(free)
            report = convfold.explain(
                model.value, *model.inputs, dynamic_shapes=asked, config=config, progress=stage, trace=trace
            )
        show.report(report, as_json, out)
    return 0


def verify(session: Session, a: Origin, b: Origin, shapes: Sequence[Shape], as_json: bool) -> int:
    """``convfold verify``."""
    with session.output() as out:
        with session.working() as stage:
            first, second = _found(a, shapes, stage), _found(b, (), stage)
            stage("verify")
            verdict = convfold.verify(first.module, second.module, *_inputs_of(first, second))
        show.verdict(verdict, as_json, out)
    return 0 if verdict.passed else DIFFERENT


def bench(
    session: Session,
    origins: Sequence[Origin],
    shapes: Sequence[Shape],
    threads: int | None,
    seconds: float,
    as_json: bool,
) -> int:
    """``convfold bench``."""
    with session.output() as out:
        with session.working() as stage:
            models = [_found(o, shapes if i == 0 else (), stage) for i, o in enumerate(origins)]
            from convfold.bench import compare
            from convfold.frontends.torch.running.state import State

            args, kwargs = _inputs_of(*models)
            modules = [m.module for m in models]
            calls = [lambda run=module: run(*args, **kwargs) for module in modules]
            state = State(modules, args, kwargs)
            stage("measuring")
            for model, call in zip(models, calls, strict=True):
                _try(model, lambda call=call: state.run(call))  # type: ignore[misc]
            comparison = compare(calls, seconds=seconds, threads=threads, state=state)
        show.comparison([m.word for m in models], comparison, as_json, out)
    return 0


def demo(session: Session) -> int:
    """``convfold demo``."""
    from convfold.demo import demo

    @contextmanager
    def doing(what: str) -> Iterator[None]:
        with session.working() as stage:
            stage(what)
            yield

    with session.output() as out:
        same = demo(show.console(out), doing)
    return 0 if same else FAILED


def _found(origin: Origin, shapes: Sequence[Shape], stage: Stage) -> Model:
    stage(f"loading {origin.word}")
    from convfold.loading import find

    return find(origin, shapes)


def _inputs_of(*models: Model) -> Inputs:
    """Those the first that has any comes with."""
    return next((m for m in models if m.example), models[0]).inputs


def _try(model: Model, call: Callable[[], Any]) -> None:
    """A model that does not run is no failure of the measurement."""
    import torch

    from convfold.verify import ILLEGAL_SIZE

    try:
        with torch.no_grad():
            call()
    except ILLEGAL_SIZE as e:
        raise InvalidInput(f"{model.word} does not run on these inputs: {e}") from e
