"""torch.export in, torch.fx out: an exported program becomes one plain graph module, is rewritten, and handed back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule

from convfold.errors import InvalidInput
from convfold.frontends.torch.alone import alone
from convfold.frontends.torch.constants import Constants
from convfold.frontends.torch.demand import cut, unread
from convfold.frontends.torch.empty import drop_empty_parts
from convfold.frontends.torch.following import follow
from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.guard import check_states
from convfold.frontends.torch.insert import Insert
from convfold.frontends.torch.mark import marking, of_constant, of_region
from convfold.frontends.torch.measure import measure, packet
from convfold.frontends.torch.normalise import normalise, sweep
from convfold.frontends.torch.program import FxProgram, path_of
from convfold.frontends.torch.read import Source
from convfold.frontends.torch.sizes import ExampleSizes
from convfold.frontends.torch.strides import Strides
from convfold.frontends.torch.unlift import unlift
from convfold.frontends.torch.written import infer, overwritten
from convfold.lift import Stretches, lift
from convfold.lower import Lowering
from convfold.places import Places
from convfold.region import Region
from convfold.totals import Totals

_TRAINING = {
    torch.ops.aten._native_batch_norm_legit_functional.default,
    torch.ops.aten._native_batch_norm_legit.default,
    torch.ops.aten._batch_norm_with_update_functional.default,
}


class Graph:
    """One model's graph, ready to be lifted from and written to. The user's own weights are copied, never shared.

    ``original``: the module it was exported of, if there is one.
    """

    ends, fused, doubles, in_place, mends = False, True, True, True, True
    live = False  # will its weights change, and what is composed of them follow?
    runtime = "eager"

    def __init__(
        self,
        source: Source,
        excluded: Callable[[str], bool] = lambda path: False,
        original: nn.Module | None = None,
    ) -> None:
        self.source, self.excluded, self.original = source, excluded, original
        self.made_of: dict[str, tuple[str, ...]] = {}  # of new weights those of the model that they were composed of
        self.evaluated: list[str] = []  # modules whose weights were computed from weights, and are constants now
        self.inferred = True  # is it known of every call what it computes?
        self.calls = unlift(source.program)
        self.given = self.calls.read()
        self.sizes = ExampleSizes(_example_sizes(source, self.calls.graph))
        if not self.live:
            _refuse_training(self.calls.graph)
        normalise(self.calls.graph)
        drop_empty_parts(self.calls.graph)
        self.strides = Strides(self.calls.graph)

    @property
    def free(self) -> tuple[str, ...]:
        return self.source.free

    @property
    def paths(self) -> list[str]:
        """Of the module's own parts, and of those that the graph names, with the names of its calls."""
        modules = [] if self.original is None else [path for path, _ in self.original.named_modules()]
        return [*modules, *(where for node in self.calls.graph.nodes for where in (path_of(node), node.name))]

    @property
    def device(self) -> torch.device:
        return next((x.device for x in self._example()), torch.device("cpu"))

    def _example(self) -> Iterator[Tensor]:
        leaves = torch.utils._pytree.tree_leaves((self.source.args, self.source.kwargs))
        return (x for x in leaves if isinstance(x, Tensor))

    def places(self, stretches: Stretches) -> Places:
        return Places(self.program, stretches)

    def cut(self, share: float, pays: Callable[[Totals], bool]) -> list[tuple[str, str]]:
        whole = self.calls.graph
        excluded = {node.name for node in whole.nodes if self.excluded(path_of(node)) or self.excluded(node.name)}
        excluded |= {node.name for node in overwritten(whole)}
        if not self.inferred or not unread(whole, share, excluded).less:
            return []
        graph = FxGraph()
        graph.output(graph.graph_copy(whole, {}))
        graph._codegen = whole._codegen
        less = cut(graph, Insert.of(graph), unread(graph, share, excluded))
        self.calls.graph = graph
        if not pays(self.measure()):
            self.calls.graph = whole
            return []
        return [(path_of(node), str(packet(node.target)).rpartition(".")[2].strip("_")) for node in less]

    def lift(self, differentiable: bool = False) -> Stretches:
        """``differentiable``: the operators' numbers keep the history of the weights they are computed from."""
        differentiable |= self.live
        self.program = FxProgram(self.calls, Constants(self.calls, differentiable), self.sizes)
        with torch.set_grad_enabled(differentiable):
            return lift(self.program, self.excluded)

    def write(self, stretches: Stretches, changes: Iterable[tuple[Region, Region]]) -> None:
        program = self.program
        self.lowering = lowering = Lowering(program, stretches)
        with torch.no_grad():
            for before, after in changes:
                with marking(program.written.parameters, of_region(after)):
                    lowering.write(before, after)
            for weight in program.computed:
                if weight.users and any(user not in program.replaced for user in weight.users):
                    with marking(program.written.parameters, of_constant(weight)):
                        self.evaluated.append(program.evaluate(weight))
        sweep(self.calls.graph)
        self.strides.keep(self.calls)
        program.written.name_parameters()
        for p in program.written.parameters:
            of = (self.made_of.get(name, (name,)) for name in p.made_of)  # written anew, of what was written before
            self.made_of[str(p.node.target)] = tuple(dict.fromkeys(name for names in of for name in names))

    def alone(self, *same: Region) -> tuple[GraphModule, list[Tensor]] | None:
        inside = {n.name for region in same for n in region.steps}
        new = self.lowering.values
        outputs = [new.get(name, self.program.nodes[name]) for name in same[0].outputs if name in self.program.nodes]
        given = {n for name, n in self.program.nodes.items() if name not in inside and n not in self.program.constants}
        given |= {n for name, n in new.items() if name not in inside and name in self.program.nodes}
        return alone(self.calls.graph, self.calls.weights, outputs, given, self.sizes)

    def again(self) -> Self:
        self.inferred = infer(self.calls)
        normalise(self.calls.graph)
        return self

    def model(self) -> GraphModule:
        follow(self.calls)
        module = self.calls.module()
        check_states(module, self.given, self.calls.read())
        self.source.guard(module)
        return module

    def measure(self) -> Totals:
        """What the graph costs as it stands, at the example's sizes."""
        return measure(self.calls.graph, self.calls.weights.__getitem__, self.sizes.number)


