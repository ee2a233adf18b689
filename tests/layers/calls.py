"""One call of torch as a whole program, drawn by Hypothesis from the examples that the layer files declare."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from convfold.frontends.torch.constants import Constants
from convfold.frontends.torch.program import FxProgram
from convfold.frontends.torch.sizes import ExampleSizes
from convfold.frontends.torch.unlift import Calls
from convfold.layers.examples import EXAMPLES, MODULE_EXAMPLES, Example, ModuleExample
from convfold.lift import Stretches, lift
from convfold.region import Region
from tests.folding import double, randomised
from tests.laws.generate import Drawn, numbers

aten = torch.ops.aten

#: Calls that no CPU runs, and those that compute the same of the same arguments.
ELSEWHERE = {aten.cudnn_batch_norm.default: aten.native_batch_norm.default}

#: What torch raises on arguments that do not fit.
_ILLEGAL = (RuntimeError, ValueError, IndexError)


class Drawing(Drawn):
    """A `Draw` whose choices Hypothesis makes, and shrinks."""

    def signal(self, *shape: int) -> Tensor:
        return numbers(self, *shape)

    def weight(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(numbers(self, *shape), requires_grad=False)


@st.composite
def examples(draw: st.DrawFn, spelling: str) -> Example:
    """Of an ATen overload: ``aten.conv2d.default``."""
    return EXAMPLES[spelling](Drawing(draw), spelling.removeprefix("aten."))


@st.composite
def module_examples(draw: st.DrawFn, kind: type[nn.Module]) -> ModuleExample:
    """Of a class of modules, in float64; one of torch's own with random weights and statistics."""
    d = Drawing(draw)
    found = MODULE_EXAMPLES[kind](d, kind)
    found.module.double()
    if kind.__module__.startswith("torch."):  # the house's own hold what they were made of
        randomised(found.module, d.integer(0, 99))
    return found


def overload(spelling: str) -> Any:
    """What torch has by this name; None if it has nothing."""
    namespace, *names = spelling.split(".")
    found: Any = getattr(torch.ops, namespace)
    for name in names:
        found = getattr(found, name, None)
    return found


def computed(target: Any, example: Example) -> Any:
    return ELSEWHERE.get(target, target)(*example.args, **example.kwargs)


def shown(spelling: str, example: Example) -> str:
    """The call, with shapes in the place of tensors."""

    def short(a: Any) -> Any:
        return f"{'weight' if isinstance(a, nn.Parameter) else 'x'}{list(a.shape)}" if isinstance(a, Tensor) else a

    args, kwargs = pytree.tree_map(short, (example.args, dict(example.kwargs)))
    named = [f"{name}={a}" for name, a in kwargs.items()]
    return f"{spelling}({', '.join([*map(str, args), *named])})"


@dataclass(frozen=True)
class OneCall:
    """A program of one call, and what torch computes.

    Attributes:
        values: signals and weights by the names that the program has for them.
        outputs: what the call computes, by name.
        macs: how much torch counts that it multiplies.
    """

    program: FxProgram
    name: str
    values: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    macs: int

    @classmethod
    def of(cls, target: Any, example: Example) -> OneCall:
        """Arguments that torch does not take are not looked at."""
        try:
            with torch.no_grad():
                result = computed(target, example)
                with FlopCounterMode(display=False) as counter:  # whose own results are those of decompositions
                    computed(target, example)
        except _ILLEGAL:
            assume(False)
        graph, weights = Graph(), {}
        nodes: dict[int, Node] = {}  # by the tensor they stand for

        def node(a: Any) -> Any:
            if not isinstance(a, Tensor):
                return a
            if id(a) not in nodes:
                name = f"v{len(nodes)}"
                held = isinstance(a, nn.Parameter)
                nodes[id(a)] = graph.get_attr(name) if held else graph.placeholder(name)
                nodes[id(a)].meta["val"] = a
                weights.update({name: a} if held else {})
            return nodes[id(a)]

        args, kwargs = pytree.tree_map(node, (example.args, dict(example.kwargs)))
        call = graph.call_function(target, args, kwargs)
        call.meta["val"] = result
        parts = [call]
        if not isinstance(result, Tensor):
            parts = [graph.call_function(operator.getitem, (call, i)) for i in range(len(result))]
        results = [result] if isinstance(result, Tensor) else list(result)
        for part, y in zip(parts, results, strict=True):
            part.meta["val"] = y
        graph.output(tuple(parts))
        calls = Calls(graph, weights)
        return cls(
            FxProgram(calls, Constants(calls), ExampleSizes({})),
            call.name,
            {n.name: n.meta["val"] for n in nodes.values()},
            {n.name: y for n, y in zip(parts, results, strict=True)},
            counter.get_total_flops() // 2,
        )

    def lift(self) -> Stretches:
        with torch.no_grad():
            return lift(self.program, lambda path: False)

    def evaluated(self, region: Region, stretches: Stretches) -> dict[str, Tensor]:
        """What the region gives; a norm without its scale and shift is called so, as the lowered program does."""
        inputs = dict(self.values)
        for name in [n.name for n in region.inputs if n.name in stretches.bare]:
            bare: Node = self.program.bare(*stretches.bare[name])
            args, kwargs = map_arg((bare.args, dict(bare.kwargs)), lambda n: self.values[n.name])
            inputs[name] = bare.target(*args, **kwargs)  # type: ignore[operator]
        with torch.no_grad():
            return region.evaluate(inputs)


