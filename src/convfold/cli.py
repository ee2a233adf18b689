"""The command line: parse, call, print. Data goes to standard output, progress and errors to standard error.

Exit codes: 0 done, 1 failed, 2 usage, 3 verification failed (nothing written), 4 nothing folded (--require-change).
"""

from __future__ import annotations

import json
import logging
import math
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import click
import torch
from rich.console import Console
from rich.table import Table

import convfold
from convfold.arguments import BadUsage, Free, Shape
from convfold.bench import Comparison, compare
from convfold.config import FoldConfig
from convfold.errors import BORDERS, ConvfoldError, InvalidInput, VerificationFailed
from convfold.loading import Inputs, Model, find
from convfold.saving import refuse_output
from convfold.state import State
from convfold.verify import ILLEGAL_SIZE

FAILED, USAGE, DIFFERENT, UNCHANGED, INTERRUPTED = 1, 2, 3, 4, 130

#: What each stage of a fold is doing, for the one who waits.
STAGES = {
    "read": "exporting the model",
    "lift": "finding its affine regions",
    "plan": "choosing the cheapest form",
    "lower": "composing the weights",
    "verify": "comparing with the original in float64",
}


class Commands(click.Group):
    """Every failure is one line on standard error and an exit code; the traceback only with --debug."""

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as e:
            click.echo(e.format_message(), err=True)
            code = USAGE
        except click.ClickException as e:
            code = _fail(e.format_message(), e.exit_code)
        except click.Abort:
            code = _fail("interrupted", INTERRUPTED)
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _torch_quiet(ctx):
                return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except BadUsage as e:
            return _fail(str(e), USAGE)
        except VerificationFailed as e:
            return _fail(str(e), DIFFERENT)
        except ConvfoldError as e:
            _trace(ctx)
            return _fail(str(e), FAILED)
        except OSError as e:  # the disk is full, the file unreadable
            _trace(ctx)
            return _fail(str(e), FAILED)
        except Exception as e:
            _trace(ctx)
            hint = "" if _has(ctx, "debug") else " (run with --debug for the traceback)"
            return _fail(f"{type(e).__name__}: {e}{hint}", FAILED, "internal error")


F = TypeVar("F", bound=Callable[..., Any])


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _remembered(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[f"convfold.{param.name}"] = value or _has(ctx, str(param.name))
    if param.name == "debug" and value and ctx.parent:
        _silence(False)


def _parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], Any]:
    """For options with a grammar of their own."""

    def convert(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Any, ...]:
        try:
            return tuple(map(parse, values))
        except BadUsage as e:
            raise click.BadParameter(str(e), ctx, param) from e

    return convert