def _example_sizes(source: Source, graph: FxGraph) -> dict[Any, int]:
    """What each free symbol is in the user's example (export itself may have used a larger batch)."""
    flat = torch.utils._pytree.tree_leaves((source.args, source.kwargs))
    found: dict[Any, int] = {}
    placeholders = [n for n in graph.nodes if n.op == "placeholder"]
    if len(flat) != len(placeholders):
        raise InvalidInput(f"the program takes {len(placeholders)} inputs, got {len(flat)}")
    for node, given in zip(placeholders, flat, strict=True):
        expected = node.meta.get("val")
        if not isinstance(expected, Tensor):
            continue
        if not isinstance(given, Tensor) or given.dim() != expected.dim():
            got = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise InvalidInput(f"input {node.name!r}: expected shape {_shape(expected)}, got {got}")
        for wanted, n in zip(expected.shape, given.shape, strict=True):
            if not is_free(wanted):
                if wanted != n:
                    raise InvalidInput(
                        f"input {node.name!r}: expected shape {_shape(expected)}, got {tuple(given.shape)}"
                    )
            elif wanted.node.expr.is_symbol:
                found[wanted.node.expr] = int(n)
    return found


def _shape(t: Tensor) -> str:
    return f"({', '.join('any' if is_free(n) else str(n) for n in t.shape)})"


def _refuse_training(graph: FxGraph) -> None:
    for node in graph.nodes:
        if node.target in _TRAINING or (
            node.target is torch.ops.aten.batch_norm.default and node.args[5] and node.args[3] is not None
        ):
            raise InvalidInput(
                f"batch norm {path_of(node) or node.name!r} is in training mode; its statistics change with the batch. "
                "Call model.eval() before exporting."
            )
