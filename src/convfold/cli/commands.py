"""The commands and their options: what may be typed. Nothing here needs torch; `work` does what was asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

import convfold
from convfold.arguments import RUNTIMES, BadUsage, Free, Origin, Shape, refuse_repeated
from convfold.cli.failures import Commands
from convfold.cli.session import Session
from convfold.config import CHECKS, OBJECTIVES, FoldConfig
from convfold.errors import BORDERS, InvalidInput
from convfold.files import refuse_no_file

#: Threads beyond any machine's use, seconds beyond any patience, and samples beyond any memory.
_THREADS, _SECONDS, _BATCH = max(256, os.cpu_count() or 1), 24 * 60 * 60, 2**40

F = TypeVar("F", bound=Callable[..., Any])


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _remembered(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Before the command's name or after it."""
    session = ctx.ensure_object(Session)
    if value:
        setattr(session, str(param.name), True)


def _parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], Any]:
    """For options with a grammar of their own."""

    def convert(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Any, ...]:
        try:
            words = tuple(map(parse, values))
            refuse_repeated(words)
        except BadUsage as e:
            raise click.BadParameter(str(e), ctx, param) from e
        return words

    return convert


def _listed(kind: click.ParamType[Any, Any]) -> Callable[[click.Context, click.Parameter, str | None], tuple[Any, ...]]:
    """For options of several values, with commas between."""

    def convert(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[Any, ...]:
        values = tuple(kind.convert(word.strip(), param, ctx) for word in text.split(",")) if text is not None else ()
        if twice := [value for i, value in enumerate(values) if value in values[:i]]:
            raise click.BadParameter(f"{twice[0]} is given twice", ctx, param)
        return values

    return convert


def _origin(ctx: click.Context, param: click.Parameter, word: str | None) -> Origin | None:
    return None if word is None else Origin.parse(word)


def _compared(ctx: click.Context, param: click.Parameter, word: str) -> Origin | Path:
    """A report, or a model."""
    if not word.endswith(".json"):
        return Origin.parse(word)
    refuse_no_file(Path(word))
    return Path(word)


def _origins(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> tuple[Origin, ...]:
    return tuple(Origin.parse(word, folders=True) for word in words)


def _each_origin(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> tuple[Origin, ...]:
    return tuple(map(Origin.parse, words))


def _output(ctx: click.Context, param: click.Parameter, word: str | None) -> Path | None:
    if word is None:
        return None
    if not word or "\0" in word:
        raise InvalidInput(f"{word!r}: not the name of a file; give one that ends in .pt2 or .onnx")
    return Path(word)


def _page(ctx: click.Context, param: click.Parameter, word: str) -> Path:
    from convfold.page import refuse_output

    if not word or "\0" in word:
        raise InvalidInput(f"{word!r}: not the name of a file; give one that ends in .html or .json")
    refuse_output(Path(word))
    return Path(word)


def _glob(ctx: click.Context, param: click.Parameter, glob: str | None) -> str | None:
    if glob == "":
        raise click.BadParameter("an empty pattern matches no call", ctx, param)
    return glob


def _globs(ctx: click.Context, param: click.Parameter, globs: tuple[str, ...]) -> tuple[str, ...]:
    if "" in globs:
        raise click.BadParameter("an empty pattern matches no module", ctx, param)
    return globs


def _duration(ctx: click.Context, param: click.Parameter, text: str) -> float:
    """Seconds."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1]) if text and text[-1] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _SECONDS:
        raise click.BadParameter(f"{text!r} is no time; give one such as 90s, 5m or 1h", ctx, param)
    return seconds


def _number(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if value != value:  # in no range, and beyond none
        raise click.BadParameter("'nan' is no number", ctx, param)
    return value


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
_all = click.option("--all", "every", is_flag=True, help="Every row of long tables.")
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
    click.option(
        "--objective",
        type=click.Choice(OBJECTIVES),
        default="time",
        help="What to minimise: time at the target's prices (the same plan everywhere), multiply-adds first, or time "
        "as it is measured here: several plans of every stretch are run in the target.",
    ),
    click.option(
        "--budget",
        metavar="TIME",
        callback=_duration,
        default="60s",
        show_default=True,
        help="With --objective measured: the time that may take, as 90s or 5m. Ctrl-C ends it early; what it knows by "
        "then is used.",
    ),
    click.option(
        "--target",
        metavar="NAME|FILE",
        help="What time is counted in: a runtime by its name, e.g. onnxruntime, or a .json file of `convfold "
        "calibrate`; without one eager for PyTorch's models and onnxruntime for ONNX.",
    ),
    click.option(
        "--border",
        type=click.Choice(BORDERS),
        default="exact",
        help="Where one convolution differs from a chain at the border: mend it, leave the chain, or let it differ.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="GLOB",
        callback=_globs,
        help="Module paths, or calls by the names in the report, to leave alone, e.g. 'head.*'.",
    ),
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(convfold.__version__, prog_name="convfold", message="%(prog)s %(version)s")
@_everywhere
def main() -> None:
    """Rewrite the linear parts of a neural network into their cheapest exactly equal form.

    IN is an .onnx or .pt2 file, - for one on standard input, or package.module:factory, a function (the current folder
    is searched too) that gives an nn.Module in eval mode or a tuple (module, args).
    """


@main.command("fold")
@click.argument("models", metavar="IN...", nargs=-1, required=True, callback=_origins)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    callback=_output,
    help="An .onnx or .pt2 file, a folder for several, or - for standard output.",
)
@click.option("-i", "--in-place", is_flag=True, help="Write over IN; what was there is kept as IN.bak.")
@_inputs
@_how
@click.option("--opset", type=click.IntRange(7), metavar="N", help="Lift an ONNX model to this opset; else its own.")
@click.option("--require-change", is_flag=True, help="Write nothing and exit with 4 if nothing was folded.")
@click.option(
    "--check",
    type=click.Choice(CHECKS),
    default="full",
    show_default=True,
    help="How thoroughly to compare the result with the original.",
)
@click.option(
    "--no-guard",
    is_flag=True,
    help="With --target or --objective measured: do not time the result against IN in its runtime.",
)
@click.option("--no-verify", is_flag=True, help="The same as --check none.")
@_all
@_json
@_everywhere
@click.pass_obj
def fold_command(
    session: Session,
    models: tuple[Origin, ...],
    output: Path | None,
    in_place: bool,
    shapes: tuple[Shape, ...],
    free: tuple[Free, ...],
    objective: str,
    budget: float,
    target: str | None,
    border: str,
    exclude: tuple[str, ...],
    opset: int | None,
    require_change: bool,
    check: str,
    no_guard: bool,
    no_verify: bool,
    every: bool,
    as_json: bool,
) -> int:
    """Fold IN, verify the result against it, and write it to a file. Of a folder every model in it."""
    from convfold.cli import work

    verify = "none" if no_verify else check
    config = FoldConfig(objective, exclude, verify, border, target, not no_guard, budget)
    asked = work.Asked(shapes, free, config, opset)
    return work.fold(session, models, output, in_place, asked, require_change, as_json, every)


@main.command("explain")
@click.argument("model", metavar="IN", callback=_origin)
@_inputs
@_how
@click.option(
    "--trace",
    metavar="WHERE",
    callback=_glob,
    help="Tell of one place only, and in full: the forms that were seen, what each costs, what was refused and what "
    "was taken. A module path or the name of a call, as the report names them, or a glob: 'head.*'.",
)
@_all
@_json
@_everywhere
@click.pass_obj
def explain_command(
    session: Session,
    model: Origin,
    shapes: tuple[Shape, ...],
    free: tuple[Free, ...],
    objective: str,
    budget: float,
    target: str | None,
    border: str,
    exclude: tuple[str, ...],
    trace: str | None,
    every: bool,
    as_json: bool,
) -> int:
    """Say what would be folded in IN and what would not, and why; write nothing."""
    from convfold.cli import work

    config = FoldConfig(objective, exclude, border=border, target=target, budget=budget)
    return work.explain(session, model, shapes, free, config, trace, as_json, every)


@main.command("report")
@click.argument("model", metavar="IN", callback=_origin)
@click.option(
    "-o", "--output", metavar="FILE", callback=_page, required=True, help="A page to look at (.html), or .json."
)
@_inputs
@_how
@click.option(
    "--check",
    type=click.Choice(CHECKS),
    default="quick",
    show_default=True,
    help="How thoroughly to compare the folded model with the original; none: plan only, and run nothing.",
)
@_everywhere
@click.pass_obj
def report_command(
    session: Session,
    model: Origin,
    output: Path,
    shapes: tuple[Shape, ...],
    free: tuple[Free, ...],
    objective: str,
    budget: float,
    target: str | None,
    border: str,
    exclude: tuple[str, ...],
    check: str,
) -> int:
    """Write what a fold of IN does, and what it leaves and why, as one page to look at; the model is not written."""
    from convfold.cli import work

    config = FoldConfig(objective, exclude, check, border, target, False, budget)
    return work.report(session, model, output, work.Asked(shapes, free, config))


@main.command("diff")
@click.argument("a", metavar="A", callback=_compared)
@click.argument("b", metavar="B", callback=_compared)
@_inputs
@_how
@_json
@_everywhere
@click.pass_obj
def diff_command(
    session: Session,
    a: Origin | Path,
    b: Origin | Path,
    shapes: tuple[Shape, ...],
    free: tuple[Free, ...],
    objective: str,
    budget: float,
    target: str | None,
    border: str,
    exclude: tuple[str, ...],
    as_json: bool,
) -> int:
    """Say what folding A and folding B do not have in common. Each is a model, or a report as JSON."""
    from convfold.cli import work

    config = FoldConfig(objective, exclude, border=border, target=target, budget=budget)
    return work.diff(session, (a, b), work.Asked(shapes, free, config), as_json)


@main.command("verify")
@click.argument("a", metavar="A", callback=_origin)
@click.argument("b", metavar="B", callback=_origin)
@_inputs
@_json
@_everywhere
@click.pass_obj
def verify_command(session: Session, a: Origin, b: Origin, shapes: tuple[Shape, ...], as_json: bool) -> int:
    """Does B compute what A does, up to twice A's own rounding error? Exit code 3 if not, or nothing to compare."""
    from convfold.cli import work

    return work.verify(session, a, b, shapes, as_json)


@main.command("bench")
@click.argument("models", metavar="A [B...]", nargs=-1, required=True, callback=_each_origin)
@_inputs
@click.option(
    "--runtime",
    "runtimes",
    callback=_listed(click.Choice(RUNTIMES)),
    metavar="NAME[,NAME…]",
    help=f"Of {', '.join(RUNTIMES)}; PyTorch models are exported where ONNX is taken. Otherwise eager, and "
    "onnxruntime of ONNX files.",
)
@click.option(
    "--batch",
    "batches",
    callback=_listed(click.IntRange(1, _BATCH)),
    metavar="N[,N…]",
    help="Samples a call: dimension 0 of the first input, and of those as large as it there. Otherwise as the "
    "inputs come.",
)
@click.option(
    "--threads",
    callback=_listed(click.IntRange(1, _THREADS)),
    metavar="N[,N…]",
    help="Threads to compute with; torch's own choice otherwise.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, _SECONDS),
    default=5.0,
    show_default=True,
    callback=_number,
    help="How long to measure: for each runtime, batch and number of threads.",
)
@click.option("--profile", is_flag=True, help="Which operators take the time, by each runtime's own profiler.")
@_json
@_everywhere
@click.pass_obj
def bench_command(
    session: Session,
    models: tuple[Origin, ...],
    shapes: tuple[Shape, ...],
    runtimes: tuple[str, ...],
    batches: tuple[int, ...],
    threads: tuple[int, ...],
    seconds: float,
    profile: bool,
    as_json: bool,
) -> int:
    """Time A, or A and others in turns: medians, and how many times faster than A each is.

    The speed-up is the median over rounds in which each ran once, in the interval that holds it with 95 % confidence.
    """
    from convfold.cli import work

    asked = work.Race(shapes, runtimes, batches, threads, seconds, profile)
    return work.bench(session, models, asked, as_json)


@main.command("calibrate")
@click.option(
    "--target", "runtime", metavar="NAME", required=True, help="The runtime: eager, inductor, onnxruntime, openvino."
)
@click.option("-o", "--output", metavar="FILE", callback=_output, required=True, help="A .json file, for --target.")
@click.option(
    "--threads", type=click.IntRange(1, _THREADS), default=1, show_default=True, help="Threads to compute with."
)
@click.option("--device", metavar="NAME", default="cpu", show_default=True, help="Where PyTorch computes: cpu, cuda.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=100.0,
    show_default=True,
    help="After which no more calls are timed than five of each kind: with inductor all take some six minutes.",
)
@_everywhere
@click.pass_obj
def calibrate_command(session: Session, runtime: str, output: Path, threads: int, device: str, seconds: float) -> int:
    """Time calls of every kind in a runtime on this machine, and write what each costs: a target to plan for.

    Less than a minute, two with inductor; what was timed before an interruption is not timed again.
    """
    from convfold.cli import work

    return work.calibrate(session, runtime, output, threads, device, seconds)


@main.command("demo")
@_everywhere
@click.pass_obj
def demo_command(session: Session) -> int:
    """Train a small network on handwritten digits, fold it, and compare: about a minute."""
    from convfold.cli import work

    return work.demo(session)
