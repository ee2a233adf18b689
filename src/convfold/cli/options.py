"""What options and arguments have in common: how a word becomes a value, and what is said where it does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from convfold.arguments import BadUsage, Free, Origin, Shape, refuse_repeated
from convfold.cli.session import Session
from convfold.config import OBJECTIVES
from convfold.errors import BORDERS, InvalidInput
from convfold.files import refuse_no_file

#: Threads beyond any machine's use, seconds beyond any patience, and samples beyond any memory.
THREADS, SECONDS, BATCH = max(256, os.cpu_count() or 1), 24 * 60 * 60, 2**40

F = TypeVar("F", bound=Callable[..., Any])


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def remembered(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Before the command's name or after it."""
    session = ctx.ensure_object(Session)
    if value:
        setattr(session, str(param.name), True)


def parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], Any]:
    """For options with a grammar of their own."""

    def convert(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Any, ...]:
        try:
            words = tuple(map(parse, values))
            refuse_repeated(words)
        except BadUsage as e:
            raise click.BadParameter(str(e), ctx, param) from e
        return words

    return convert


def listed(kind: click.ParamType[Any, Any]) -> Callable[[click.Context, click.Parameter, str | None], tuple[Any, ...]]:
    """For options of several values, with commas between."""

    def convert(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[Any, ...]:
        values = tuple(kind.convert(word.strip(), param, ctx) for word in text.split(",")) if text is not None else ()
        if twice := [value for i, value in enumerate(values) if value in values[:i]]:
            raise click.BadParameter(f"{twice[0]} is given twice", ctx, param)
        return values

    return convert


def origin(ctx: click.Context, param: click.Parameter, word: str | None) -> Origin | None:
    return None if word is None else Origin.parse(word)


def compared(ctx: click.Context, param: click.Parameter, word: str) -> Origin | Path:
    """A report, or a model."""
    if not word.endswith(".json"):
        return Origin.parse(word)
    refuse_no_file(Path(word))
    return Path(word)


def origins(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> tuple[Origin, ...]:
    return tuple(Origin.parse(word, folders=True) for word in words)


def each_origin(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> tuple[Origin, ...]:
    return tuple(map(Origin.parse, words))


def model_file(ctx: click.Context, param: click.Parameter, word: str | None) -> Path | None:
    if word is None:
        return None
    if not word or "\0" in word:
        raise InvalidInput(f"{word!r}: not the name of a file; give one that ends in .pt2 or .onnx")
    return Path(word)


def page_file(ctx: click.Context, param: click.Parameter, word: str) -> Path:
    from convfold.page import refuse_output

    if not word or "\0" in word:
        raise InvalidInput(f"{word!r}: not the name of a file; give one that ends in .html or .json")
    refuse_output(Path(word))
    return Path(word)


def glob(ctx: click.Context, param: click.Parameter, glob: str | None) -> str | None:
    if glob == "":
        raise click.BadParameter("an empty pattern matches no call", ctx, param)
    return glob


def globs(ctx: click.Context, param: click.Parameter, globs: tuple[str, ...]) -> tuple[str, ...]:
    if "" in globs:
        raise click.BadParameter("an empty pattern matches no module", ctx, param)
    return globs


def duration(ctx: click.Context, param: click.Parameter, text: str) -> float:
    """Seconds."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1]) if text and text[-1] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= SECONDS:
        raise click.BadParameter(f"{text!r} is no time; give one such as 90s, 5m or 1h", ctx, param)
    return seconds


def number(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if value != value:  # in no range, and beyond none
        raise click.BadParameter("'nan' is no number", ctx, param)
    return value


everywhere = together(
    click.option("--quiet", is_flag=True, expose_value=False, callback=remembered, help="No progress on stderr."),
    click.option(
        "--debug", is_flag=True, expose_value=False, callback=remembered, help="Tracebacks and torch's own messages."
    ),
)
inputs = click.option(
    "--input",
    "shapes",
    metavar="NAME:SHAPE",
    callback=parsed(Shape.parse),
    multiple=True,
    help="An input drawn at random, e.g. x:1,3,224,224 or x:1,77:int64. Repeat for each. "
    "Not needed where IN comes with its own.",
)
every = click.option("--all", "every", is_flag=True, help="Every row of long tables.")
as_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")
how = together(
    click.option(
        "--dynamic",
        "free",
        metavar="batch|all|none|NAME:DIMS",
        callback=parsed(Free.parse),
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
        callback=duration,
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
        callback=globs,
        help="Module paths, or calls by the names in the report, to leave alone, e.g. 'head.*'.",
    ),
)
