"""``python -m benchmarks.spellings [NAME...] [--rounds N]``: blocks as their authors wrote them, and as by hand.

Multiply-adds and operations before → after → by hand, and eager latency on one thread, folded over original: the
median of interleaved ratios. What is not reached has its reason.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
from rich.table import Table
from torch import Tensor, nn

import convfold
from benchmarks.record import console, record
from benchmarks.timing import interleaved, ratio, repeats, wall
from zoo.own import spelled


class Block(NamedTuple):
    model: nn.Module
    shapes: Sequence[tuple[int, ...]]
    macs: int  # by hand
    ops: int
    why: str = ""  # where that is not reached


BLOCKS = {
    "YOLOX Focus": Block(spelled.Focus(), [(1, 3, 320, 320)], 32 * 12 * 9 * 160 * 160, 1),
    "YOLOR implicit": Block(spelled.Implicit(), [(1, 64, 40, 40)], 48 * 64 * 40 * 40, 1),
    "MWCNN": Block(spelled.Wavelet(), [(1, 16, 64, 64)], 32 * 64 * 9 * 32 * 32, 1),
    "Mamba causal": Block(
        spelled.Causal(),
        [(1, 128, 256)],
        128 * 4 * 256,
        2,
        "zeros at one end are a copy of the input, for 1 % of its multiply-adds",
    ),
    "TCN": Block(spelled.Temporal(), [(1, 32, 256)], 64 * 32 * 3 * 256, 2),
    "ViT class token": Block(spelled.ClassToken(), [(1, 197, 192)], 192 * 100, 2),
    "ACNet": Block(spelled.Crossed(), [(1, 32, 34, 34)], 32 * 32 * 9 * 32 * 32, 1),
    "PyramidNet shortcut": Block(spelled.Shortcut(), [(1, 16, 32, 32)], 32 * 16 * 9 * 16 * 16, 1),
    "ABPN": Block(spelled.Anchored(), [(1, 28, 60, 80), (1, 3, 60, 80)], (28 + 27) * 27 * 9 * 60 * 80, 5),
    "StyleGAN2 upfirdn": Block(spelled.Blurred(), [(1, 16, 32, 32)], 16 * 16 * (32 * 32 + 64 * 64), 2),
    "TResNet stem": Block(spelled.Folded(), [(1, 3, 224, 224)], 64 * 48 * 9 * 56 * 56, 1),
    "ViT patches": Block(spelled.Patches(), [(1, 3, 224, 224)], 192 * 768 * 14 * 14, 3),
    "Sub-pixel by views": Block(spelled.Grown(), [(1, 16, 32, 32)], 3 * 4 * 16 * 9 * 32 * 32, 2),
    "ECBSR": Block(spelled.EdgeOriented(), [(1, 16, 64, 64)], 16 * 16 * 9 * 64 * 64, 1),
    "DBB": Block(spelled.DiverseBranches(), [(1, 16, 64, 64)], 16 * 16 * 9 * 64 * 64, 1),
    "CoordConv": Block(spelled.Coordinates(), [(1, 32, 64, 64)], 32 * 32 * 9 * 64 * 64, 2),
    "SwinV2 patch merging": Block(spelled.PatchMerging(), [(1, 56, 56, 32)], 64 * 128 * 28 * 28, 4),
    "Inception input": Block(spelled.TransformedInput(), [(1, 3, 299, 299)], 32 * 27 * 149 * 149, 1),
    "ArcFace embedding": Block(spelled.Embedding(), [(1, 128, 7, 7)], 128 * 49 * 512, 2),
    "ResNeXt as drawn": Block(spelled.SplitTransform(), [(1, 64, 28, 28)], (64 * 8 * 9 + 64 * 64) * 28 * 28, 3),
    "Laplacian pyramid": Block(spelled.PyramidUp(), [(1, 16, 32, 32)], 16 * 25 * 32 * 32, 1),
    "GhostNet, 25 channels": Block(
        spelled.Ghost(),
        [(1, 16, 28, 28)],
        (13 * 16 + 12 * 9) * 28 * 28,
        6,
        "one channel in 13: for time a cut is to spare more",
    ),
    "ConvNeXt's own norm": Block(
        spelled.ChannelsFirstNorm(), [(1, 32, 28, 28)], 48 * 32 * 28 * 28 + 64 * 48 * 4 * 14 * 14, 7
    ),
    "ViT last block": Block(spelled.LastBlock(), [(1, 197, 192)], 192 * (197 * 2 * 192 + 10 * 192 + 100), 25),
    "ASPP branch": Block(spelled.Dilated(), [(1, 64, 14, 14)], 64 * 32 * 14 * 14 * (9 + 1 + 1), 3 + 3 + 1),
}


def measured(block: Block, rounds: int) -> dict[str, object]:
    torch.manual_seed(0)
    model = block.model.eval()
    for m in model.modules():  # fresh statistics hide mistakes
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            for t, low in ((m.running_mean, -1.0), (m.running_var, 0.5), (m.weight, 0.5), (m.bias, -1.0)):
                nn.init.uniform_(t, low, low + 1)  # type: ignore[arg-type]
    args = tuple(torch.randn(shape) for shape in block.shapes)
    result = convfold.fold(model, args, dynamic_shapes="static")
    before, after = result.report.before, result.report.after

    def run(f: nn.Module) -> Tensor:
        with torch.no_grad():
            y: Tensor = f(*args)
        return y

    calls = {"original": lambda: run(model), "folded": lambda: run(result.module)}
    times = interleaved({name: wall(call, repeats(call)) for name, call in calls.items()}, rounds)
    reached = after.macs <= block.macs and after.ops <= block.ops
    return {
        "macs": [before.macs, after.macs, block.macs],
        "ops": [before.ops, after.ops, block.ops],
        "over": ratio(times, "folded", "original"),
        "reached": reached,
        "why": "" if reached else block.why,
    }


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BLOCKS))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    out = Table(box=None, pad_edge=False)
    for heading in ("", "M multiply-adds", "operations", "time", ""):
        out.add_column(heading, justify="right" if heading else "left")
    missed = []
    for name in options.names or BLOCKS:
        found = measured(BLOCKS[name], options.rounds)
        macs, ops = found["macs"], found["ops"]
        assert isinstance(macs, list)
        assert isinstance(ops, list)
        said = "by hand" if found["reached"] else str(found["why"] or "NOT REACHED")
        out.add_row(
            name,
            " → ".join(f"{m / 1e6:.2f}" for m in macs),
            " → ".join(map(str, ops)),
            f"{found['over']:.2f}",
            said,
        )
        record("spellings", {name: found})
        missed += [name] if not found["reached"] and not found["why"] else []
    console.print(out)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main(sys.argv[1:])