_everywhere = _options(
    click.option("--quiet", is_flag=True, expose_value=False, callback=_remembered, help="No progress on stderr."),
    click.option(
        "--debug", is_flag=True, expose_value=False, callback=_remembered, help="Tracebacks and torch's own messages."
    ),
)
_inputs = click.option(
    "--input",
    "shapes",
    metavar="NAME:SHAPE",
    callback=_parsed(Shape.parse),
    multiple=True,
    help="An input drawn at random, e.g. x:1,3,224,224 or x:1,77:int64. Repeat for each. "
    "Not needed where IN comes with its own.",
)
_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")
_how = _options(
    click.option(
        "--dynamic",
        "free",
        metavar="batch|all|none|NAME:DIMS",
        callback=_parsed(Free.parse),
        multiple=True,
        help="Sizes that may change later: batch (the default), all, none, or e.g. x:0,2,3. Costs are taken at the "
        "example's sizes.",
    ),
    click.option("--objective", type=click.Choice(["time", "macs"]), default="time", help="What to minimise."),
    click.option(
        "--border",
        type=click.Choice(BORDERS),
        default="exact",
        help="Where one convolution differs from a chain at the border: mend it, leave the chain, or let it differ.",
    ),
    click.option("--exclude", multiple=True, metavar="GLOB", help="Module paths to leave alone, e.g. 'head.*'."),
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(convfold.__version__, prog_name="convfold", message="%(prog)s %(version)s")
@_everywhere
def main() -> None:
    """Rewrite the linear parts of a neural network into their cheapest exactly equal form.

    IN is a .pt2 file, or package.module:factory, a function (the current folder is searched too) that gives an
    nn.Module in eval mode or a tuple (module, args).
    """


@main.command("fold")
@click.argument("model", metavar="IN")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A .pt2 or .onnx file.")
@_inputs
@_how
@click.option("--require-change", is_flag=True, help="Write nothing and exit with 4 if nothing was folded.")
@click.option("--no-verify", is_flag=True, help="Do not compare the result with the original.")
@_json
@_everywhere
@click.pass_context
def fold_command(
    ctx: click.Context,
    model: str,
    output: Path,
    shapes: tuple[Shape, ...],
    free: tuple[Free, ...],
    objective: str,
    border: str,
    exclude: tuple[str, ...],
    require_change: bool,
    no_verify: bool,
    as_json: bool,
) -> None:
    """Fold IN, verify the result against it, and write it to a file."""
    refuse_output(output)
    config = FoldConfig(objective, exclude, not no_verify, border)
    found, asked = _found(model, shapes, free)
    with _progress(ctx) as stage:
        result = convfold.fold(found.value, *found.inputs, dynamic_shapes=asked, config=config, progress=stage)
        written = result.report.changed or not require_change
        if written:
            stage(f"writing {output}")
            result.save(output)
    _report(result.report, as_json)
    if not written:
        ctx.exit(_fail("nothing to fold; nothing is written", UNCHANGED))
    if not _has(ctx, "quiet"):
        click.echo(f"wrote {output}", err=True)


@main.command("explain")
@click.argument("model", metavar="IN")
@_inputs
@_how
@_json
@_everywhere
@click.pass_context
def explain_command(
    ctx: click.Context,
    model: str,
    shapes: tuple[Shape, ...],
    free: tuple[Free, ...],
    objective: str,
    border: str,
    exclude: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what would be folded in IN and what would not, and why; write nothing."""
    config = FoldConfig(objective, exclude, border=border)
    found, asked = _found(model, shapes, free)
    with _progress(ctx) as stage:
        report = convfold.explain(found.value, *found.inputs, dynamic_shapes=asked, config=config, progress=stage)
    _report(report, as_json)


@main.command("verify")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@_inputs
@_json
@_everywhere
@click.pass_context
def verify_command(ctx: click.Context, a: str, b: str, shapes: tuple[Shape, ...], as_json: bool) -> None:
    """Does B compute what A does, up to twice A's own rounding error? Exit code 3 if not, or nothing to compare."""
    first, second = find(a, shapes), find(b)
    with _progress(ctx) as stage:
        stage("verify")
        verdict = convfold.verify(first.module, second.module, *_inputs_of(first, second))
    if as_json:
        _print_json(verdict.to_dict())
    else:
        click.echo(str(verdict))
    ctx.exit(0 if verdict.passed else DIFFERENT)


@main.command("bench")
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@_inputs
@click.option("--threads", type=click.IntRange(1), help="Threads to compute with; torch's own choice otherwise.")
@click.option("--seconds", type=click.FloatRange(0), default=5.0, show_default=True, help="How long to measure.")
@_json
@_everywhere
@click.pass_context
def bench_command(
    ctx: click.Context,
    a: str,
    b: str | None,
    shapes: tuple[Shape, ...],
    threads: int | None,
    seconds: float,
    as_json: bool,
) -> None:
    """Time A, or A and B in turns: medians, and how many times faster B is."""
    models = [find(a, shapes)] + ([find(b)] if b else [])
    args, kwargs = _inputs_of(*models)
    modules = [m.module for m in models]
    calls = [lambda run=module: run(*args, **kwargs) for module in modules]
    state = State(modules, args, kwargs)
    with _progress(ctx) as stage:
        stage("measuring")
        for model, call in zip(models, calls, strict=True):
            _try(model, lambda call=call: state.run(call))  # type: ignore[misc]
        comparison = compare(calls, seconds=seconds, threads=threads, state=state)
    if as_json:
        _print_json({"models": [m.word for m in models], **comparison.to_dict()})
    else:
        _console().print(_timings(models, comparison))


@main.command("demo")
@_everywhere
@click.pass_context
def demo_command(ctx: click.Context) -> None:
    """Train a small network on handwritten digits, fold it, and compare: about a minute."""
    from convfold.demo import demo

    stderr = Console(stderr=True)
    silent = _has(ctx, "quiet") or not stderr.is_terminal
    same = demo(_console(), lambda doing: nullcontext() if silent else stderr.status(f"{doing} …"))
    ctx.exit(0 if same else FAILED)


def _found(word: str, shapes: tuple[Shape, ...], free: tuple[Free, ...]) -> tuple[Model, Any]:
    model = find(word, shapes)
    return model, model.dynamic_shapes(free)


def _inputs_of(*models: Model) -> Inputs:
    """Those the first that has any comes with."""
    return next((m for m in models if m.example), models[0]).inputs


def _try(model: Model, call: Callable[[], Any]) -> None:
    try:
        with torch.no_grad():
            call()
    except ILLEGAL_SIZE as e:
        raise InvalidInput(f"{model.word} does not run on these inputs: {e}") from e


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=110)


def _report(report: convfold.Report, as_json: bool) -> None:
    if as_json:
        _print_json(report.to_dict())
    else:
        report.print(_console())


def _print_json(data: Any) -> None:
    click.echo(json.dumps(_finite(data), indent=2))


def _finite(data: Any) -> Any:
    """JSON knows no infinity: null in its place."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _timings(models: list[Model], comparison: Comparison) -> Table:
    plural = "s" if comparison.threads > 1 else ""
    table = Table(box=None, pad_edge=False)
    for heading in (f"{comparison.threads} thread{plural}", "median", "middle half", "rounds", "speed-up"):
        table.add_column(heading, justify="left" if "thread" in heading else "right")
    for model, t, last in zip(models, comparison.timings, [*[False] * (len(models) - 1), len(models) > 1], strict=True):
        spread = f"{1e3 * t.low:.3g} – {1e3 * t.high:.3g} ms"
        faster = f"{comparison.speedup:.2f} ×" if last else ""
        table.add_row(model.word, f"{1e3 * t.median:.3g} ms", spread, str(t.rounds), faster)
    return table


@contextmanager
def _progress(ctx: click.Context) -> Iterator[Callable[[str], None]]:
    """Shows the stage while a terminal is watching; leaves nothing behind."""
    console = Console(stderr=True)
    if _has(ctx, "quiet") or not console.is_terminal:
        yield lambda stage: None
    else:
        with console.status("…") as status:
            yield lambda stage: status.update(STAGES.get(stage, stage) + " …")


@contextmanager
def _torch_quiet(ctx: click.Context) -> Iterator[None]:
    """torch warns about its own internals, which is no part of our output; --debug shows it."""
    before = logging.root.manager.disable
    try:
        with warnings.catch_warnings():
            _silence(not _has(ctx, "debug"))
            yield
    finally:
        logging.disable(before)


def _silence(silent: bool) -> None:
    logging.disable(logging.WARNING if silent else logging.NOTSET)
    warnings.simplefilter("ignore" if silent else "default")


def _has(ctx: click.Context, flag: str) -> bool:
    return bool(ctx.meta.get(f"convfold.{flag}"))


def _trace(ctx: click.Context) -> None:
    if _has(ctx, "debug"):
        traceback.print_exc()


def _fail(message: str, code: int, kind: str = "error") -> int:
    """One line, whatever was in it."""
    click.echo(f"convfold: {kind}: {' '.join(message.split())}", err=True)
    return code
