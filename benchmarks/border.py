"""``python -m benchmarks.border [NAME...]``: chains whose border one convolution gets wrong, as networks have them.

One row a chain and objective: how its border is mended and at what cost, multiply-adds before → after, eager latency on
one thread, original and folded in turn (medians, and the median of the ratios pair by pair), and the error on the ring
and inside in float32 beside the original's own. By "time" a chain is folded where that pays; by "macs" wherever there
are fewer multiply-adds or layers, whatever it costs here: what declining saves. Exits with 1 where a chain folded for
time is slower than it was, where a target of EDSR's is missed, or on another function.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from rich.table import Table
from torch import Tensor, nn

import convfold
import zoo
from benchmarks.record import console, progress, record
from benchmarks.savings import errors, timed
from benchmarks.timing import medians, ratio
from convfold.report import count
from zoo.own import EDSR, edsr_tail


class Normalise(nn.Module):
    """(x − mean) / std, as a preprocessing layer before the stem."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = (x - self.mean) / self.std
        return y


class WindowedLinear(nn.Module):
    """What Swin does before its attention: a layer norm, tokens padded to whole windows, a linear layer in each."""

    def __init__(self, size: int, width: int = 96, window: int = 7) -> None:
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.size, self.window, self.extra = size, window, -size % window

    def forward(self, x: Tensor) -> Tensor:
        n, _, c = x.shape
        x = self.norm(x).view(n, self.size, self.size, c)
        x = F.pad(x, (0, 0, 0, self.extra, 0, self.extra))
        side, w = (self.size + self.extra) // self.window, self.window
        x = x.view(n, side, w, side, w, c).transpose(2, 3).reshape(-1, w * w, c)
        y: Tensor = self.qkv(x)
        return y


class WindowedByHand(nn.Module):
    """The same with the norm's scale and shift in the linear layer: what they add to the padding is taken off again."""

    def __init__(self, m: WindowedLinear) -> None:
        super().__init__()
        self.size, self.window, self.extra = m.size, m.window, m.extra
        weight, shift = m.qkv.weight * m.norm.weight, m.qkv.weight @ m.norm.bias
        self.qkv = nn.Linear(weight.shape[1], weight.shape[0])
        self.qkv.weight.data, self.qkv.bias.data = weight.detach(), (m.qkv.bias + shift).detach()
        self.register_buffer("shift", shift.detach())

    def forward(self, x: Tensor) -> Tensor:
        n, _, c = x.shape
        x = F.layer_norm(x, (c,)).view(n, self.size, self.size, c)
        x = F.pad(x, (0, 0, 0, self.extra, 0, self.extra))
        side, w, inside = (self.size + self.extra) // self.window, self.window, self.window - self.extra
        x = x.view(n, side, w, side, w, c).transpose(2, 3).reshape(-1, w * w, c)
        y = self.qkv(x).view(n, side, side, w, w, -1)
        y[:, -1, :, inside:].sub_(self.shift)
        y[:, :-1, -1, :, inside:].sub_(self.shift)
        y[:, -1, -1, :inside, inside:].sub_(self.shift)
        return y.view(-1, w * w, y.shape[-1])


def _conv(c_in: int, c_out: int, k: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, k, **options)


