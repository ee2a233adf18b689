"""``python -m benchmarks.gallery [NAME...]``: what a fold finds in 30 architectures; recorded for docs/gallery.md.

`convfold.explain` of each, in the default plan: its stretches by what they were and what they became, the borders that
were mended, what was left and why. Nothing is timed. `python docs/pages.py` then writes the page.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from rich.table import Table

import convfold
import zoo
from benchmarks.record import console, progress, record

NETWORKS = (
    "bit-50", "convnext-tiny", "csrnet", "dcgan-generator", "densenet-121", "depth-anything-small", "dpt",
    "edsr-baseline-x4", "fastvit-sa12", "fsrcnn-x3", "gcn-50", "ghostnetv3", "infogan-generator", "levit-128",
    "mobilenet-v2", "mobileone-s0", "poolformer-s12", "pp-lcnet-v3", "repvgg-a0", "repvit-m0.9", "resnet-18",
    "rt-detr-r18", "segformer-b0", "sesr-m5-x2", "swin-tiny", "textnet", "unet", "upernet-convnext-tiny", "vit-small",
    "yolo-small",
)  # fmt: skip


def found(name: str) -> dict[str, Any]:
    """What is in its report, ready for JSON; stretches that are alike are one entry, the largest saving first."""
    case = zoo.build(name)
    report = convfold.explain(case.model, case.args, dict(case.kwargs))
    alike: dict[tuple[str, str], dict[str, Any]] = {}
    for a in report.applied:
        entry = alike.setdefault((a.before, a.after), {"from": a.before, "to": a.after, "times": 0, "macs": [0, 0]})
        entry["times"] += 1
        entry["macs"] = [entry["macs"][0] + a.macs_before, entry["macs"][1] + a.macs_after]
    return {
        "input": [list(x.shape) for x in case.args],
        "macs": [report.before.macs, report.after.macs],
        "ops": [report.before.ops, report.after.ops],
        "layers": [report.before.layers, report.after.layers],
        "batch_norms": [report.before.batch_norms, report.after.batch_norms],
        "stretches": sorted(alike.values(), key=lambda e: (e["macs"][1] - e["macs"][0], -e["times"], e["from"])),
        "borders": dict(Counter(b.way for b in report.borders).most_common()),
        "left": dict(Counter(r.code for r in report.refused).most_common()),
    }


def main(names: list[str]) -> None:
    table = Table("", "multiply-adds", "operations", "stretches", "left", box=None)
    for name in names or NETWORKS:
        progress.print(f"{name} …")
        got = found(name)
        record("gallery", {name: got})
        macs, ops = (" → ".join(f"{n:,}" for n in got[k]) for k in ("macs", "ops"))
        stretches, left = sum(e["times"] for e in got["stretches"]), sum(got["left"].values())
        table.add_row(name, macs, ops, str(stretches), str(left))
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
