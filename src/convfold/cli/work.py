"""What each command does, once its words are parsed: load, call, print. From here on there is torch."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import convfold
from convfold.arguments import Free, Origin, Shape
from convfold.cli import show
from convfold.cli.failures import DIFFERENT, FAILED, UNCHANGED, fail, failed
from convfold.cli.messages import say
from convfold.cli.progress import Stage
from convfold.cli.session import Session
from convfold.cli.targets import Target, stored, targets
from convfold.config import FoldConfig
from convfold.errors import ConvfoldError, InvalidInput

if TYPE_CHECKING:
    from convfold.inputs import Inputs
    from convfold.loading import Model
    from convfold.report import Report


@dataclass(frozen=True)
class Asked:
    """What holds for every model of one command."""

    shapes: Sequence[Shape]
    free: Sequence[Free]
    config: FoldConfig
    opset: int | None = None


def fold(
    session: Session,
    origins: Sequence[Origin],
    output: Path | None,
    in_place: bool,
    asked: Asked,
    require_change: bool,
    as_json: bool,
    every: bool,
) -> int:
    """``convfold fold``."""
    with stored(origins) as given:
        wanted = targets(given, output, in_place)
        if len(wanted) == 1 and not any(origin.is_folder for origin in origins):
            return _fold_one(session, wanted[0], asked, require_change, as_json, every)
        return _fold_all(session, wanted, asked, require_change, as_json)


def _fold_one(session: Session, target: Target, asked: Asked, require_change: bool, as_json: bool, every: bool) -> int:
    with session.output() as out:
        with session.working() as stage:
            report, data = _folded(target, asked, require_change, stage)
        if target.path is None and data:
            out.flush()
            out.buffer.write(data)
            show.report(report, as_json, every, sys.stderr)
        else:
            show.report(report, as_json, every, out)
    if data is None:
        return fail("nothing to fold; nothing is written", UNCHANGED)
    if not session.quiet and target.path is not None:
        say(f"wrote {target.word}")
    return 0


def _fold_all(session: Session, wanted: Sequence[Target], asked: Asked, require_change: bool, as_json: bool) -> int:
    """One after the other; one that fails is said, and does not keep the others from their turn."""
    code, done = 0, []
    with session.output() as out:
        for target in wanted:
            report, said = None, 0
            try:
                with session.working() as stage:
                    report, data = _folded(target, asked, require_change, stage)
                if data is None:
                    said = fail(f"{target.origin.word}: nothing to fold; nothing is written", UNCHANGED)
            except (ConvfoldError, OSError, MemoryError) as e:
                said = failed(e, session.debug, target.origin.word)
            code = code or said
            done.append((target.origin.word, report, said))
        show.summary(done, as_json, out)
    return code


def _folded(target: Target, asked: Asked, require_change: bool, stage: Stage) -> tuple[Report, bytes | None]:
    """The report, and what is for standard output; None where nothing was folded, and so nothing is written."""
    model = _found(target.origin, asked.shapes, stage)
    result = convfold.fold(
        model.lifted(asked.opset),
        *model.inputs,
        dynamic_shapes=model.dynamic_shapes(asked.free),
        config=asked.config,
        progress=stage,
    )
    if require_change and not result.report.changed:
        return result.report, None
    if target.path is None:
        with tempfile.TemporaryDirectory(prefix="convfold-") as folder:
            path = Path(folder) / f"stdout{model.suffix}"
            result.save(path)
            return result.report, path.read_bytes()
    if target.backup and model.is_onnx and result.beside:
        raise InvalidInput(
            f"{target.word}: its weights are in files beside it, which a copy of this one alone would not keep; "
            "write to another file with --output"
        )
    stage(f"writing {target.word}")
    target.keep()
    result.save(target.path)
    return result.report, b""


def explain(
    session: Session,
    origin: Origin,
    shapes: Sequence[Shape],
    free: Sequence[Free],
    config: FoldConfig,
    trace: str | None,
    as_json: bool,
    every: bool,
) -> int:
    """``convfold explain``."""
    with session.output() as out:
        with session.working() as stage:
            report = _explained(origin, Asked(shapes, free, config), stage, trace)
        show.report(report, as_json, every, out)
    return 0


def report(session: Session, origin: Origin, path: Path, asked: Asked) -> int:
    """``convfold report``."""
    with session.output(), session.working() as stage:
        model = _found(origin, asked.shapes, stage)
        act = convfold.explain if asked.config.check == "none" else convfold.fold
        free = model.dynamic_shapes(asked.free)
        found = act(model.value, *model.inputs, dynamic_shapes=free, config=asked.config, progress=stage)
        stage(f"writing {path}")
        (found if isinstance(found, convfold.Report) else found.report).save(path, origin.word)
    if not session.quiet:
        say(f"wrote {path}")
    return 0


def diff(session: Session, compared: tuple[Origin | Path, Origin | Path], asked: Asked, as_json: bool) -> int:
    """``convfold diff``."""
    from convfold.difference import Difference, read

    with session.output() as out:
        with session.working() as stage:
            found = [
                read(each) if isinstance(each, Path) else _explained(each, asked, stage).to_dict() for each in compared
            ]
        a, b = (each.name if isinstance(each, Path) else each.word for each in compared)
        show.difference(Difference.of(*found), (a, b), as_json, out)
    return 0


def _explained(origin: Origin, asked: Asked, stage: Stage, trace: str | None = None) -> Report:
    model = _found(origin, asked.shapes, stage)
    free = model.dynamic_shapes(asked.free)
    how: dict[str, Any] = {"dynamic_shapes": free, "config": asked.config, "progress": stage, "trace": trace}
    return convfold.explain(model.value, *model.inputs, **how)


def verify(session: Session, a: Origin, b: Origin, shapes: Sequence[Shape], as_json: bool) -> int:
    """``convfold verify``."""
    with session.output() as out:
        with session.working() as stage:
            first, second = _found(a, shapes, stage), _found(b, (), stage)
            stage("verify")
            drawn = first.is_onnx and not any(first.inputs)  # from what it declares, at several sizes
            inputs = () if drawn else _inputs_of(first, second)
            verdict = convfold.verify(first.module, second.module, *inputs)
        show.verdict(verdict, as_json, out)
    return 0 if verdict.passed else DIFFERENT


@dataclass(frozen=True)
class Race:
    """How models are timed."""

    shapes: Sequence[Shape]
    runtimes: Sequence[str]
    batches: Sequence[int]
    threads: Sequence[int]
    seconds: float
    profile: bool


def bench(session: Session, origins: Sequence[Origin], asked: Race, as_json: bool) -> int:
    """``convfold bench``."""
    with session.output() as out:
        with session.working() as stage:
            import torch

            from convfold import bench
            from convfold.runtimes import runtime

            machine = bench.Machine.here()
            for name in asked.runtimes:
                runtime(name).versions()  # one that is not installed is said before anything is loaded
            models = [_found(o, asked.shapes if i == 0 else (), stage) for i, o in enumerate(origins)]
            inputs = _batched(models, asked.batches)
            entrants = [m.entrant for m in models]
            threads = asked.threads or (torch.get_num_threads(),)
            versions = bench.versions(entrants, asked.runtimes)
            measured = bench.measure(
                entrants,
                inputs,
                asked.runtimes,
                threads,
                seconds=asked.seconds,
                breakdown=asked.profile,
                progress=stage,
            )
            if machine.busy(max(threads)):
                say(f"convfold: warning: {machine.why_busy}")
            result = bench.Bench(tuple(m.word for m in models), machine, versions, tuple(measured))
        show.bench(result, as_json, out)
    return 0


def calibrate(session: Session, runtime: str, path: Path, threads: int, device: str, seconds: float) -> int:
    """``convfold calibrate``."""
    from convfold.calibration import calibrate

    with session.output() as out:
        with session.working() as stage:
            found = calibrate(runtime, path, threads=threads, device=device, seconds=seconds, progress=stage)
        show.target(found, out)
    if not session.quiet:
        say(f"wrote {path}")
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
    """Those the first that has any comes with; of ONNX they can be drawn where no other has some."""
    own = next((m for m in models if m.example and not m.is_onnx), None)
    return (own or next((m for m in models if m.is_onnx), models[0])).drawn()


def _batched(models: Sequence[Model], batches: Sequence[int]) -> dict[int | None, Inputs]:
    """What all are called with, by the size of the batch; None: as it came."""
    from convfold.inputs import at_batch

    for model in models:
        if batches and (fixed := model.fixed_batch) is not None and {*batches} != {fixed}:
            other = next(n for n in batches if n != fixed)
            raise InvalidInput(f"--batch {other}: {model.word} fixes its batch at {fixed}; export it with a free one")
    inputs = _inputs_of(*models)
    return {n: at_batch(inputs, n) for n in batches} or {None: inputs}