@dataclass(frozen=True)
class Chain:
    """A model, its input, and what is claimed of it beside being no slower."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    fewer: float = 1.0  # multiply-adds, before over after
    faster: float = 0.98
    by_hand: Callable[[Any], nn.Module] | None = None  # what the plan does not do, to see what it would cost


IMAGE = (1, 3, 224, 224)
CHAINS = {
    "normalise → 7×7 /2 p3, norm (ResNet)": Chain(
        lambda: nn.Sequential(Normalise(), _conv(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64)), IMAGE
    ),
    "normalise → same 3×3 /2 (asymmetric)": Chain(
        lambda: nn.Sequential(Normalise(), nn.ZeroPad2d((0, 1, 0, 1)), _conv(3, 32, 3, stride=2), nn.BatchNorm2d(32)),
        IMAGE,
    ),
    "normalise → 3×3 /2 p1": Chain(
        lambda: nn.Sequential(Normalise(), _conv(3, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32)), IMAGE
    ),
    # Nothing is claimed at batch 1: the norm takes as long as the strips, both less than the check of the input's size.
    "batch norm → 3×3 p1": Chain(
        lambda: nn.Sequential(nn.BatchNorm2d(64), _conv(64, 64, 3, padding=1)), (1, 64, 56, 56), faster=0.0
    ),
    "batch norm → 3×3 p1, batch 8": Chain(
        lambda: nn.Sequential(nn.BatchNorm2d(64), _conv(64, 64, 3, padding=1)), (8, 64, 56, 56)
    ),
    "1×1 → 3×3 p1 (DBB)": Chain(
        lambda: nn.Sequential(_conv(64, 64, 1), nn.BatchNorm2d(64), _conv(64, 64, 3, padding=1), nn.BatchNorm2d(64)),
        (1, 64, 56, 56),
    ),
    # Nothing is claimed: torch's layer norm scales in the pass it makes anyway, and takes longer without a scale.
    "layer norm → linear (Swin, whole windows)": Chain(lambda: WindowedLinear(56), (1, 56 * 56, 96), faster=0.0),
    "layer norm → window pad → linear (Swin)": Chain(
        lambda: WindowedLinear(60), (1, 60 * 60, 96), faster=0.0, by_hand=WindowedByHand
    ),
    "3×3 p1 → 3×3 p1, wide between": Chain(
        lambda: nn.Sequential(_conv(16, 128, 3, padding=1), _conv(128, 16, 3, padding=1)), (1, 16, 56, 56)
    ),
    "EDSR ×4 tail": Chain(edsr_tail, (1, 64, 48, 48), fewer=8.0, faster=5.0),
    "EDSR-baseline ×4": Chain(EDSR, (1, 3, 48, 48), fewer=1 / 0.71),
}


def measure(chain: Chain, objective: str, seconds: float) -> dict[str, Any]:
    torch.manual_seed(0)
    model = zoo.randomise(chain.build().eval(), 0).eval()
    args = (torch.randn(chain.shape),)
    if objective == "by hand":
        assert chain.by_hand is not None
        folded, report = chain.by_hand(model).eval(), convfold.explain(model, args)
    else:
        result = convfold.fold(model, args, config=convfold.FoldConfig(objective, verify=False))
        folded, report = result.module, result.report
    verdict = convfold.verify(model, folded, args)
    times = timed(zoo.Case("", model, args), folded, seconds)
    return {
        "macs": [report.before.macs, report.after.macs],
        "ops": [report.before.ops, report.after.ops],
        "borders": [str(b) for b in report.borders],
        "reasons": sorted({r.code for r in report.refused}),
        "changed": report.changed,
        "seconds": medians(times),
        "speedup": ratio(times, "original", "folded"),
        "rounds": len(times["original"]),
        "error": errors(verdict),
    }


def missed(chain: Chain, objective: str, found: dict[str, Any]) -> list[str]:
    out = [] if found["error"]["passed"] else ["another function"]
    if objective == "time":
        if found["speedup"] < chain.faster:
            out.append(f"wanted {chain.faster:.2f} times as fast")
        if found["macs"][0] < chain.fewer * found["macs"][1]:
            out.append(f"wanted {chain.fewer:.2f} times fewer")
    return out


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of names; all if none is given")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to time each")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    table = Table(box=None, pad_edge=False)
    for heading in (
        "chain",
        "for",
        "multiply-adds",
        "ops",
        "ms",
        "original/folded",
        "ring",
        "interior",
        "own",
        "missed",
    ):
        table.add_column(heading, justify="left" if heading in ("chain", "for", "missed") else "right")
    failed, ways = False, {}
    for name, chain in CHAINS.items():
        if options.names and not any(part in name for part in options.names):
            continue
        for objective in ("time", "macs", *(["by hand"] if chain.by_hand else [])):
            progress.print(f"{name}, {objective} …")
            found = measure(chain, objective, options.seconds)
            record("border", {f"{name}, {objective}": found})
            misses = missed(chain, objective, found)
            failed = failed or bool(misses)
            (m0, m1), error, seconds = found["macs"], found["error"], found["seconds"]
            table.add_row(
                name, objective, f"{count(m0)} → {count(m1)}", f"{found['ops'][0]} → {found['ops'][1]}",
                f"{1e3 * seconds['original']:.2f} → {1e3 * seconds['folded']:.2f}", f"{found['speedup']:.2f}",
                f"{error['ring']:.1e}", f"{error['interior']:.1e}", f"{error['original']:.1e}", "; ".join(misses),
            )  # fmt: skip
            ways[f"{name}, {objective}"] = found["borders"] or [f"left: {', '.join(found['reasons']) or 'no border'}"]
    console.print(table)
    for name, lines in ways.items():
        for line in lines:
            console.print(f"{name}: {line}", highlight=False)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
