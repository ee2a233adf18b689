"""``python -m benchmarks.gpu --targets FOLDER [--device cuda]``: targets of a GPU, and what a fold saves on it.

First the targets that are not in the folder are made: eager-cuda.json and inductor-cuda.json, which can be shipped.
Then networks of the zoo in both runtimes, at batches of 1 and 32, in float32 and in float16 with channels last, the
original and the folded model in turn, planned by that target and by the fixed prices: original/folded, the median of
the rounds' ratios and its interval. The claim: none below 0.98, even at the upper end. Exits with 1 where it is missed,
or a folded model is another function. Some minutes a network; with ``--device cpu`` it shows that it runs.
"""

from __future__ import annotations

import argparse
import copy
import sys
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.table import Table
from torch.utils import _pytree as pytree

import convfold
import zoo
from benchmarks.record import console, progress, record
from benchmarks.timing import interleaved, interval, medians, ratios, repeats, wall
from convfold.calibration import calibrate
from convfold.runtimes import runtime

NETWORKS = (
    "segformer-b0", "edsr-baseline-x4", "sesr-m5-x2", "ghostnetv3", "mobileone-s0", "repvgg-a0", "repvit-m0.9",
    "textnet", "unet", "upernet-convnext-tiny", "resnet-18", "vit-small",
)  # fmt: skip
RUNTIMES, BATCHES = ("eager", "inductor"), (1, 32)
#: By name, type and layout.
TYPES = {
    "float32": (torch.float32, torch.contiguous_format),
    "float16, channels last": (torch.float16, torch.channels_last),
}
FLOOR, ROUNDS = 0.98, 101


def measure(network: str, name: str, batch: int, kind: str, target: Path, seconds: float) -> dict[str, Any]:
    dtype, layout = TYPES[kind]
    device = convfold.targets.target(str(target)).device
    case = zoo.build(network)
    model = copy.deepcopy(case.model).to(device).to(dtype)

    def placed(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        x = x.expand(batch, *x.shape[1:]).to(device, dtype if x.is_floating_point() else x.dtype)
        return x.contiguous(memory_format=layout if x.dim() == 4 else torch.contiguous_format)

    if layout is torch.channels_last:
        model.to(memory_format=layout)  # type: ignore[call-overload]
    args, kwargs = pytree.tree_map(placed, (case.args, dict(case.kwargs)))
    how = {"by its target": str(target), "by fixed prices": None}
    forms, passed = {"original": model}, {}
    for which, named in how.items():
        result = convfold.fold(model, args, kwargs, config=convfold.FoldConfig(guard=False, target=named))
        forms[which], passed[which] = result.module, bool(result.report.error and result.report.error.passed)
    run = runtime(name, device)
    calls = {which: run.ready(form, args, kwargs) for which, form in forms.items()}
    measures = {which: wall(call, repeats(call)) for which, call in calls.items()}
    times = interleaved(measures, ROUNDS, warm_up=3, seconds=seconds)
    found = {which: ratios(times, "original", which) for which in how}
    run.forget()
    return {
        "seconds": medians(times),
        "passed": all(passed.values()),
        **{which: [median(values), *interval(values)] for which, values in found.items()},
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--targets", type=Path, required=True, metavar="FOLDER", help="where they are, or are written")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", default=NETWORKS, metavar="NAME", help="of the zoo")
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES, choices=RUNTIMES)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--types", nargs="+", default=tuple(TYPES), choices=tuple(TYPES))
    parser.add_argument("--seconds", type=float, default=5.0, help="to time a case in")
    options = parser.parse_args(argv)
    options.targets.mkdir(parents=True, exist_ok=True)
    paths = {name: options.targets / f"{name}-{options.device}.json" for name in options.runtimes}
    for name, path in paths.items():
        if not path.exists():
            progress.print(f"{path}: timing calls …")
            calibrate(name, path, device=options.device, progress=progress.print)
    table = Table(box=None, pad_edge=False)
    for heading in ("network", "runtime", "batch", "type", "original ms", "by its target", "by fixed prices", "missed"):
        table.add_column(heading, justify="left" if heading in ("network", "runtime", "type", "missed") else "right")
    failed = False
    for network, name, batch, kind in product(options.models, options.runtimes, options.batches, options.types):
        progress.print(f"{network}, {name}, batch {batch}, {kind} …")
        found = measure(network, name, batch, kind, paths[name], options.seconds)
        record("gpu", {f"{network}, {name}, {options.device}, batch {batch}, {kind}": found})
        missed = [] if found["passed"] else ["another function"]
        missed += [f"below {FLOOR}"] * (found["by its target"][2] < FLOOR)
        failed |= bool(missed)
        both = found["by its target"], found["by fixed prices"]
        said = (f"{middle:.3f} [{low:.3f}, {high:.3f}]" for middle, low, high in both)
        ms = f"{1e3 * found['seconds']['original']:.2f}"
        table.add_row(network, name, str(batch), kind, ms, *said, "; ".join(missed))
    console.print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
