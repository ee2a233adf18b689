"""``python -m benchmarks.result_speed [--models NAME...]``: is the folded model as fast as the one merged by hand?

RepVGG blocks and SESR ×2 in eager mode on one thread: the original, the folded and the hand-merged model in turn. The
claims: folded takes at most 1.03 of merged by hand; SESR at least 15 times less than the original. ``--models`` times
others of the zoo against their originals.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from rich.table import Table
from torch import nn

import convfold
import zoo
from benchmarks.record import console, progress, record
from benchmarks.timing import Measure, interleaved, medians, ratio, repeats, wall
from zoo.own import SESR, repvgg_stack

CLAIMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "10 RepVGG blocks": (lambda: repvgg_stack(10, 48), (1, 48, 56, 56)),
    "SESR ×2": (SESR, (1, 1, 128, 128)),
}
OVER_HAND = 1.03
SPEEDUP = {"SESR ×2": 15.0}


def case(name: str) -> zoo.Case:
    if name not in CLAIMS:
        return zoo.build(name)
    builder, shape = CLAIMS[name]
    torch.manual_seed(0)
    args = (torch.randn(shape),)
    return zoo.Case(name, zoo.calibrate(zoo.randomise(builder().eval(), 0), args), args)


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Median seconds of each, and the ratios of the pairs."""
    it = case(name)
    config = convfold.FoldConfig(verify=False)
    models = {"original": it.model, "folded": convfold.fold(it.model, it.args, dict(it.kwargs), config=config).module}
    if (by_hand := zoo.merged_by_hand(it.model)) and _differ(by_hand, it.model):
        models["by_hand"] = by_hand

    def timed(model: nn.Module) -> Measure:
        call = lambda: model(*it.args, **it.kwargs)  # noqa: E731
        return wall(call, repeats(call))

    with torch.inference_mode():
        times = interleaved({which: timed(model) for which, model in models.items()}, rounds)
    found: dict[str, Any] = {"seconds": medians(times), "speedup": ratio(times, "original", "folded"), "rounds": rounds}
    if "by_hand" in times:
        found["folded_over_by_hand"] = ratio(times, "folded", "by_hand")
    return found


def _differ(a: nn.Module, b: nn.Module) -> bool:
    """By-hand merging knows some architectures only, and returns the others as they were."""
    return len(list(a.modules())) != len(list(b.modules()))


def missed(name: str, found: dict[str, Any]) -> list[str]:
    out = []
    if name in CLAIMS and found["folded_over_by_hand"] > OVER_HAND:
        out.append(f"folded/hand above {OVER_HAND}")
    if found["speedup"] < SPEEDUP.get(name, 0.0):
        out.append(f"speed-up below {SPEEDUP[name]}")
    return out


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME", help="time these zoo models instead")
    parser.add_argument("--rounds", type=int, default=41)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "original ms", "folded ms", "by hand ms", "folded/hand", "original/folded", "missed"):
        table.add_column(heading, justify="left" if heading in ("model", "missed") else "right")
    for name in options.models or CLAIMS:
        progress.print(f"{name} …")
        found = measure(name, options.rounds)
        record("result_speed", {name: found})
        ms = {which: f"{1e3 * s:.2f}" for which, s in found["seconds"].items()}
        hand = f"{found['folded_over_by_hand']:.3f}" if "folded_over_by_hand" in found else ""
        speedup = f"{found['speedup']:.2f}"
        wrong = "; ".join(missed(name, found))
        table.add_row(name, ms["original"], ms["folded"], ms.get("by_hand", ""), hand, speedup, wrong)
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
