"""``python -m benchmarks.mutations``: folds that are wrong in one way each, and whether verification catches them.

Two tables. Functions: a small net beside one with a fault, of the kinds that rewriting layers can make. Edits: a net
that convfold folded, its weights or calls changed afterwards. All are verified as `convfold.fold` verifies its results:
in float32, at the trials it would choose, the batch free and, where it says so, height and width too. Exits with 1 if a
fault passes, or a net without one does not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.export import Dim
from torch.fx import GraphModule, Node

import convfold
import zoo
from benchmarks.faults import FAULTS, Fault, Parts
from benchmarks.record import console, record
from convfold.comparison.trials import at_sizes
from convfold.frontends.torch.read import Inputs


@dataclass(frozen=True)
class Found:
    """What verification said."""

    caught: bool
    said: str


def places(fault: Fault) -> tuple[dict[str, list[tuple[int, int]]], dict[str, int]]:
    """The free dimensions, as `fold` finds them in a program, and their least sizes."""
    free = {"batch": [(0, 0)], **({"height": [(0, 2)], "width": [(0, 3)]} if fault.space else {})}
    return free, dict.fromkeys(free, 1)


def examine(fault: Fault) -> Found:
    x = torch.randn(fault.shape, generator=torch.Generator().manual_seed(1))
    wrong = Parts(fault.wrong)
    fault.alter(wrong)
    return verified(Parts(fault.right), wrong, x, *places(fault))


def sound(fault: Fault) -> Found:
    """The same without the fault."""
    return examine(replace(fault, wrong=fault.right, alter=lambda m: None))


def verified(right: nn.Module, wrong: nn.Module, x: Tensor, *free: Any) -> Found:
    """As `fold` does it."""
    inputs: Inputs = (x,), {}
    try:
        verdict = convfold.verify(right, wrong, *inputs, trials=at_sizes(inputs, *free), thorough=False)
    except convfold.InvalidInput as e:
        return Found(True, f"refused: {e}")
    return Found(not verdict.passed, str(verdict))


# --- edits of what was folded


def plain() -> nn.Module:
    """Norms and strides: kernels and biases."""
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 6, 3, stride=2, groups=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, (1, 3)),
    )  # fmt: skip


def bordered() -> nn.Module:
    """Two padded layers as one: a kernel for the interior, others for every edge and corner."""
    return nn.Sequential(nn.Conv2d(4, 24, 3, padding=1), nn.Conv2d(24, 4, 3, padding=1))


def upsampled() -> nn.Module:
    """A 3×3 behind nearest upsampling as one transposed convolution."""
    return nn.Sequential(nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())


NETS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "plain": (plain, False),
    "plain, all sizes free": (plain, True),
    "bordered": (bordered, False),
    "upsampled": (upsampled, False),
}

#: What is done to one parameter of the folded net, each in turn.
EDITS: dict[str, Callable[[Tensor], Tensor]] = {
    "flipped": lambda w: w.flip(-1),
    "rolled by one channel": lambda w: w.roll(1, 0),
    "set to zero": torch.zeros_like,
    "scaled by 1 + 1e-3": lambda w: w * (1 + 1e-3),
    "one channel scaled by 1.3": lambda w: torch.cat([w[:1] * 1.3, w[1:]]),
    "rounded to bfloat16": lambda w: w.bfloat16().float(),
}

#: What is done to one call, each in turn: the values of an argument of convolutions, or the call left out.
CALLS: dict[str, Callable[[GraphModule, Node], bool]] = {
    "stride": lambda m, n: _argument(n, 3, lambda s: [3 - min(v, 2) for v in s]),
    "padding": lambda m, n: _argument(n, 4, lambda p: [v + 1 for v in p]),
    "dilation": lambda m, n: _argument(n, 5, lambda d: [v + 1 for v in d]),
    "activation left out": lambda m, n: "relu" in str(n.target) and _left_out(m, n),
}


def folded(name: str) -> tuple[nn.Module, convfold.Result, Tensor]:
    make, space = NETS[name]
    net = zoo.randomise(make().eval(), 0)
    x = torch.randn((1, 4, 11, 14), generator=torch.Generator().manual_seed(1))
    shapes = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},) if space else None
    config = convfold.FoldConfig("macs", verify=False)
    return net, convfold.fold(net, x.expand(2, -1, -1, -1) if space else x, dynamic_shapes=shapes, config=config), x


def edited(name: str, every: bool = True) -> list[tuple[str, Found]]:
    """Every edit of every parameter (or one of each) and call that changes anything; first none."""
    net, result, x = folded(name)
    free = result.source.free_places()
    found = [("", verified(net, result.module, x, *free))]

    def add(edit: str, module: nn.Module) -> None:
        if not _inert(module, result.module, x):
            found.append((edit, verified(net, module, x, *free)))

    for i, (edit, change) in enumerate(EDITS.items()):
        for j, (key, before) in enumerate(result.module.named_parameters()):
            if not every and j % len(EDITS) != i:
                continue
            module = deepcopy(result.module)
            with torch.no_grad():
                after = module.get_parameter(key).copy_(change(before))
            if not torch.equal(before, after):
                add(f"{edit}: {key}", module)
    for edit, alter in CALLS.items():
        for i in range(len(result.module.graph.nodes)):
            module = deepcopy(result.module)
            node = list(module.graph.nodes)[i]
            if node.op == "call_function" and alter(module, node):
                module.recompile()
                add(f"{edit}: {node.name}", module)
    return found


@torch.no_grad()
def _inert(module: nn.Module, other: nn.Module, x: Tensor) -> bool:
    """An edit without effect: a stride along an axis of one position."""
    try:
        return all(torch.equal(module(y), other(y)) for y in (x, x.repeat(2, 1, 1, 1)))
    except RuntimeError:
        return False


def _argument(node: Node, i: int, change: Callable[[list[int]], list[int]]) -> bool:
    if "conv2d" not in str(node.target):
        return False
    defaults = [1, 1], [0, 0], [1, 1]
    args: list[Any] = [*node.args, *([None] * (3 - len(node.args)))]
    args += defaults[len(args) - 3 :]
    args[i] = change(list(args[i]))
    node.args = tuple(args)
    return True


def _left_out(module: GraphModule, node: Node) -> bool:
    node.replace_all_uses_with(node.all_input_nodes[0])
    module.graph.erase_node(node)
    return True


def main() -> int:
    table = Table(box=None, pad_edge=False)
    for heading in ("fault", "", "what verification says"):
        table.add_column(heading, overflow="fold")
    rows = [(f.name, examine(f), sound(f)) for f in FAULTS]
    passed = [name for name, found, _ in rows if not found.caught]
    alarms = [f"{name}: {right.said}" for name, _, right in rows if right.caught]
    for name, found, _ in rows:
        table.add_row(name, "caught" if found.caught else "PASSED", found.said.partition("; at")[0])
    counts = {}
    for name in NETS:
        (_, right), *edits = edited(name)
        alarms += [f"{name}: {right.said}"] if right.caught else []
        passed += [f"{name}: {edit}" for edit, found in edits if not found.caught]
        counts[name] = {"edits": len(edits), "caught": sum(found.caught for _, found in edits)}
        table.add_row(f"folded, {name}", f"{counts[name]['caught']} of {len(edits)}", "edits of parameters and calls")
    console.print(table)
    console.print(f"{len(rows)} kinds, {len(passed)} passed, {len(alarms)} false alarms", *passed, *alarms, sep="\n")
    record("mutations", {"functions": {"kinds": len(rows), "caught": len(rows) - len(passed)}, **counts})
    return bool(passed or alarms)


if __name__ == "__main__":
    sys.exit(main())
