"""``python -m benchmarks.predict [TARGET|FILE.json ...]``: does a target say what calls take on this machine?

Calls that no target was fitted to, drawn as those were but with another seed, predicted and measured in the target's
runtime, alone. The claims: the median of ``|predicted − measured| / measured`` is at most 25 %; and of the forms that
one stretch can have (all ways to merge layers in series that do not pad) the order is told: the rank correlation of
predicted and measured, each relative to its stretch, is at least 0.9.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from itertools import pairwise
from math import log
from statistics import mean, median
from typing import Any

import torch
from rich.table import Table
from scipy.stats import spearmanr
from torch import nn

import convfold
from benchmarks.record import console, progress, record
from convfold.calibration import floor
from convfold.calibration.samples import KINDS, drawn
from convfold.calibration.timed import timed, timed_alone, works, works_of
from convfold.runtimes import Runtime, runtime
from convfold.targets import Target, shipped, target

#: Of each kind: 17 · 13 = 221 calls.
COUNT = 13
#: Stretches of three layers, each of which has four forms.
STRETCHES = 24

ERROR, CORRELATION = 0.25, 0.9

#: What handing a model its inputs takes is known to a microsecond or so: no call is taken to be quicker.
LEAST = 1e-6


def calls(it: Target, run: Runtime) -> dict[str, list[tuple[float, float]]]:
    """(predicted, measured) seconds by kind."""
    nothing = floor(run, it.threads)
    found: dict[str, list[tuple[float, float]]] = {}
    for kind in KINDS:
        progress.print(f"{it.name}: {kind} …")
        for sample in drawn(kind, COUNT, 1):
            predicted = max(sum(it.seconds(work, 4) for work in works(sample, run)), LEAST)
            measured = max(timed_alone(sample, run, it.threads) - nothing, LEAST)
            found.setdefault(kind, []).append((predicted, measured))
    return found


def stretches() -> Iterator[tuple[list[nn.Module], tuple[int, ...]]]:
    """Three convolutions in series without padding, and the shape they take."""
    rng = random.Random(1)
    for _ in range(STRETCHES):
        channels = [rng.choice((1, 3, 8, 16, 24, 32, 64, 96)) for _ in range(4)]
        taps = [rng.choice((1, 1, 3, 3, 5)) for _ in range(3)]
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(a, b, t) for (a, b), t in zip(pairwise(channels), taps, strict=True)]
        n = rng.choice((16, 28, 56, 80))
        yield layers, (1, channels[0], n, n)


def forms(layers: list[nn.Module]) -> Iterator[nn.Module]:
    """Every way to merge neighbours."""
    for cuts in range(1 << (len(layers) - 1)):
        parts = [[layers[0]]]
        for i, layer in enumerate(layers[1:]):
            if cuts >> i & 1:
                parts.append([layer])
            else:
                parts[-1].append(layer)
        yield nn.Sequential(*(part[0] if len(part) == 1 else convfold.merge(*part) for part in parts)).eval()


def ordered(it: Target, run: Runtime) -> list[tuple[float, float]]:
    """Of each form log(predicted) and log(measured), the mean of its stretch taken off."""
    nothing, found = floor(run, it.threads), []
    for i, (layers, shape) in enumerate(stretches()):
        progress.print(f"{it.name}: stretch {i + 1} of {STRETCHES} …")
        x, pairs = (torch.randn(shape),), []
        for form in forms(layers):
            predicted = sum(it.seconds(work, 4) for work in works_of(form, x))
            measured = max(timed(run.ready(form, x, {}, it.threads)) - nothing, LEAST)
            pairs.append((log(predicted), log(measured)))
        middle = [mean(column) for column in zip(*pairs, strict=True)]
        found += [(p - middle[0], m - middle[1]) for p, m in pairs]
    return found


def tried(it: Target) -> dict[str, Any]:
    run = runtime(it.runtime)
    torch.set_num_threads(it.threads)
    by_kind = {kind: [abs(p / m - 1) for p, m in pairs] for kind, pairs in calls(it, run).items()}
    pairs = ordered(it, run)
    return {
        "calls": sum(map(len, by_kind.values())),
        "error": median(e for errors in by_kind.values() for e in errors),
        "by_kind": {kind: median(errors) for kind, errors in by_kind.items()},
        "forms": len(pairs),
        "correlation": float(spearmanr(*zip(*pairs, strict=True)).statistic),
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", default=shipped(), metavar="TARGET")
    table = Table(box=None, pad_edge=False)
    for heading in ("target", "calls", "median error", "worst kinds", "forms", "rank correlation", "missed"):
        table.add_column(heading, justify="left" if heading in ("target", "worst kinds", "missed") else "right")
    missed = False
    for name in parser.parse_args(argv).targets:
        found = tried(it := target(name))
        record("predict", {it.name: found})
        worst = sorted(found["by_kind"].items(), key=lambda item: -item[1])[:3]
        wrong = [
            what
            for what, bad in (("error", found["error"] > ERROR), ("order", found["correlation"] < CORRELATION))
            if bad
        ]
        missed |= bool(wrong)
        table.add_row(
            it.name,
            str(found["calls"]),
            f"{found['error']:.1%}",
            ", ".join(f"{kind} {error:.0%}" for kind, error in worst),
            str(found["forms"]),
            f"{found['correlation']:.3f}",
            ", ".join(wrong),
        )
    console.print(table)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
