"""``python -m benchmarks.own_model [NAME...]``: models folded where they are, beside the same models folded whole.

Each network, of the zoo or as a library gives it (`benchmarks.libraries`), is folded by `convfold.fold_`, and called
with the library's own arguments. A row says how many multiply-adds the model makes before and after, as torch counts
them in an eager call, and the share of what `convfold.fold` saves that is kept; how many modules compute by their
folded form and how many layers were merged; how many entries the state dict has before and after; how many of the
modules that are still in the tree were heard of by a forward hook, of those that were before; what was left; the
largest difference of any output, relative to its norm; the same between folding fresh weights and converting their
checkpoint; and whether undoing it gives the same numbers as before, to the last bit. The claims: 95 % are kept but for
rows that say why, the outputs are of the same types and differ by no more than 1e-5, or twice the
rounding that the model makes itself, every hook fires, a converted
checkpoint is the folded one, and it can be undone. Exits with 1 where they are missed.
"""

from __future__ import annotations

import argparse
import copy
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
from benchmarks import libraries
from benchmarks.record import console, progress, record
from convfold.modules import Folded

NETWORKS = (
    "segformer-b0", "upernet-convnext-tiny", "dpt", "rt-detr-r18", "convnext-tiny", "vit-small", "swin-tiny", "unet",
    "densenet-121", "ghostnetv3", "repvgg-a0", "mobileone-s0", "pp-lcnet-v3", "textnet", "repvit-m0.9", "fastvit-t8",
    "levit-128", "resnet-18", "mobilenet-v2", "edsr-baseline-x4", "sesr-m5-x2", "yolo-small",
    *libraries.OTHERS, *(f"timm/{name}" for name in libraries.TIMM),
)  # fmt: skip
KEPT, DIFFERS = 0.95, 1e-5


def measure(name: str) -> dict[str, Any]:
    case = libraries.build(name)
    model, args, kwargs = case.model, case.args, dict(case.kwargs)
    fresh = zoo.calibrate(zoo.randomise(copy.deepcopy(model), 1), args, kwargs).train().eval()

    def counted() -> tuple[int, Any]:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            outputs = model(*args, **kwargs)
        return counter.get_total_flops() // 2, outputs

    explained = convfold.explain(model, args, kwargs)
    (macs, before), heard, keys = counted(), _heard(case), model.state_dict().keys()
    model.train().eval()  # LeViT keeps what it has computed from its weights until then
    start = perf_counter()
    found = convfold.fold_(model, args, kwargs)
    seconds = perf_counter() - start
    (fewer, after), still = counted(), _heard(case)
    inside = {id(m) for m in model.modules()}
    converted = found.convert(fresh.state_dict())
    convfold.fold_(fresh, args, kwargs)
    convfold.unfold_(model)
    _, again = counted()
    could = explained.before.macs - explained.after.macs
    blocks = sum(isinstance(p, Folded) for p in found.places)
    differs = _differs(_tensors(after), _tensors(before))
    return {
        "macs": [macs, fewer],
        "could": could,
        "kept": (macs - fewer) / could if could else None,
        "blocks": blocks,
        "merged": len(found.places) - blocks,
        "keys": [len(keys), len(converted), len(keys & converted.keys())],
        "hooks": [len(still & heard), len(heard & inside)],
        "left": dict(Counter(r.code for r in found.refused)),
        "outputs": _types(before) == _types(after),
        "differs": differs,
        "rounding": None if differs <= DIFFERS else _differs(_tensors(before), _tensors(_in_float64(case))),
        "converted": _differs(*(_tensors(state) for state in _together(converted, fresh.state_dict()))),
        "undone": all(y.equal(z) for y, z in zip(_tensors(again), _tensors(before), strict=True)),
        "seconds": seconds,
    }


def _heard(case: zoo.Case) -> set[int]:
    """The modules of which a forward hook hears in one call."""
    heard: set[int] = set()
    hooks = [m.register_forward_hook(lambda m, *_: heard.add(id(m))) for m in case.model.modules()]
    try:
        with torch.no_grad():
            case.model(*case.args, **case.kwargs)
        return heard
    finally:
        for hook in hooks:
            hook.remove()


def _in_float64(case: zoo.Case) -> Any:
    """What the model gives without rounding of its own."""
    model, (args, kwargs) = copy.deepcopy(case.model).double(), (case.args, dict(case.kwargs))
    wide = pytree.tree_map_only(Tensor, lambda x: x.double() if x.is_floating_point() else x, (args, kwargs))
    with torch.no_grad():
        return model(*wide[0], **wide[1])


def _together(one: dict[str, Tensor], other: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two state dicts in one order.

    Raises:
        ValueError: they are of two models.
    """
    if one.keys() != other.keys():
        raise ValueError(f"state dicts of two models: {sorted(one.keys() ^ other.keys())[:4]}")
    return one, {name: other[name] for name in one}


def _tensors(outputs: Any) -> list[Tensor]:
    return [y for y in pytree.tree_leaves(outputs) if isinstance(y, Tensor) and y.is_floating_point()]


def _types(outputs: Any) -> Any:
    return pytree.tree_structure(outputs)


def _differs(got: list[Tensor], expected: list[Tensor]) -> float:
    pairs = zip(got, expected, strict=True)
    return max((float((y - z).norm() / z.norm().clamp(min=1e-30)) for y, z in pairs), default=0.0)


def _missed(found: dict[str, Any]) -> list[str]:
    claims = {
        f"less than {KEPT:.0%} kept": found["kept"] is None or found["kept"] >= KEPT,
        "other outputs": found["outputs"],
        "another function": found["differs"] <= max(DIFFERS, 2 * (found["rounding"] or 0.0)),
        "another checkpoint": found["converted"] <= DIFFERS,
        "a hook is not heard": found["hooks"][0] == found["hooks"][1],
        "not undone": found["undone"],
    }
    return [missed for missed, met in claims.items() if not met]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=NETWORKS, metavar="NAME", help="of the zoo or a library")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    table = Table(box=None, pad_edge=False)
    for heading in ("network", "M multiply-adds", "of fold's saving", "blocks", "merged", "keys", "hooks", "left"):
        table.add_column(heading, justify="left" if heading in ("network", "left") else "right")
    for heading in ("differs", "converted", "s", "missed"):
        table.add_column(heading, justify="left" if heading == "missed" else "right")
    failed = False
    for name in options.names:
        if package := libraries.missing(name):
            progress.print(f"{name}: left out, {package} is not installed")
            continue
        progress.print(f"{name} …")
        found = measure(name)
        record("own_model", {name: found})
        missed = _missed(found)
        failed |= bool(missed)
        m0, m1 = found["macs"]
        kept = "" if found["kept"] is None else f"{found['kept']:.1%}"
        left = ", ".join(f"{n} {code}" for code, n in found["left"].items())
        k0, k1, _ = found["keys"]
        table.add_row(
            name, f"{m0 / 1e6:.1f} → {m1 / 1e6:.1f}", kept, str(found["blocks"]), str(found["merged"]), f"{k0} → {k1}",
            "{} of {}".format(*found["hooks"]), left, f"{found['differs']:.1e}", f"{found['converted']:.1e}",
            f"{found['seconds']:.0f}", "; ".join(missed),
        )  # fmt: skip
    console.print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
