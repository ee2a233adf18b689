"""``python -m benchmarks.models [NAME...]``: what folding leaves of each model, counted without convfold.

Convolutions and linears, batch norms, multiply-adds, parameters and operations before → after; eager latency after /
before (median of pairs); the error as a multiple of the
original's own against float64; seconds of `torch.export` and of our own stages; batch norms and scales that a neighbour
could still absorb (see `benchmarks.leftover`). Exits with 1 where a target is missed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import nn
from torch.utils import _pytree as pytree

import convfold
import zoo
from benchmarks.count import count, parameters
from benchmarks.leftover import leftover
from benchmarks.record import console, progress, record
from benchmarks.timing import Measure, interleaved, ratio, repeats, wall
from convfold.frontends.torch.running.precision import run_in

MODELS = (
    "repvgg-a0", "mobileone-s0", "pp-lcnet-v3", "textnet", "rt-detr-r18-encoder", "rt-detr-r18", "resnet-18",
    "levit-128", "mobilenet-v2", "convnext-tiny", "vit-small", "bit-50", "segformer-b0",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """At most so many."""

    layers: int
    macs: float | None = None


#: The error, as a multiple of the original's own.
RATIO = 2.0
#: Eager latency after / before: what two runs of one model differ by.
SLOWER = 1.02
#: Composed weights are cast to float32 once: that much is left in float64.
FLOAT64_AGREES = 1e-6
#: Detectors that pick their queries by top-k: one rounding may swap two, in the original as in the folded model.
DISCONTINUOUS = {"rt-detr-r18"}

TARGETS = {
    "repvgg-a0": Target(23),
    "mobileone-s0": Target(44, 275.5e6),
    "pp-lcnet-v3": Target(33, 167.5e6),
    "textnet": Target(17, 1467.5e6),
}


def measure(name: str) -> dict[str, Any]:
    """Every figure of one model, ready for JSON; raises where the two ways of counting the original disagree."""
    case = zoo.build(name)
    expected = zoo.count(case.model, case.args, case.kwargs)
    before = count(case.model, case.args, case.kwargs)
    if (before.macs, before.layers) != (expected.macs, expected.layers):
        raise AssertionError(f"{name}: counted {before.macs} in {before.layers}, zoo.count has {expected}")
    result = convfold.fold(case.model, case.args, dict(case.kwargs), config=convfold.FoldConfig(verify=False))
    after, left = count(result.module, case.args, case.kwargs), leftover(result.module, case.args)
    report, seconds = result.report, result.report.seconds
    verdict = convfold.verify(case.model, result.module, case.args, dict(case.kwargs))
    return {
        "layers": [before.layers, after.layers],
        "batch_norms": [expected.batch_norms, after.batch_norms],
        "macs": [before.macs, after.macs],
        "parameters": [expected.parameters, parameters(result.module)],
        "error": {
            "folded": verdict.error,
            "original": verdict.own_error,
            "passed": verdict.passed,
            "in_float64": error_in_float64(case, result.module),
        },
        "seconds": seconds,
        "left": {"norms": left.norms, "scales": left.scales, "constant": left.constant},
        "ops": [report.before.ops, report.after.ops],
        "slower": slower(case, result.module),
        "refused": sorted({f"{r.code}: {r.where}" for r in report.refused}),
    }


def slower(case: zoo.Case, folded: nn.Module, rounds: int = 15) -> float:
    """Eager latency after / before, the median of pairs."""

    def timed(model: nn.Module) -> Measure:
        call = lambda: model(*case.args, **case.kwargs)  # noqa: E731
        return wall(call, repeats(call))

    with torch.inference_mode():
        times = interleaved({"before": timed(case.model), "after": timed(folded)}, rounds)
    return ratio(times, "after", "before")


@torch.no_grad()
def error_in_float64(case: zoo.Case, folded: nn.Module) -> float:
    """‖y − y64‖ / ‖y64‖ with both in float64: what casting the composed weights cost, and no rounding on the way.

    Where a detector picks its queries by top-k a comparison of float32 runs says nothing; this one does.
    """
    exact, got = (run_in(torch.float64, model, case.args, dict(case.kwargs)) for model in (case.model, folded))
    pairs = zip(pytree.tree_leaves(exact), pytree.tree_leaves(got), strict=True)
    return max(float((y - x).norm() / x.norm()) for x, y in pairs)


def missed(name: str, case: dict[str, Any]) -> list[str]:
    """Which targets the figures do not reach."""
    layers, macs = case["layers"], case["macs"]
    target = TARGETS.get(name, Target(layers[0]))
    most = target.macs or macs[0]
    found = []
    if layers[1] > target.layers:
        found.append(f"{layers[1]} layers, wanted {target.layers}")
    if macs[1] > most:
        found.append(f"{macs[1] / 1e6:.1f} M multiply-adds, wanted {most / 1e6:.1f}")
    ops = case["ops"]
    if ops[1] > ops[0] and macs[1] >= macs[0]:
        found.append(f"{ops[1]} operations for {ops[0]}")
    if case["slower"] > SLOWER:
        found.append("slower")
    error = case["error"]
    if not error["passed"] or error["in_float64"] > FLOAT64_AGREES:
        found.append("another function")
    elif error["folded"] > RATIO * error["original"] and name not in DISCONTINUOUS:
        found.append("error")
    if case["left"]["norms"]:
        found.append(f"{len(case['left']['norms'])} legal batch norms left")
    return found


def table(cases: dict[str, dict[str, Any]]) -> Table:
    out = Table(box=None, pad_edge=False)
    for heading in ("model", "convs + linears", "batch norms", "M multiply-adds", "M parameters", "operations"):
        out.add_column(heading, justify="left" if heading == "model" else "right")
    for heading in (
        "after/before",
        "error/own",
        "in float64",
        "export s",
        "fold s",
        "legal left",
        "scales",
        "constant",
        "missed",
    ):
        out.add_column(heading, justify="left" if heading == "missed" else "right")
    for name, case in cases.items():
        (l0, l1), (b0, b1), (m0, m1), (p0, p1), (o0, o1) = (
            case[k] for k in ("layers", "batch_norms", "macs", "parameters", "ops")
        )
        left, seconds, error = case["left"], case["seconds"], case["error"]
        out.add_row(
            name, f"{l0} → {l1}", f"{b0} → {b1}", f"{m0 / 1e6:.1f} → {m1 / 1e6:.1f}",
            f"{p0 / 1e6:.2f} → {p1 / 1e6:.2f}", f"{o0} → {o1}", f"{case['slower']:.3f}",
            "top-k" if name in DISCONTINUOUS else f"{error['folded'] / error['original']:.2f}",
            f"{error['in_float64']:.0e}", f"{seconds['read']:.1f}",
            f"{sum(seconds[stage] for stage in ('lift', 'plan', 'lower')):.2f}",
            str(len(left["norms"])), str(len(left["scales"])), str(len(left["constant"])),
            "; ".join(missed(name, case)),
        )  # fmt: skip
    return out


def main(names: list[str]) -> int:
    torch.set_num_threads(1)
    cases = {}
    for name in names or MODELS:
        progress.print(f"{name} …")
        cases[name] = measure(name)
        record("models", {name: cases[name]})
    console.print(table(cases))
    return int(any(missed(name, case) for name, case in cases.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
