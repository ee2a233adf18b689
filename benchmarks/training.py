"""``python -m benchmarks.training [NAME...]``: what collapsing saves while a block trains.

Five blocks in a row with ReLUs between them, at batches of 1, 16 and 64: expanded (as written), collapsed
(`convfold.collapse`), and deployed (the plain convolutions they amount to, trained by themselves). A row says the
milliseconds of a step (gradients to none, forward, backward, SGD) in the same rounds, expanded/collapsed and
collapsed/deployed (medians of the rounds' ratios with intervals), and how much memory a step takes beyond what was held
before, each in a process of its own. The claims are those in `CLAIMS`; one is missed where the whole interval is.

Then every block of ``examples/blocks.py``, in float64: gradients, and the parameters after 100 steps of SGD with
momentum and of AdamW, expanded against collapsed. Exits with 1 where a claim is missed.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

import convfold
from benchmarks.memory import peak, reset_peak
from benchmarks.record import console, progress, record
from benchmarks.timing import interleaved, interval, medians, ratios, wall
from convfold.errors import ConvfoldError

_FILE = Path(__file__).parents[1] / "examples" / "blocks.py"
_SPEC = importlib.util.spec_from_file_location("blocks", _FILE)
assert _SPEC is not None and _SPEC.loader is not None
blocks: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(blocks)

#: Five of them are timed: a block, its channels and the side of its image.
TIMED: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "sesr": (lambda: blocks.sesr(16, 16), 16, 64),
    "mobileone": (lambda: blocks.mobileone(64, norm=None), 64, 32),
    "mobileone, frozen norms": (lambda: frozen(blocks.mobileone(64)), 64, 32),
    "dbb": (lambda: blocks.dbb(64, 64, norm=None), 64, 32),
    "dbb, frozen norms": (lambda: frozen(blocks.dbb(64, 64)), 64, 32),
    "orepa": (lambda: blocks.orepa(64, 64), 64, 32),
    "ecb": (lambda: blocks.ecb(32, 32), 32, 64),
}
BATCHES = (1, 16, 64)
DEPTH, ROUNDS = 5, 101
#: Expanded over collapsed at least, collapsed over deployed at most, and of expanded's memory at most.
CLAIMS: dict[str, tuple[float, float | None, float | None]] = {
    "sesr": (3.0, 1.3, None),
    "mobileone": (1.5, None, None),  # of branches that are added nothing is held but what all of them read
    "mobileone, frozen norms": (1.5, None, 0.5),
    "dbb": (1.5, None, None),
    "dbb, frozen norms": (1.5, None, 0.5),
    "orepa": (1.5, None, 0.5),
}
ALL: dict[str, Callable[[], nn.Module]] = {
    "acnet": lambda: blocks.acnet(8, 8, None),
    "repvgg": lambda: blocks.repvgg(8, None),
    "mobileone": lambda: blocks.mobileone(8, norm=None),
    "replk": lambda: blocks.replk(8, norm=None),
    "unireplk": lambda: blocks.unireplk(8, norm=None),
    "dbb": lambda: blocks.dbb(8, 8, norm=None),
    "orepa": lambda: blocks.orepa(8, 8),
    "ecb": lambda: blocks.ecb(8, 8),
    "sesr": lambda: blocks.sesr(8, 8, 64),
    "conv3xc": lambda: blocks.conv3xc(8, 8),
    **{
        f"{name}, frozen norms": make
        for name, make in {
            "acnet": lambda: blocks.acnet(8, 8),
            "repvgg": lambda: blocks.repvgg(8),
            "mobileone": lambda: blocks.mobileone(8),
            "dbb": lambda: blocks.dbb(8, 8),
        }.items()
    },
}
STEPS, GRADIENTS, PARAMETERS = 100, 1e-10, 1e-6


def frozen(block: nn.Module) -> nn.Module:
    """As in fine-tuning: norms in eval mode, with statistics as if trained."""
    for m in block.modules():
        if isinstance(m, nn.BatchNorm2d):
            assert m.running_mean is not None and m.running_var is not None
            nn.init.normal_(m.running_mean, std=0.3)
            nn.init.uniform_(m.running_var, 0.5, 2.0)
            m.eval()
    return block


def network(make: Callable[[], nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(layer for _ in range(DEPTH) for layer in (make(), nn.ReLU())))


def forms(name: str, x: Tensor) -> dict[str, nn.Module]:
    make, channels, _ = TIMED[name]
    expanded = network(make)
    return {
        "expanded": expanded,
        "collapsed": convfold.collapse(copy.deepcopy(expanded), x),
        "deployed": network(lambda: nn.Conv2d(channels, channels, 3, padding=1)),
    }


def step(model: nn.Module, x: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(x).square().mean().backward()
        optimizer.step()

    return call


def image(name: str, batch: int) -> Tensor:
    _, channels, side = TIMED[name]
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(1))


def timed(name: str, batch: int, seconds: float) -> dict[str, Any]:
    x = image(name, batch)
    steps = {which: step(model, x) for which, model in forms(name, x).items()}
    times = interleaved({which: wall(call) for which, call in steps.items()}, ROUNDS, seconds=seconds)
    found: dict[str, Any] = {"seconds": medians(times)}
    for of, over in (("expanded", "collapsed"), ("collapsed", "deployed")):
        values = ratios(times, of, over)
        found[f"{of}/{over}"] = [median(values), *interval(values)]
    found["bytes"] = {which: in_a_process(name, batch, which) for which in steps}
    return found


def in_a_process(name: str, batch: int, which: str) -> int:
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.training", "--memory", name, str(batch), which]
    # What is freed goes back to the system at once, so that the peak is of what is held.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
    return int(json.loads(done.stdout.splitlines()[-1]))


def memory(name: str, batch: int, which: str) -> int:
    """Beyond what is held before a step, at most."""
    torch.set_num_threads(1)
    small, x = image(name, 1), image(name, batch)
    call = step(forms(name, small)[which], small)
    call()  # what is made once
    model = forms(name, small)[which]
    call = step(model, x)
    reset_peak()
    before = peak()
    call()
    return peak() - before


def missed(name: str, found: dict[str, Any]) -> Iterator[str]:
    least, most, share = CLAIMS.get(name, (1.0, None, None))
    if found["expanded/collapsed"][2] < least:
        yield f"expanded/collapsed below {least}"
    if most is not None and found["collapsed/deployed"][1] > most:
        yield f"collapsed/deployed above {most}"
    if share is not None and found["bytes"]["collapsed"] > share * found["bytes"]["expanded"]:
        yield f"memory above {share:.0%}"


# --- the same training ---


def same(make: Callable[[], nn.Module]) -> dict[str, float]:
    """The largest difference of gradients at the start, and of parameters after so many steps, relative to theirs."""
    torch.manual_seed(0)
    block = frozen(make().double())
    model = nn.Sequential(block, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5).double())
    macs = convfold.FoldConfig(objective="macs")
    optimizers: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
        "momentum": lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9),
        "adamw": lambda p: torch.optim.AdamW(p, 1e-3),
    }
    found: dict[str, float] = {}
    for rule, optimizer in optimizers.items():
        expanded, own = copy.deepcopy(model), copy.deepcopy(model)
        collapsed = convfold.collapse(own, images(0), config=macs)
        a, b = gradients(collapsed), gradients(expanded)
        most = max(float(g.norm()) for g in b)
        found["gradients"] = max(float((g - h).norm()) / most for g, h in zip(a, b, strict=True))
        for m in (expanded, collapsed):
            trained(m, optimizer(m.parameters()))
        pairs = zip(own.parameters(), expanded.parameters(), strict=True)
        found[rule] = max(float((p - q).detach().norm() / q.detach().norm()) for p, q in pairs)
    return found


def images(seed: int) -> Tensor:
    return torch.randn(2, 8, 16, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradients(model: nn.Module) -> list[Tensor]:
    loss = nn.functional.cross_entropy(model(images(0)), torch.arange(2))
    return list(torch.autograd.grad(loss, list(model.parameters())))


def trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for i in range(STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images(i)), torch.arange(2)).backward()
        optimizer.step()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of the blocks that are timed")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--seconds", type=float, default=20.0, help="to time a row in, if 7 rounds do not take longer")
    parser.add_argument("--same", action=argparse.BooleanOptionalAction, default=True, help="the second table")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.memory:
        name, batch, which = options.memory
        print(json.dumps(memory(name, int(batch), which)))
        return 0
    torch.set_num_threads(1)
    wrong = False
    table = Table(box=None, pad_edge=False)
    for heading in ("block", "batch", "ms", "expanded/collapsed", "collapsed/deployed", "MB", "missed"):
        table.add_column(heading)
    for name in options.names or TIMED:
        for batch in options.batches:
            progress.print(f"{name}, batch {batch} …")
            found = timed(name, batch, options.seconds)
            record("training", {f"{name}, batch {batch}": found})
            said = "; ".join(missed(name, found))
            wrong |= bool(said)
            table.add_row(
                name,
                str(batch),
                ", ".join(f"{which} {1e3 * s:.3g}" for which, s in found["seconds"].items()),
                *("{:.2f} [{:.2f}, {:.2f}]".format(*found[k]) for k in ("expanded/collapsed", "collapsed/deployed")),
                ", ".join(f"{which} {n / 2**20:.0f}" for which, n in found["bytes"].items()),
                said,
            )
    console.print(table)
    if options.same:
        table = Table(box=None, pad_edge=False)
        for heading in ("block", "gradients", "after 100 steps of SGD", "of AdamW", "missed"):
            table.add_column(heading)
        for name, make in ALL.items():
            progress.print(f"{name}, the same? …")
            try:
                differs = same(make)
            except ConvfoldError as e:
                table.add_row(name, "", "", "", str(e))
                wrong = True
                continue
            record("training", {f"{name}, the same": differs})
            off = differs["gradients"] > GRADIENTS or max(differs["momentum"], differs["adamw"]) > PARAMETERS
            wrong |= off
            table.add_row(name, *(f"{differs[k]:.1e}" for k in ("gradients", "momentum", "adamw")), "yes" * off)
        console.print(table)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
