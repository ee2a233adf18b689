"""Weights composed of a block's own, anew whenever those have changed, and connected to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.func import functionalize, vjp, vmap
from torch.fx import Graph, GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from convfold.collapsed.recorded import Tape
from convfold.plan import Cost

aten = torch.ops.aten

#: Parts of a block of more calls than this, on weights of no more numbers than that, are composed together with others
#: like them: the calls are what they cost, and not the copies.
_FEW, _SMALL = 8, 1 << 20


@dataclass(eq=False)
class Composing:
    """What a tape computes: as plain calls, for each type and device that its weights have been of."""

    tape: Tape
    own: tuple[int, ...] = ()  # the tensors that were the block's own as it was made, by identity
    programs: dict[Any, Programs] = field(default_factory=dict)
    kept: tuple[Any, tuple[Tensor, ...]] | None = None  # what was composed last, and in which state of the weights

    def __call__(self, weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """Composed weights. Their history goes back to the weights where gradients are asked for.

        They are composed once for as long as the weights stay what they are: in evaluation, and for all batches whose
        gradients are added up. That a tensor was written to, PyTorch counts (``_version``); what is written through
        ``.data`` it does not see. Tensors that others have put in place of the block's own (FSDP, functional_call)
        are composed each time, for those are written to unseen; so are those of a graph that is being compiled.
        """
        if torch.compiler.is_compiling():
            known = self.programs.get(_kind(weights))
            return self._by_hand(weights) if known is None else known.forward(*weights)
        stands_for = torch._C._functorch.peek_interpreter_stack() is not None
        if stands_for or tuple(map(id, weights)) != self.own or any(t.is_inference() for t in weights):
            return self._by_hand(weights)
        programs = self.of(weights)
        state = (torch.is_inference_mode_enabled(), *((t._version, t.data_ptr()) for t in weights))
        if self.kept is None or self.kept[0] != state:
            self.kept = None  # not both at once
            with torch.no_grad(), torch.autocast(weights[0].device.type, enabled=False):
                self.kept = state, tuple(programs.forward(*weights))
        made = self.kept[1]
        if torch.is_grad_enabled() and any(t.requires_grad for t in weights):
            return _Connected.apply(programs, made, *weights)  # type: ignore[no-any-return,no-untyped-call]
        return made

    def _by_hand(self, weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """Call by call, each with its own history."""
        with torch.autocast(weights[0].device.type, enabled=False):
            return self.tape(weights)

    def of(self, weights: Sequence[Tensor]) -> Programs:
        """Of weights of these types, on these devices."""
        key = _kind(weights)
        if key not in self.programs:
            self.programs[key] = Programs(self.tape, [torch.empty_like(t, requires_grad=False) for t in weights])
        return self.programs[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"tape": self.tape, "own": (), "programs": {}, "kept": None}


def _kind(weights: Sequence[Tensor]) -> tuple[Any, ...]:
    return tuple((t.dtype, t.device) for t in weights)


@dataclass(eq=False)
class Programs:
    """A tape, and the way its gradients take, as plain calls: none writes into memory or knows how it is laid out."""

    tape: Tape
    like: list[Tensor]
    groups: list[list[Tape]] = field(init=False)  # what is composed in the same way, together

    def __post_init__(self) -> None:
        """Where the calls are what composing costs, and not the copies."""
        like, found = dict(zip(self.tape.weights, self.like, strict=True)), defaultdict[Hashable, list[Tape]](list)
        for part in self.tape.parts():
            given = [like[name] for name in part.weights]
            pays = len(part.calls) > _FEW and sum(t.numel() for t in given) <= _SMALL
            found[part.alike(given) if pays else id(part)].append(part)
        self.groups = list(found.values())

    @cached_property
    def forward(self) -> GraphModule:
        """Of the weights what is composed of them."""
        return _plain(self._composed, self.like)

    @cached_property
    def backward(self) -> GraphModule:
        """Of the weights, and the gradients of what is composed of them, the gradients of the weights."""
        n = len(self.like)

        def pulled(*given: Tensor) -> Any:
            return vjp(self._composed, *given[:n])[1](tuple(given[n:]))

        return _plain(pulled, [*self.like, *map(torch.empty_like, self.forward(*self.like))])

    def _composed(self, *weights: Tensor) -> tuple[Tensor, ...]:
        given, made = dict(zip(self.tape.weights, weights, strict=True)), dict[int, Tensor]()
        for first, *more in self.groups:
            if not more:
                made.update(zip(first.wanted.values(), first([given[name] for name in first.weights]), strict=True))
                continue
            parts = [first, *more]
            of_each = [[given[name] for name in part.weights] for part in parts]
            stacks = [torch.stack(alike) for alike in zip(*of_each, strict=True)]
            results = vmap(lambda *stack, tape=first: tuple(tape(stack)))(*stacks)
            for part, *values in zip(parts, *(result.unbind() for result in results), strict=True):
                made.update(zip(part.wanted.values(), values, strict=True))
        return tuple(made[i] for i in self.tape.wanted.values())

    @cached_property
    def reads(self) -> list[set[int]]:
        return self.tape.reads()

    def price(self, outputs: Sequence[int]) -> Cost:
        """Of composing some."""
        graph = Graph()
        values = graph.graph_copy(self.forward.graph, {})
        assert isinstance(values, list | tuple)
        graph.output(tuple(values[i] for i in outputs))
        graph.eliminate_dead_code()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            GraphModule(self.forward, graph)(*self.like)
        return Cost(macs=counter.get_total_flops() // 2, ops=sum(node.op == "call_function" for node in graph.nodes))


class _Connected(torch.autograd.Function):
    """Composed weights for one pass, as functions of the weights they were composed of."""

    @staticmethod
    def forward(ctx: Any, programs: Programs, made: tuple[Tensor, ...], *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.programs = programs
        ctx.save_for_backward(*weights)
        ctx.set_materialize_grads(False)
        ctx.made = made
        return tuple(t.detach() for t in made)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """None for a weight that nothing of what was used depends on: an optimizer leaves it alone."""
        weights: tuple[Tensor, ...] = ctx.saved_tensors
        given = [torch.zeros_like(t) if g is None else g for t, g in zip(ctx.made, gradients, strict=True)]
        with torch.autocast(weights[0].device.type, enabled=False):
            found = ctx.programs.backward(*weights, *given)
        used = set[int]().union(*(r for r, g in zip(ctx.programs.reads, gradients, strict=True) if g is not None))
        return None, None, *(g if i in used else None for i, g in enumerate(found))


def _plain(f: Callable[..., Any], like: Sequence[Tensor]) -> GraphModule:
    with torch.no_grad():
        program = make_fx(functionalize(f, remove="mutations"))(*like)
    graph = program.graph
    for node in list(graph.nodes):
        if node.target in (aten.view.default, aten._unsafe_view.default, aten._reshape_alias.default):
            node.target, node.args = aten.reshape.default, node.args[:2]
        elif node.target in _NOTHING:
            node.replace_all_uses_with(node.args[0])
        elif node.target is aten.copy.default:  # which has no derivative
            into, of = node.args[0].meta["val"], node.args[1]
            with graph.inserting_before(node):
                new = graph.call_function(aten._to_copy.default, (of,), {"dtype": into.dtype})
                new = graph.call_function(aten.expand.default, (new, list(into.shape)))
            node.replace_all_uses_with(new)
    graph.eliminate_dead_code()
    program.recompile()
    return program


_NOTHING = (aten.detach.default, aten.alias.default, aten.lift_fresh_copy.default)
