"""``python -m benchmarks.fold_time [--models NAME...] [--blocks N...]``: how long a fold takes, and what it needs.

Models: the whole ``fold`` without verification over one ``torch.export`` (static, without gradients) of the same model,
what verification adds over one forward pass of the original, the seconds of each stage, and memory. Everything warm,
interleaved, medians; each model in a process of its own. The claims: a fold takes at most 2 exports and 0.5 s,
verification 8 forward passes more, and, of the memory a process takes for a model's weights, a verified fold at most
3 times as much and what a forward pass takes besides.

Blocks: N RepVGG blocks (7 calls a block). Our own time is lift + plan + explain + lower, over that of
``torch.fx.experimental.optimization.fuse``, which folds batch norms only, on the same net. The claim: at most 1.5 at
100 blocks, and linear growth.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from subprocess import PIPE
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch
from rich.table import Table
from torch.fx.experimental.optimization import fuse

import convfold
import zoo
from benchmarks.memory import peak, reset_peak
from benchmarks.record import console, progress, record
from benchmarks.timing import interleaved, medians, ratio, wall
from convfold.frontends.torch.read import read
from zoo.own import repvgg_stack

MODELS = ("resnet-18", "ghostnetv3", "segformer-b0-256", "edsr-baseline-x4", "convnext-tiny", "upernet-convnext-tiny")
EXPORTS, SECONDS, FORWARDS, WEIGHTS = 2, 0.5, 8, 3
BLOCKS = (100, 200, 400, 800)
OVER_FUSE = 1.5
CHANNELS, SIZE = 48, 14
STAGES = ("lift", "plan", "explain", "lower")


def measure_model(name: str, rounds: int) -> dict[str, Any]:
    """Seconds of an export, of a fold and its stages, of verification and of a forward pass."""
    case = zoo.build(name)
    kwargs = dict(case.kwargs)
    stages: list[dict[str, float]] = []

    def export() -> None:
        with torch.no_grad():
            torch.export.export(case.model, case.args, kwargs, strict=False)

    def forward() -> None:
        with torch.no_grad():
            case.model(*case.args, **kwargs)

    def verified() -> float:
        result = convfold.fold(case.model, case.args, kwargs)
        stages.append(result.report.seconds)
        return result.report.seconds["verify"]

    measures = {
        "export": wall(export),
        "fold": wall(lambda: convfold.fold(case.model, case.args, kwargs, config=convfold.FoldConfig(verify=False))),
        "verify": verified,
        "forward": wall(forward),
    }
    times = interleaved(measures, rounds)
    return {
        "seconds": medians(times),
        "stages": {stage: median(s[stage] for s in stages[-rounds:]) for stage in stages[-1]},
        "fold_over_allowed": median(
            fold / (EXPORTS * export + SECONDS) for fold, export in zip(times["fold"], times["export"], strict=True)
        ),
        "verify_over_forward": ratio(times, "verify", "forward"),
        "rounds": rounds,
    }


def memory_of(name: str) -> dict[str, int]:
    """Bytes of the weights, and a forward pass's and a verified fold's high-water marks above a process with them.

    What the first export ever takes (modules that are imported, tables) is no model's: a small one goes first.
    """
    convfold.fold(zoo.build("tiny-resnet").model, zoo.build("tiny-resnet").args)
    case = zoo.build(name)
    weights = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _tensors(case.model)}

    def above(call: Callable[[], Any]) -> int:
        gc.collect()
        _trim()
        reset_peak()
        before = peak()
        call()
        return peak() - before

    with torch.no_grad():
        activations = above(lambda: case.model(*case.args, **case.kwargs))
    fold = above(lambda: convfold.fold(case.model, case.args, dict(case.kwargs)))
    return {"weight_bytes": sum(weights.values()), "forward_bytes": activations, "fold_bytes": fold}


def _tensors(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _trim() -> None:
    """Linux: what was freed is given back, so that it is not there to be taken unseen."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def measure_blocks(n: int, rounds: int) -> dict[str, Any]:
    """Seconds of both and of our stages, and the memory ours needs, in this process."""
    model = zoo.randomise(repvgg_stack(n, CHANNELS).eval(), 0)
    args = (torch.randn(1, CHANNELS, SIZE, SIZE),)
    start = perf_counter()
    source = read(model, args)
    export_seconds = perf_counter() - start
    stages: list[dict[str, float]] = []

    def own() -> float:
        with patch("convfold.fold.read", return_value=source):  # export once: it is not what is timed
            result = convfold.fold(model, args, config=convfold.FoldConfig(verify=False))
        stages.append({stage: result.report.seconds[stage] for stage in STAGES})
        return sum(stages[-1].values())

    reset_peak()
    before = peak()
    own()
    extra = peak() - before
    times = interleaved({"own": own, "fuse": wall(lambda: fuse(model))}, rounds)
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return {
        "seconds": medians(times),
        "stages": {stage: median(s[stage] for s in stages[-rounds:]) for stage in STAGES},
        "export_seconds": export_seconds,
        "own_over_fuse": ratio(times, "own", "fuse"),
        "peak_extra_bytes": extra,
        "weight_bytes": weights,
        "rounds": rounds,
    }


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="*", metavar="NAME", help="of the zoo")
    parser.add_argument("--blocks", type=int, nargs="*", metavar="N")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--one", metavar="NAME", help="measure one model or number of blocks in this process, print JSON"
    )
    parser.add_argument("--memory", metavar="NAME", help="the same of its memory")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if options.memory:
        print(json.dumps(memory_of(options.memory)))
        return
    if options.one:
        one = options.one
        found = measure_blocks(int(one), options.rounds) if one.isdigit() else measure_model(one, options.rounds)
        print(json.dumps(found))
        return
    everything = options.models is None and options.blocks is None
    models(MODELS if everything else options.models or (), options.rounds)
    blocks(BLOCKS if everything else options.blocks or (), options.rounds)


