"""``python -m benchmarks.forms [NAME...] [--runtimes eager onnxruntime openvino]``: is the form chosen the fastest?

Each chain of `benchmarks.border` in each runtime in every form there is: left as it is, folded with what reads beyond
the ends of a layer left apart, and with the border mended in each way (`plan.border`) where that is exact. A row says
the form that the shipped target chooses and the fastest, and chosen/fastest: the median of the rounds' ratios with its
interval. Chosen is fastest where that interval reaches 1. The claims: so it is in nine of ten rows, and the others lose
at most 5 %. Exits with 1 where they are missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.table import Table

import convfold
import zoo
from benchmarks.border import CHAINS, Chain
from benchmarks.record import console, progress, record
from benchmarks.runtimes import OF_FILES, exported, is_same, warm
from benchmarks.timing import interleaved, interval, medians, ratios
from convfold.plan import border
from convfold.runtimes import RUNTIMES, runtime

SHARE, LOSS = 0.9, 1.05
ROUNDS = 201


@contextmanager
def mended_by(way: border.Way) -> Iterator[None]:
    """No other way is there, where it is exact."""
    known = border.ALLOWED["exact"]
    border.ALLOWED["exact"] = lambda of: [way] if way.exact(of) else border.ways(of)
    try:
        yield
    finally:
        border.ALLOWED["exact"] = known


def forms(model: Any, args: tuple[Any, ...], name: str, folder: Path) -> dict[str, Any]:
    """By name, the one chosen first, equal ones once: what to run."""
    original = exported(model, args, {}, folder / "model.onnx") if name in OF_FILES else model

    def folded(which: str, **options: Any) -> Any:
        config = convfold.FoldConfig(verify=False, target=name, guard=False, **options)
        given = [tuple(x.shape) for x in args] if isinstance(original, Path) else args
        result = convfold.fold(original, given, config=config)
        if not isinstance(original, Path):
            return result.module
        result.save(path := folder / f"{which}.onnx")
        return path

    found = {"chosen": folded("chosen")}

    def add(which: str, made: Any) -> None:
        same = made is not original and any(is_same(made, other) for other in found.values() if other is not original)
        if not same:
            found[which] = made

    add("left", original)
    add("apart", folded("apart", border="refuse"))
    for way in border.WAYS:
        with mended_by(way):
            add(str(way), folded(str(way), objective="macs"))
    return found


def measure(chain: Chain, name: str, seconds: float) -> dict[str, Any]:
    torch.manual_seed(0)
    model = zoo.randomise(chain.build().eval(), 0).eval()
    args = (torch.randn(chain.shape),)
    run = runtime(name)
    with tempfile.TemporaryDirectory() as folder:
        made = forms(model, args, name, Path(folder))
        calls = {which: run.ready(form, args, {}, 1) for which, form in made.items()}
    with torch.inference_mode():
        times = interleaved({which: warm(call) for which, call in calls.items()}, ROUNDS, seconds=seconds)
    found = medians(times)
    fastest = min(found, key=lambda which: found[which])
    values = ratios(times, "chosen", fastest)
    return {"seconds": found, "fastest": fastest, "loss": [median(values), *interval(values)]}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of names; all if none is given")
    parser.add_argument("--runtimes", nargs="+", default=("eager", *OF_FILES), choices=tuple(RUNTIMES))
    parser.add_argument("--seconds", type=float, default=8.0, help="how long to time each")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    table = Table(box=None, pad_edge=False)
    for heading in ("chain", "runtime", "ms", "fastest", "chosen/fastest"):
        table.add_column(heading, justify="right" if heading == "chosen/fastest" else "left")
    losses = []
    for name, chain in CHAINS.items():
        if options.names and not any(part in name for part in options.names):
            continue
        for which in options.runtimes:
            progress.print(f"{name}, {which} …")
            found = measure(chain, which, options.seconds)
            record("forms", {f"{name}, {which}": found})
            middle, low, high = found["loss"]
            losses.append((middle, low))
            ms = ", ".join(f"{form} {1e3 * t:.3g}" for form, t in found["seconds"].items())
            table.add_row(name, which, ms, found["fastest"], f"{middle:.3f} [{low:.3f}, {high:.3f}]")
    console.print(table)
    behind = [middle for middle, low in losses if low > 1]
    console.print(
        f"fastest chosen: {len(losses) - len(behind)} of {len(losses)}; most lost: {max(behind, default=1):.3f}"
    )
    return int(len(behind) > (1 - SHARE) * len(losses) or max(behind, default=1) > LOSS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
