"""``python -m benchmarks.savings [NAME...]``: what folding saves where linear maps meet resizes, pools and concats.

One row an architecture. Multiply-adds before → after, counted without convfold (products of two signals, as in
attention, are free in both); eager latency on one thread, original and folded in turn: medians, and the median of the
ratios pair by pair; the folded model's error in float32 as a multiple of the original's own, both against the original
in float64, and the folded model's in float64. Exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

import convfold
import zoo
from benchmarks.count import count
from benchmarks.models import FLOAT64_AGREES, RATIO
from benchmarks.record import console, progress, record
from benchmarks.timing import Measure, interleaved, medians, ratio, repeats, wall
from convfold.verify import Verdict
from zoo.own.heads import Upsample


@dataclass(frozen=True)
class Target:
    """What is claimed: at most ``macs``; ``fewer`` times fewer than before; ``faster``, latency before over after.

    ``upsampling`` times fewer in the convolutions that read an upsampled map, as many as before in the others.
    """

    macs: float | None = None
    fewer: float = 1.0
    upsampling: float = 1.0
    faster: float = 1 / 1.02

    def most(self, before: int, upsampling: int) -> float:
        """Multiply-adds that are left, at most."""
        bounds = [before / self.fewer, before - upsampling * (1 - 1 / self.upsampling)]
        return min(bounds if self.macs is None else [*bounds, self.macs])


#: By architecture. No other may be dearer or slower: its ratio of latencies may be off by two per cent.
TARGETS = {
    "segformer-b0": Target(macs=3.10e9, faster=1.9),
    "upernet-convnext-tiny": Target(fewer=1 / 0.7, faster=1.25),
    "dpt": Target(),
    "depth-anything-small": Target(),
    "fpn-head": Target(),
    "fpn-head-concat": Target(),
    "pyramid-pooling": Target(),
    "densenet-transition": Target(fewer=4.0),
    "diffusion-decoder": Target(upsampling=2.25),  # 3×3 behind ×2: 9 taps an output, of which 4 read different values
    "unet-step": Target(),
    "unet-step-1x1": Target(),
    "unet-3d-step": Target(),
    "unet-3d-step-trilinear": Target(),
    "detector-neck": Target(),
}


def measure(name: str, seconds: float) -> dict[str, Any]:
    """Every figure of one architecture, ready for JSON; raises where the two ways of counting the original disagree."""
    case = zoo.build(name)
    before, expected = count(case.model, case.args, case.kwargs), zoo.count(case.model, case.args, case.kwargs)
    if (before.macs, before.layers) != (expected.macs, expected.layers):
        raise AssertionError(f"{name}: counted {before.macs} in {before.layers}, zoo.count has {expected}")
    result = convfold.fold(case.model, case.args, dict(case.kwargs), config=convfold.FoldConfig(verify=False))
    verdict = convfold.verify(case.model, result.module, case.args, dict(case.kwargs))
    times = timed(case, result.module, seconds)
    upsampling = behind_upsampling(case)
    return {
        "macs": [before.macs, count(result.module, case.args, case.kwargs).macs],
        "upsampling_macs": upsampling,
        "most_macs": TARGETS.get(name, Target()).most(before.macs, upsampling),
        "seconds": medians(times),
        "speedup": ratio(times, "original", "folded"),
        "rounds": len(times["original"]),
        "error": errors(verdict),
        "fold_seconds": {stage: result.report.seconds[stage] for stage in ("lift", "plan", "lower")},
    }


def errors(verdict: Verdict) -> dict[str, Any]:
    """Of the folded model and of the original's own arithmetic, ready for JSON."""
    return {
        "folded": verdict.error,
        "original": verdict.own_error,
        "ring": verdict.ring,
        "interior": verdict.interior,
        "in_float64": verdict.exactness,
        "passed": verdict.passed,
    }


@torch.inference_mode()
def timed(case: zoo.Case, folded: nn.Module, seconds: float) -> dict[str, list[float]]:
    """Original and folded in turn for about so long, at least 7 and at most 41 pairs."""

    measures: dict[str, Measure] = {}
    pair = 0.0
    for which, model in (("original", case.model), ("folded", folded)):
        call = partial(model, *case.args, **case.kwargs)
        n = repeats(call)
        measures[which] = wall(call, n)
        pair += n * measures[which]()
    return interleaved(measures, min(41, max(7, round(seconds / pair))))


def behind_upsampling(case: zoo.Case) -> int:
    """Multiply-adds that the model as written spends in the convolutions of its `Upsample` layers."""
    macs: list[int] = []

    def add(conv: nn.Module, _: Any, y: Tensor) -> None:
        macs.append(y.numel() * conv.get_parameter("weight")[0].numel())

    handles = [m.conv.register_forward_hook(add) for m in case.model.modules() if isinstance(m, Upsample)]
    if handles:
        with torch.no_grad():
            case.model(*case.args, **case.kwargs)
    for handle in handles:
        handle.remove()
    return sum(macs)


def missed(name: str, found: dict[str, Any]) -> list[str]:
    """Which targets the figures do not reach."""
    faster, error = TARGETS.get(name, Target()).faster, found["error"]
    out = []
    if found["macs"][1] > found["most_macs"]:
        out.append(f"wanted {found['most_macs'] / 1e6:.1f} M multiply-adds")
    if found["speedup"] < faster:
        out.append(f"wanted {faster:.2f} times as fast")
    if not error["passed"] or error["in_float64"] > FLOAT64_AGREES:
        out.append("another function")
    elif error["folded"] > RATIO * error["original"]:
        out.append("error")
    return out


def table(cases: dict[str, dict[str, Any]]) -> Table:
    out = Table(box=None, pad_edge=False)
    for heading in ("model", "M multiply-adds", "change", "ms", "original/folded", "error/own", "in float64", "missed"):
        out.add_column(heading, justify="left" if heading in ("model", "missed") else "right")
    for name, found in cases.items():
        (m0, m1), error, seconds = found["macs"], found["error"], found["seconds"]
        out.add_row(
            name, f"{m0 / 1e6:.1f} → {m1 / 1e6:.1f}", f"{100 * (m1 - m0) / m0:+.1f} %",
            f"{1e3 * seconds['original']:.1f} → {1e3 * seconds['folded']:.1f}", f"{found['speedup']:.2f}",
            f"{error['folded'] / error['original']:.2f}", f"{error['in_float64']:.0e}", "; ".join(missed(name, found)),
        )  # fmt: skip
    return out


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of the zoo; all above if none is given")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to time each")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    cases = {}
    for name in options.names or TARGETS:
        progress.print(f"{name} …")
        cases[name] = measure(name, options.seconds)
        record("savings", {name: cases[name]})
    console.print(table(cases))
    return int(any(missed(name, found) for name, found in cases.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