def in_a_process(*options: str, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.fold_time", *options]
    env = os.environ | environment
    return dict(json.loads(subprocess.run(command, check=True, stdout=PIPE, env=env).stdout.splitlines()[-1]))


def timed(name: str, rounds: int) -> dict[str, Any]:
    progress.print(f"{name} …")
    return in_a_process("--one", name, "--rounds", str(rounds))


def models(names: Sequence[str], rounds: int) -> None:
    stages = ("read", *STAGES, "verify")
    headings = (
        "export s",
        "fold s",
        "allowed",
        *stages,
        "forward s",
        "verify/forward",
        "MiB",
        "weights",
        "forward",
        "allowed",
    )
    table = _table("model", *headings)
    for name in names:
        # glibc keeps what is freed in small pieces: large ones are given back, so that the mark is of what is in use.
        found = timed(name, rounds) | in_a_process("--memory", name, MALLOC_MMAP_THRESHOLD_="65536")
        record("fold_time", {name: found})
        seconds, mebi = (
            found["seconds"],
            [found[key] / 2**20 for key in ("fold_bytes", "weight_bytes", "forward_bytes")],
        )
        table.add_row(
            name, f"{seconds['export']:.2f}", f"{seconds['fold']:.2f}", f"{found['fold_over_allowed']:.0%}",
            *(f"{found['stages'][stage]:.2f}" for stage in stages), f"{seconds['forward']:.3f}",
            f"{found['verify_over_forward']:.1f}", *(f"{m:.0f}" for m in mebi), f"{_of_allowed(found):.0%}",
        )  # fmt: skip
    if names:
        console.print(table)
        console.print(
            f"claims: a fold in {EXPORTS} exports and {SECONDS} s, verified in {FORWARDS} forward passes more, with "
            f"{WEIGHTS} times its weights in memory (the model's own among them) and what a forward pass takes"
        )


def _of_allowed(found: dict[str, Any]) -> float:
    """Memory: the weights are there, a fold adds to them."""
    weights, forward, fold = (found[key] for key in ("weight_bytes", "forward_bytes", "fold_bytes"))
    return (weights + fold) / float(WEIGHTS * weights + forward)


def _table(first: str, *headings: str) -> Table:
    table = Table(first, box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def blocks(sizes: Sequence[int], rounds: int) -> None:
    headings = ("own s", *STAGES, "fuse s", "own/fuse", "own ms/block", "peak MiB", "weights MiB")
    table = _table("blocks", *headings)
    for n in sizes:
        found = timed(str(n), rounds)
        record("fold_time", {f"{n:04} blocks": found})
        own = found["seconds"]["own"]
        table.add_row(
            str(n), f"{own:.2f}", *(f"{found['stages'][s]:.2f}" for s in STAGES), f"{found['seconds']['fuse']:.2f}",
            f"{found['own_over_fuse']:.2f}", f"{1e3 * own / n:.2f}", f"{found['peak_extra_bytes'] / 2**20:.0f}",
            f"{found['weight_bytes'] / 2**20:.0f}",
        )  # fmt: skip
    if sizes:
        console.print(table)
        console.print(f"claim: own/fuse at 100 blocks at most {OVER_FUSE}")


if __name__ == "__main__":
    main(sys.argv[1:])
