"""``python -m benchmarks.reparameterised [NAME...]``: timm's own deployed forms, beside models folded in place.

timm has methods written by hand, a few for each family, that put a block's branches into one layer. A row says how
many layers (convolutions and dense ones) and batch norms a model has as it is trained, after timm's
`reparameterize_model` and after `convfold.fold_`, and how far either result is from the model, relative to its norm;
then the same in float64, in bfloat16, and done twice. The claim: in no row has ours more layers or norms, nor does it
fail. Exits with 1 where it is missed. timm is not among the requirements; see `benchmarks.libraries`.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

import convfold
from benchmarks import libraries
from benchmarks.record import console, progress, record

MODELS = (
    *libraries.TIMM, "lcnetv2_small", "levit_conv_128s", "fastvit_sa12", "repvgg_b1g4", "iformer_l_distilled",
    "efficientvim_m1_dist",
)  # fmt: skip
DTYPES = {"": torch.float32, " in float64": torch.float64, " in bfloat16": torch.bfloat16}
#: How far rounding may take a result: bfloat16 has 8 bits, and a network some fifty layers.
DIFFERS = {torch.float32: 1e-4, torch.float64: 1e-11, torch.bfloat16: 0.1}


def measure(name: str, dtypes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By dtype, and of float32 done twice: ``model``, ``timm`` and ``ours``, as `_counted` says, or how it failed."""
    case = libraries.build(f"timm/{name}")
    theirs, ours = libraries.timm().utils.reparameterize_model, _folded
    found: dict[str, dict[str, Any]] = {}
    for called, dtype in DTYPES.items():
        if str(dtype).removeprefix("torch.") not in dtypes:
            continue
        model, x = copy.deepcopy(case.model).to(dtype), case.args[0].to(dtype)
        with torch.no_grad():
            expected = model(x)
        found[name + called] = {
            "model": _counted(model, x, expected),
            "timm": _tried(lambda m, _: theirs(m), model, x, expected),
            "ours": _tried(ours, model, x, expected),
        }
        if dtype == torch.float32:
            found[f"{name} twice"] = {
                "model": found[name]["model"],
                "timm": _tried(lambda m, _: theirs(theirs(m)), model, x, expected),
                "ours": _tried(lambda m, x: ours(ours(m, x), x), model, x, expected),
            }
    return found


def _folded(model: nn.Module, x: Tensor) -> nn.Module:
    convfold.fold_(model, x)
    return model


def _tried(change: Callable[[nn.Module, Tensor], nn.Module], model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
    start = perf_counter()
    try:
        changed = change(copy.deepcopy(model), x)
        return {**_counted(changed, x, y), "seconds": perf_counter() - start}
    except Exception as e:  # whatever the other's code raises is the result
        return {"failed": f"{type(e).__name__}: {str(e).partition(chr(10))[0][:120]}"}


def _counted(model: nn.Module, x: Tensor, expected: Tensor) -> dict[str, Any]:
    with torch.no_grad():
        differs = float((model(x).double() - expected.double()).norm() / expected.double().norm())
    counted = convfold.explain(model, x).before
    return {"layers": counted.layers, "norms": counted.batch_norms, "macs": counted.macs, "differs": differs}


def _missed(row: dict[str, Any], dtype: torch.dtype) -> str:
    ours, theirs = row["ours"], row["timm"]
    if "failed" in ours:
        return "failed"
    if ours["differs"] > DIFFERS[dtype] and ours["differs"] > theirs.get("differs", 0.0):
        return "another function"
    more = "failed" not in theirs and any(ours[kind] > theirs[kind] for kind in ("layers", "norms"))
    return "more than timm's" if more else ""


def _cell(found: dict[str, Any]) -> str:
    if "failed" in found:
        return str(found["failed"]).partition(":")[0]
    return f"{found['layers']}/{found['norms']}  {found['differs']:.0e}"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=MODELS, metavar="NAME", help="of timm's models")
    known = [str(dtype).removeprefix("torch.") for dtype in DTYPES.values()]
    parser.add_argument("--dtypes", nargs="+", default=known, choices=known, help="default: all")
    options = parser.parse_args(argv)
    if package := libraries.missing("timm/"):
        progress.print(f"nothing to compare with: {package} is not installed (see benchmarks/libraries.py)")
        return 1
    torch.set_num_threads(1)
    table = Table(box=None, pad_edge=False)
    for heading in ("network", "layers/norms", "timm's", "ours", "missed"):
        table.add_column(heading)
    failed = False
    for name in options.names:
        progress.print(f"{name} …")
        rows = measure(name, options.dtypes)
        record("reparameterised", rows)
        for called, row in rows.items():
            dtype = next((d for end, d in DTYPES.items() if end and called.endswith(end)), torch.float32)
            missed = _missed(row, dtype)
            failed |= bool(missed)
            before = f"{row['model']['layers']}/{row['model']['norms']}"
            table.add_row(called, before, _cell(row["timm"]), _cell(row["ours"]), missed)
    console.print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