def read(target: Any, *args: Any) -> Tensor:
    """What the reading of one call computes, where it is one step."""
    one = OneCall.of(target, Example(args))
    stretches = one.lift()
    (region,) = stretches.regions
    (y,) = one.evaluated(region, stretches).values()
    return y


class Between(nn.Module):
    """A call between layers: one before each of its signals, one behind each of its outputs."""

    def __init__(self, target: Any, example: Example, before: Sequence[nn.Module], behind: Sequence[nn.Module]) -> None:
        super().__init__()
        self.call, self.kwargs = target, dict(example.kwargs)
        self.before, self.behind = nn.ModuleList(before), nn.ModuleList(behind)
        order = [id(x) for x in signals(example)]
        leaves, self.spec = pytree.tree_flatten(list(example.args))
        self.held = nn.ParameterList(a for a in leaves if isinstance(a, nn.Parameter))
        held = iter(range(len(self.held)))
        self.places: list[tuple[str, Any]] = []  # where each argument comes from
        for a in leaves:
            if isinstance(a, nn.Parameter):
                self.places.append(("held", next(held)))
            else:
                self.places.append(("signal", order.index(id(a))) if isinstance(a, Tensor) else ("plain", a))

    def forward(self, *xs: Tensor) -> list[Tensor]:
        given = [layer(x) for layer, x in zip(self.before, xs, strict=True)]
        held = list(self.held)
        found = [given[a] if kind == "signal" else held[a] if kind == "held" else a for kind, a in self.places]
        args = pytree.tree_unflatten(found, self.spec)
        result = self.call(*args, **self.kwargs)
        results = [result] if isinstance(result, Tensor) else result
        return [layer(y) for layer, y in zip(self.behind, results, strict=True) if y.is_floating_point()]  # no masks


def signals(example: Example) -> list[Tensor]:
    """Those of its arguments that a model computes, each once."""
    leaves = pytree.tree_leaves(list(example.args))
    found = {id(a): a for a in leaves if isinstance(a, Tensor) and not isinstance(a, nn.Parameter)}
    return list(found.values())


def pointwise(draw: Drawing, y: Tensor, same: bool) -> nn.Module:
    """A linear layer or a convolution of one tap on some axis of a signal; nothing, where it has none for channels."""
    if not y.dim() or not y.numel() or y.dtype != torch.float64:
        return nn.Identity()
    conv = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}.get(y.dim())
    biased = draw.pick((False, True))
    if conv is not None and draw.pick((False, True)):
        c = y.shape[1]
        return double(conv(c, c if same else draw.integer(1, 4), 1, bias=biased), draw.integer(0, 99))
    c = y.shape[-1]
    return double(nn.Linear(c, c if same else draw.integer(1, 4), biased), draw.integer(0, 99))


@st.composite
def between(draw: st.DrawFn, spelling: str, example: Example) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The call between layers, and its inputs."""
    d, target, xs = Drawing(draw), overload(spelling), signals(example)
    try:
        with torch.no_grad():
            result = target(*example.args, **example.kwargs)
    except _ILLEGAL:
        assume(False)
    results = [result] if isinstance(result, Tensor) else result
    before = [pointwise(d, x, same=True) for x in xs]
    behind = [pointwise(d, y, same=False) for y in results]
    return Between(target, example, before, behind).eval(), tuple(map(torch.clone, xs))
