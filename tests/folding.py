"""Fold a net in float64 and hold the result against the original, number by number, at several batch sizes."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import convfold
from tests.laws.oracle import TOLERANCE, assert_close

Shape = tuple[int, ...]

BATCHES = (1, 2, 3)
STATIC = "static"


@torch.no_grad()
def randomised(net: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight and statistic drawn anew: asymmetric kernels, biases of either sign, no ones, no zeros."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(t: Tensor) -> Tensor:
        return torch.randn(t.shape, generator=generator, dtype=torch.float64)

    for m in net.modules():
        for name, t in [*m.named_parameters(recurse=False), *m.named_buffers(recurse=False)]:
            if not t.is_floating_point():
                continue
            if name == "running_var":
                t.copy_(drawn(t).abs() + 0.3)
            elif t.dim() > 1:
                t.copy_(drawn(t) / max(t[:1].numel(), 1) ** 0.5)
            else:
                t.copy_(drawn(t))
    return net


def double(net: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights, float64, eval mode."""
    return randomised(net.double(), seed).eval()


def noise(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def fold_checked(
    net: nn.Module,
    *shapes: Shape,
    batches: Iterable[int] = BATCHES,
    config: convfold.FoldConfig | None = None,
    dynamic_shapes: Any = None,
) -> convfold.Result:
    """Fold ``net`` (made float64, weights random) on inputs of these shapes, batch first, and compare.

    The original must come out of it as it went in, and the result may not be dearer.
    """
    net = double(net)
    before = {name: t.clone() for name, t in net.state_dict().items()}
    example = tuple(noise(*shape, seed=i) for i, shape in enumerate(shapes))
    config = config or convfold.FoldConfig(objective="macs")  # of nets this small every call takes as long as any other
    result = convfold.fold(net, example, config=config, dynamic_shapes=dynamic_shapes)
    after = net.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], t) for name, t in before.items())
    assert result.report.after.macs <= result.report.before.macs
    assert_same(result.module, net, shapes, [shapes[0][0]] if dynamic_shapes == STATIC else batches)
    return result


def assert_same(
    got: nn.Module,
    expected: nn.Module,
    shapes: Sequence[Shape],
    batches: Iterable[int] = BATCHES,
    tolerance: float = TOLERANCE,
) -> None:
    """Every number of every output, interior and border, at every batch size, on two random inputs."""
    for batch in batches:
        for seed in (10, 20):
            inputs = [noise(batch, *shape[1:], seed=seed + i) for i, shape in enumerate(shapes)]
            with torch.no_grad():
                wanted, found = tensors(expected(*map(torch.clone, inputs))), tensors(got(*map(torch.clone, inputs)))
            assert len(wanted) == len(found)
            for i, (y, z) in enumerate(zip(wanted, found, strict=True)):
                assert_close(z, y, f"output {i} at batch {batch}", tolerance)


def tensors(outputs: Any) -> list[Tensor]:
    return [y for y in pytree.tree_leaves(outputs) if isinstance(y, Tensor)]


def calls(result: convfold.Result) -> Counter[str]:
    """How often the folded graph calls what: ``{"conv2d": 1, "relu": 1}``."""
    return Counter(name for node in result.module.graph.nodes if (name := call_name(node)))


def call_name(node: Any) -> str:
    """The operator a graph node calls, '' for one that calls none."""
    if node.op != "call_function" or node.target in vars(operator).values():  # sizes, and parts of what is split
        return ""
    packet = getattr(node.target, "overloadpacket", node.target)
    name = str(getattr(packet, "__name__", packet))
    return "batch_norm" if "batch_norm" in name else name


def assert_calls(result: convfold.Result, **expected: int) -> None:
    """The folded graph is exactly these calls."""
    found = calls(result)
    if dict(found) != expected:
        raise AssertionError(f"the folded graph calls {dict(found)}, expected {expected}\n{result.report}")


def codes(report: convfold.Report) -> Counter[str]:
    """How often each reason was given."""
    return Counter(r.code for r in report.refused)


def assert_unchanged(result: convfold.Result, code: str) -> None:
    """Nothing was folded, and this is a reason given."""
    if result.report.changed:
        raise AssertionError(f"something was folded:\n{result.report}")
    if code not in codes(result.report):
        raise AssertionError(f"reasons {dict(codes(result.report))}, expected {code!r}\n{result.report}")


class Net(nn.Module):
    """Named modules and a function of them: ``Net(lambda m, x: m.b(m.a(x)), a=…, b=…)``."""

    def __init__(self, function: Any, **members: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            if isinstance(member, Tensor) and not isinstance(member, nn.Parameter):
                self.register_buffer(name, member)
            else:
                setattr(self, name, member)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)
