"""What a reader of a layer is held against: for packages that add their own, as `convfold.layers` is for its files.

from convfold.testing import check

def test_blur() -> None:
    check("mine.blur.default")
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from convfold.config import FoldConfig
from convfold.fold import fold, opened
from convfold.layers import ATEN
from convfold.layers.examples import EXAMPLES, Example
from convfold.verify import verify

__all__ = ["check"]

T = TypeVar("T")


def check(spelling: str, draws: int = 25, seed: int = 0) -> None:
    """Hold the reader of an operator against torch on examples drawn as `convfold.layers.examples` declares.

    Of each: what the reading computes is what torch does, or it is refused for the reason that the example gives; and a
    model with a linear layer before it and one behind it, folded, is the same function, whatever merged.

    Args:
        spelling: the operator's whole name: ``mine.blur.default``.
        draws: how many examples.
        seed: of the first.

    Raises:
        AssertionError: the reading is another function, or another reason; the call is shown.
        LookupError: there is no such reader, no example of it, or none that torch takes.
    """
    for known, what in ((ATEN, "reader"), (EXAMPLES, "example")):
        if spelling not in known:
            raise LookupError(f"there is no {what} for {spelling!r}; is its package imported?")
    tried = sum(_check(spelling, seed + i) for i in range(draws))
    if not tried:
        raise LookupError(f"torch takes none of {draws} examples of {spelling!r}")


class _Draw:
    """A `Draw` from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._generator = torch.Generator().manual_seed(seed)

    def pick(self, options: Sequence[T]) -> T:
        return self._random.choice(list(options))

    def integer(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def signal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, dtype=torch.float64)

    def weight(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(self.signal(*shape), requires_grad=False)


class _OneCall(nn.Module):
    """The operator on what it is given, its weights held; ``before`` and ``behind`` it a layer for each signal."""

    def __init__(self, call: Any, example: Example) -> None:
        super().__init__()
        self.call, self.kwargs = call, dict(example.kwargs)
        leaves, self.spec = pytree.tree_flatten(list(example.args))
        self.held = nn.ParameterList(a for a in leaves if isinstance(a, nn.Parameter))
        self.xs = [a for a in leaves if isinstance(a, Tensor) and not isinstance(a, nn.Parameter)]
        self.leaves = leaves
        self.before = nn.ModuleList(nn.Identity() for _ in self.xs)
        self.behind: nn.Module = nn.Identity()

    def forward(self, *xs: Tensor) -> Any:
        held, given = iter(self.held), iter([layer(x) for layer, x in zip(self.before, xs, strict=True)])
        tensors = (next(held if isinstance(a, nn.Parameter) else given) for a in self.leaves if isinstance(a, Tensor))
        args = [next(tensors) if isinstance(a, Tensor) else a for a in self.leaves]
        y = self.call(*pytree.tree_unflatten(args, self.spec), **self.kwargs)
        return pytree.tree_map_only(Tensor, self.behind, y)


def _check(spelling: str, seed: int) -> bool:
    """Does torch take the example? Then it has been looked at."""
    example = EXAMPLES[spelling](_Draw(seed), spelling.removeprefix("aten."))
    net = _OneCall(_overload(spelling), example).eval()
    said = f"{spelling}, seed {seed}: {_shown(example)}"
    try:
        with torch.no_grad():
            y = net(*net.xs)
    except (RuntimeError, ValueError, IndexError):  # arguments that do not fit
        return False
    stages = opened(net, tuple(net.xs), None, "static", FoldConfig("macs"))
    codes = [refusal.code for refusal in stages.stretches.opaque.values()]
    if codes != ([example.refused] if example.refused else []):
        raise AssertionError(f"{said}: refused as {codes}, expected {example.refused or 'a reading'}")
    values = dict(zip(stages.graph.program.given, net.xs, strict=True))
    outputs = [t for t in pytree.tree_leaves(y) if isinstance(t, Tensor)]
    for region in stages.stretches.regions:
        if all(x.name in values for x in region.inputs):
            with torch.no_grad():
                found = region.evaluate(values)
            for name, got in found.items():
                if not any(got.shape == t.shape and torch.allclose(got, t, rtol=1e-9, atol=1e-11) for t in outputs):
                    raise AssertionError(f"{said}: the reading gives other numbers than torch for {name}")
    if isinstance(y, Tensor) and all(x.dim() and x.numel() and x.is_floating_point() for x in (*net.xs, y)):
        net.before = nn.ModuleList(nn.Linear(x.shape[-1], x.shape[-1]).double() for x in net.xs)
        net.behind = nn.Linear(y.shape[-1], 3).double()
        result = fold(net, tuple(net.xs), dynamic_shapes="static", config=FoldConfig("macs", verify=False))
        verdict = verify(net, result.module, tuple(net.xs))
        if not verdict.passed:
            raise AssertionError(f"{said}: between linear layers, folded, {verdict}")
    return True


def _overload(spelling: str) -> Any:
    found: Any = torch.ops
    for name in spelling.split("."):
        found = getattr(found, name)
    return found


def _shown(example: Example) -> str:
    def short(a: Any) -> Any:
        return f"{'weight' if isinstance(a, nn.Parameter) else 'x'}{list(a.shape)}" if isinstance(a, Tensor) else a

    args, kwargs = pytree.tree_map(short, (list(example.args), dict(example.kwargs)))
    return ", ".join([*map(str, args), *(f"{name}={a}" for name, a in kwargs.items())])
