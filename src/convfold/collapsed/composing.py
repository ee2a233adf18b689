"""Weights composed of a block's own, anew whenever those have changed, and connected to them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.func import functionalize
from torch.utils import _pytree as pytree

from convfold.collapsed.recorded import Tape

aten = torch.ops.aten


@dataclass(eq=False)
class Composing:
    """What a tape computes, as one graph for each type and device that its weights have been of."""

    tape: Tape
    own: tuple[int, ...] = ()  # the tensors that were the block's own as it was made, by identity
    programs: dict[Any, GraphModule] = field(default_factory=dict)
    kept: _Kept | None = None

    def __call__(self, weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """Composed weights. Their history goes back to the weights where gradients are asked for.

        They are composed once for as long as the weights stay what they are: in evaluation, and for all batches whose
        gradients are added up. That a tensor was written to, PyTorch counts (``_version``); what is written through
        ``.data`` it does not see. Tensors that others have put in place of the block's own (FSDP, functional_call)
        are composed each time, for those are written to unseen; so are those of a graph that is being compiled.
        """
        if torch.compiler.is_compiling():
            return self.program(weights)(*weights)  # type: ignore[no-any-return]
        if tuple(map(id, weights)) != self.own or torch._C._functorch.peek_interpreter_stack() is not None:
            return self._composed(weights)
        asked = torch.is_grad_enabled() and any(t.requires_grad for t in weights)
        state = (asked, torch.is_inference_mode_enabled(), *((t._version, t.data_ptr(), t.dtype) for t in weights))
        if self.kept is None or self.kept.state != state:
            self.kept = None  # not both at once
            self.kept = _Kept(state, tuple(weights), tuple(self._composed(weights)))
        return _Shared.apply(self.kept, *weights) if asked else self.kept.made  # type: ignore[no-any-return,no-untyped-call]

    def _composed(self, weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """In the weights' own precision, whatever autocast would do; hooks on what is saved are for the block's calls,
        not for these: gradient checkpointing counts them, and composes but once."""
        device = weights[0].device.type
        with torch.autocast(device, enabled=False), saved_tensors_hooks(_as_it_is, _as_it_is):
            return self.program(weights)(*weights)  # type: ignore[no-any-return]

    def program(self, weights: Sequence[Tensor]) -> GraphModule:
        key = tuple((t.dtype, t.device) for t in weights)
        if key not in self.programs:
            self.programs[key] = traced(self.tape, weights)
        return self.programs[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"tape": self.tape, "own": (), "programs": {}, "kept": None}


@dataclass(eq=False)
class _Kept:
    """What was composed of which weights, with its history."""

    state: tuple[Any, ...]
    weights: tuple[Tensor, ...]
    made: tuple[Tensor, ...]


class _Shared(torch.autograd.Function):
    """Composed weights for one more pass: the history behind them stays for the next."""

    @staticmethod
    def forward(ctx: Any, kept: _Kept, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.kept = kept
        made = tuple(t.detach() for t in kept.made)
        ctx.mark_non_differentiable(*(new for new, t in zip(made, kept.made, strict=True) if not t.requires_grad))
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        kept: _Kept = ctx.kept
        pairs = [(t, g) for t, g in zip(kept.made, gradients, strict=True) if g is not None and t.requires_grad]
        learning = [t for t in kept.weights if t.requires_grad]
        found = torch.autograd.grad(
            [t for t, _ in pairs],
            learning,
            [g for _, g in pairs],
            retain_graph=True,
            create_graph=torch.is_grad_enabled(),
            allow_unused=True,
        )
        of = dict(zip(map(id, learning), found, strict=True))
        return None, *(of.get(id(t)) for t in kept.weights)


def _as_it_is(t: Any) -> Any:
    return t


def traced(tape: Tape, weights: Sequence[Tensor]) -> GraphModule:
    """The tape as plain calls, none of which writes into memory or knows how the weights lie in it."""
    like = [t.detach() for t in weights]
    dtype = max((t.dtype for t in like), key=lambda d: torch.finfo(d).bits)
    dtype = torch.promote_types(dtype, torch.float32)
    with torch.no_grad():
        program = make_fx(functionalize(lambda *ws: tape(ws, dtype), remove="mutations"))(*like)
    for node in list(program.graph.nodes):
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default
        elif node.target in _NOTHING:
            node.replace_all_uses_with(node.args[0])
        elif node.target is aten.copy.default:  # which has no derivative
            into, of = node.args[0].meta["val"], node.args[1]
            with program.graph.inserting_before(node):
                new = program.graph.call_function(aten._to_copy.default, (of,), {"dtype": into.dtype})
                new = program.graph.call_function(aten.expand.default, (new, list(into.shape)))
            node.replace_all_uses_with(new)
    program.graph.eliminate_dead_code()
    program.recompile()
    return program


_NOTHING = (aten.detach.default, aten.alias.default, aten.lift_fresh_copy.default)
