"""``python -m benchmarks.own_model [NAME...]``: models folded where they are, beside the same models folded whole.

Each network of the zoo is folded by `convfold.fold_`. A row says how many multiply-adds the model makes before and
after, as torch counts them in an eager call, and the share of what `convfold.fold` saves that is kept; how many modules
compute by their folded form and how many layers were merged; what was left; the largest difference of any output,
relative to its norm; and whether undoing it gives the same numbers as before, to the last bit. The claims: 95 % are
kept but for rows that say why, no output differs by more than 1e-5, and it can be undone. Exits with 1 where they are
missed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from time import perf_counter
from typing import Any

import torch
from rich.table import Table
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

import convfold
import zoo
from benchmarks.record import console, progress, record
from convfold.modules import Folded

NETWORKS = (
    "segformer-b0", "upernet-convnext-tiny", "dpt", "rt-detr-r18", "convnext-tiny", "vit-small", "swin-tiny", "unet",
    "densenet-121", "ghostnetv3", "repvgg-a0", "mobileone-s0", "pp-lcnet-v3", "textnet", "repvit-m0.9", "fastvit-t8",
    "levit-128", "resnet-18", "mobilenet-v2", "edsr-baseline-x4", "sesr-m5-x2", "yolo-small",
)  # fmt: skip
KEPT, DIFFERS = 0.95, 1e-5


def measure(name: str) -> dict[str, Any]:
    case = zoo.build(name)
    model, args, kwargs = case.model, case.args, dict(case.kwargs)

    def counted() -> tuple[int, list[Tensor]]:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            outputs = pytree.tree_leaves(model(*args, **kwargs))
        return counter.get_total_flops() // 2, [y for y in outputs if isinstance(y, Tensor) and y.is_floating_point()]

    explained = convfold.explain(model, args, kwargs)
    macs, before = counted()
    start = perf_counter()
    found = convfold.fold_(model, args, kwargs)
    seconds = perf_counter() - start
    fewer, after = counted()
    convfold.unfold_(model)
    _, again = counted()
    could = explained.before.macs - explained.after.macs
    blocks = sum(isinstance(p, Folded) for p in found.places)
    return {
        "macs": [macs, fewer],
        "kept": (macs - fewer) / could if could else None,
        "blocks": blocks,
        "merged": len(found.places) - blocks,
        "left": dict(Counter(r.code for r in found.refused)),
        "differs": max((float((y - z).norm() / z.norm()) for y, z in zip(after, before, strict=True)), default=0.0),
        "undone": all(y.equal(z) for y, z in zip(again, before, strict=True)),
        "seconds": seconds,
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=NETWORKS, metavar="NAME", help="of the zoo")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    table = Table(box=None, pad_edge=False)
    for heading in (
        "network",
        "M multiply-adds",
        "of fold's saving",
        "blocks",
        "merged",
        "left",
        "differs",
        "s",
        "missed",
    ):
        table.add_column(heading, justify="left" if heading in ("network", "left", "missed") else "right")
    failed = False
    for name in options.names:
        progress.print(f"{name} …")
        found = measure(name)
        record("own_model", {name: found})
        missed = [] if found["kept"] is None or found["kept"] >= KEPT else [f"less than {KEPT:.0%} kept"]
        missed += ["another function"] * (found["differs"] > DIFFERS) + ["not undone"] * (not found["undone"])
        failed |= bool(missed)
        m0, m1 = found["macs"]
        kept = "" if found["kept"] is None else f"{found['kept']:.1%}"
        left = ", ".join(f"{n} {code}" for code, n in found["left"].items())
        table.add_row(
            name, f"{m0 / 1e6:.1f} → {m1 / 1e6:.1f}", kept, str(found["blocks"]), str(found["merged"]), left,
            f"{found['differs']:.1e}", f"{found['seconds']:.0f}", "; ".join(missed),
        )  # fmt: skip
    console.print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
