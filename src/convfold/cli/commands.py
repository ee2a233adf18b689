"""The commands and their options: what may be typed. Nothing here needs torch; `work` does what was asked for."""

from __future__ import annotations

from pathlib import Path

import click

import convfold
from convfold.arguments import RUNTIMES, Free, Origin, Shape
from convfold.cli import options
from convfold.cli.failures import Commands
from convfold.cli.session import Session
from convfold.config import CHECKS, FoldConfig


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(convfold.__version__, prog_name="convfold", message="%(prog)s %(version)s")
@options.everywhere
def main() -> None:
    """Rewrite the linear parts of a neural network into their cheapest exactly equal form.

    IN is an .onnx or .pt2 file, - for one on standard input, or package.module:factory, a function (the current folder
    is searched too) that gives an nn.Module in eval mode or a tuple (module, args).
    """


@main.command("fold")
@click.argument("models", metavar="IN...", nargs=-1, required=True, callback=options.origins)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    callback=options.model_file,
    help="An .onnx or .pt2 file, a folder for several, or - for standard output.",
)
@click.option("-i", "--in-place", is_flag=True, help="Write over IN; what was there is kept as IN.bak.")
@options.inputs
@options.how
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
@options.every
@options.as_json
@options.everywhere
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
@click.argument("model", metavar="IN", callback=options.origin)
@options.inputs
@options.how
@click.option(
    "--trace",
    metavar="WHERE",
    callback=options.glob,
    help="Tell of one place only, and in full: the forms that were seen, what each costs, what was refused and what "
    "was taken. A module path or the name of a call, as the report names them, or a glob: 'head.*'.",
)
@options.every
@options.as_json
@options.everywhere
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
@click.argument("model", metavar="IN", callback=options.origin)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    callback=options.page_file,
    required=True,
    help="A page to look at (.html), or .json.",
)
@options.inputs
@options.how
@click.option(
    "--check",
    type=click.Choice(CHECKS),
    default="quick",
    show_default=True,
    help="How thoroughly to compare the folded model with the original; none: plan only, and run nothing.",
)
@options.everywhere
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
@click.argument("a", metavar="A", callback=options.compared)
@click.argument("b", metavar="B", callback=options.compared)
@options.inputs
@options.how
@options.as_json
@options.everywhere
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
@click.argument("a", metavar="A", callback=options.origin)
@click.argument("b", metavar="B", callback=options.origin)
@options.inputs
@options.as_json
@options.everywhere
@click.pass_obj
def verify_command(session: Session, a: Origin, b: Origin, shapes: tuple[Shape, ...], as_json: bool) -> int:
    """Does B compute what A does, up to twice A's own rounding error? Exit code 3 if not, or nothing to compare."""
    from convfold.cli import work

    return work.verify(session, a, b, shapes, as_json)


@main.command("bench")
@click.argument("models", metavar="A [B...]", nargs=-1, required=True, callback=options.each_origin)
@options.inputs
@click.option(
    "--runtime",
    "runtimes",
    callback=options.listed(click.Choice(RUNTIMES)),
    metavar="NAME[,NAME…]",
    help=f"Of {', '.join(RUNTIMES)}; PyTorch models are exported where ONNX is taken. Otherwise eager, and "
    "onnxruntime of ONNX files.",
)
@click.option(
    "--batch",
    "batches",
    callback=options.listed(click.IntRange(1, options.BATCH)),
    metavar="N[,N…]",
    help="Samples a call: dimension 0 of the first input, and of those as large as it there. Otherwise as the "
    "inputs come.",
)
@click.option(
    "--threads",
    callback=options.listed(click.IntRange(1, options.THREADS)),
    metavar="N[,N…]",
    help="Threads to compute with; torch's own choice otherwise.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, options.SECONDS),
    default=5.0,
    show_default=True,
    callback=options.number,
    help="How long to measure: for each runtime, batch and number of threads.",
)
@click.option("--profile", is_flag=True, help="Which operators take the time, by each runtime's own profiler.")
@options.as_json
@options.everywhere
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
@click.option(
    "-o", "--output", metavar="FILE", callback=options.model_file, required=True, help="A .json file, for --target."
)
@click.option(
    "--threads", type=click.IntRange(1, options.THREADS), default=1, show_default=True, help="Threads to compute with."
)
@click.option("--device", metavar="NAME", default="cpu", show_default=True, help="Where PyTorch computes: cpu, cuda.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=100.0,
    show_default=True,
    help="After which no more calls are timed than five of each kind: with inductor all take some six minutes.",
)
@options.everywhere
@click.pass_obj
def calibrate_command(session: Session, runtime: str, output: Path, threads: int, device: str, seconds: float) -> int:
    """Time calls of every kind in a runtime on this machine, and write what each costs: a target to plan for.

    Less than a minute, two with inductor; what was timed before an interruption is not timed again.
    """
    from convfold.cli import work

    return work.calibrate(session, runtime, output, threads, device, seconds)


@main.command("demo")
@options.everywhere
@click.pass_obj
def demo_command(session: Session) -> int:
    """Train a small network on handwritten digits, fold it, and compare: about a minute."""
    from convfold.cli import work

    return work.demo(session)
