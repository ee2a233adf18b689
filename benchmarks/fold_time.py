"""``python -m benchmarks.fold_time [--blocks N...]``: how long planning and composing take, and how that grows.

N RepVGG blocks (7 calls a block). Our own time is lift + plan + lower, without export and verification, over that of
``torch.fx.experimental.optimization.fuse``, which folds batch norms only, on the same net; each size is measured in a
process of its own, interleaved, medians of pairs. The claim: at most 1.5 at 100 blocks, and linear growth. Peak memory
is the process's high-water mark above what it was after the export.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch
from rich.table import Table
from torch.fx.experimental.optimization import fuse

import convfold
import zoo
from benchmarks.record import console, progress, record
from benchmarks.timing import interleaved, medians, ratio, wall
from convfold.graph.read import read
from zoo.own import repvgg_stack

BLOCKS = (100, 200, 400, 800)
OVER_FUSE = 1.5
CHANNELS, SIZE = 48, 14
STAGES = ("lift", "plan", "lower")


def measure(blocks: int, rounds: int) -> dict[str, Any]:
    """Seconds of both and of our stages, and the memory ours needs, in this process."""
    model = zoo.randomise(repvgg_stack(blocks, CHANNELS).eval(), 0)
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

    _reset_peak()
    before = _peak()
    own()
    peak = _peak() - before
    times = interleaved({"own": own, "fuse": wall(lambda: fuse(model))}, rounds)
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return {
        "seconds": medians(times),
        "stages": {stage: median(s[stage] for s in stages[-rounds:]) for stage in STAGES},
        "export_seconds": export_seconds,
        "own_over_fuse": ratio(times, "own", "fuse"),
        "peak_extra_bytes": peak,
        "weight_bytes": weights,
        "rounds": rounds,
    }


def _reset_peak() -> None:
    """Linux: the high-water mark starts anew from what is used now."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, nargs="+", default=list(BLOCKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", type=int, metavar="N", help="measure one size in this process, print JSON")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if options.one:
        print(json.dumps(measure(options.one, options.rounds)))
        return
    table = Table(box=None, pad_edge=False)
    headings = ("blocks", "own s", *STAGES, "fuse s", "own/fuse", "own ms/block", "peak MiB", "weights MiB")
    for heading in headings:
        table.add_column(heading, justify="right")
    for n in options.blocks:
        progress.print(f"{n} blocks …")
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.fold_time", "--one", str(n)]
        output = subprocess.run([*command, "--rounds", str(options.rounds)], check=True, stdout=subprocess.PIPE).stdout
        found = json.loads(output)
        record("fold_time", {f"{n:04} blocks": found})
        own = found["seconds"]["own"]
        table.add_row(
            str(n), f"{own:.2f}", *(f"{found['stages'][s]:.2f}" for s in STAGES), f"{found['seconds']['fuse']:.2f}",
            f"{found['own_over_fuse']:.2f}", f"{1e3 * own / n:.2f}", f"{found['peak_extra_bytes'] / 2**20:.0f}",
            f"{found['weight_bytes'] / 2**20:.0f}",
        )  # fmt: skip
    console.print(table)
    console.print(f"claim: own/fuse at 100 blocks at most {OVER_FUSE}")


if __name__ == "__main__":
    main(sys.argv[1:])
