"""collapse(): a block of many layers that trains at the price of the few it amounts to.

The block is planned as in a fold, and what its weights become is written down as calls on its own parameters. Each step
makes these calls, and the block computes with what they give; gradients go back through them. Which plan is right may
not hang on numbers that training changes, so the plan is made for weights drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from convfold.collapsed.block import Collapsed, Collapsing, Form, collapsed, modes
from convfold.collapsed.body import body
from convfold.collapsed.composing import Composing
from convfold.collapsed.live import Live
from convfold.collapsed.recorded import Recording
from convfold.collector import collector_paused
from convfold.config import FoldConfig
from convfold.errors import InvalidInput, VerificationFailed
from convfold.frontends.torch.checkpoint import reweighted
from convfold.frontends.torch.following import follow
from convfold.frontends.torch.read import Source, read
from convfold.frontends.torch.running.state import seeded
from convfold.plan import Cost, Planner
from convfold.plan.machine import DEFAULT
from convfold.results import judges
from convfold.stages import Progress, Stages

__all__ = ["Collapsed", "Collapsing", "collapse"]

#: Of stretches that are left as they are.
_WHY = ("does-not-pay", "composing it at each step costs more than it saves")


@seeded(0)
@collector_paused()
def collapse(
    block: nn.Module,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    config: FoldConfig | None = None,
    progress: Progress = lambda stage: None,
) -> nn.Module:
    """A block on the same parameters that computes with what they amount to, composed anew whenever they change.

    For branches that are added, K = Σ K_i on a common grid of taps; for layers in turn the full convolution of their
    kernels; and so on as in `fold`. Composing is differentiable: to the optimizer, to a checkpoint and to whoever holds
    the block's parameters nothing changes.

    Args:
        block: any module, a whole model too. It is left as it is, and shares its parameters with the new one. Norms in
            training mode stay, and so does what they separate; frozen ones (``norm.eval()``) are composed.
        args, kwargs: what it is called with.
        dynamic_shapes, config, progress: as for `fold`. The guard times whole models and has no part here.

    Returns:
        A module of a subclass of the block's class. It is collapsed in the mode the block is in now, and in eval mode;
        of a block in eval mode also in training mode. ``collapsed.reports`` says what was done in each.

    Raises:
        InvalidInput: the block or inputs cannot be used.
        VerificationFailed: what is collapsed computes something else.
    """
    if not isinstance(block, nn.Module):
        raise InvalidInput(f"collapse takes an nn.Module, got {type(block).__name__}")
    if isinstance(block, Collapsed):
        return block
    config = replace(config or FoldConfig(), guard=False)
    forms: dict[tuple[bool, ...], Form] = {}
    programs: dict[str, Form] = {}
    for training in (None, not any(modes(block))):
        with _in_mode(block, training):
            source = read(block, args, kwargs, dynamic_shapes, training=True)
            written = str(source.program.graph)
            if written not in programs:
                programs[written] = _form(block, source, config, progress)
            forms[modes(block)] = programs[written]
    return collapsed(block, Collapsing(forms))


def _form(block: nn.Module, source: Source, config: FoldConfig, progress: Progress) -> Form:
    """How the block computes in the mode it is in."""
    live = _at_random(source)
    stages, composing = _planned(block, live, config, progress)
    if dear := _dear(stages, composing, live):
        stages, composing = _planned(block, live, config, progress, stages.planner, dear)
    tape = composing.tape
    calls, own = stages.graph.calls, _own(block)
    made = body(calls, source, lambda name: name in own or name in tape.wanted)
    used_up = [name for name in stages.graph.given if name in own and name not in tape.weights]
    used_up = [name for name in used_up if name not in calls.read()]
    form = Form(
        made,
        tuple(name for name in made.weights if name in own),
        composing,
        {name: own[name].detach().clone() for name in used_up},
        stages.report(None),
    )
    if config.check == "none":
        return form
    verified, _ = judges(source, config.check, block)
    verdict = verified(collapsed(block, Collapsing({modes(block): form})))
    if not (verdict.passed or verdict.nothing):
        raise VerificationFailed(
            f"the collapsed block differs: {verdict}. Nothing is returned. This is a bug in convfold; please report "
            "it with the block."
        )
    return replace(form, report=stages.report(verdict))


def _planned(
    block: nn.Module,
    live: Source,
    config: FoldConfig,
    progress: Progress,
    planner: Planner | None = None,
    left: frozenset[str] = frozenset(),
) -> tuple[Stages[Live], Composing]:
    """The block as it is planned and written, and how its new weights are composed."""
    recording = Recording({name: t for name, t in live.program.state_dict.items() if t.requires_grad})
    with recording:
        stages = Stages(lambda: Live(live, config.excludes, block), config, progress, planner, left, _WHY)
        stages.write()
    calls = stages.graph.calls
    follow(calls)
    own = _own(block)
    tape = recording.wants({name: calls.weights[name] for name in calls.read() if name not in own})
    return stages, Composing(tape)


def _dear(stages: Stages[Live], composing: Composing, live: Source) -> frozenset[str]:
    """Stretches, by the names of their last values, whose composing costs more at each step than they save."""
    programs = composing.of([live.program.state_dict[name] for name in composing.tape.weights])
    wanted, found = list(composing.tape.wanted), set[str]()
    dear = _macs if stages.config.objective == "macs" else _seconds
    for plan in stages.written:
        name = plan.original.outputs[-1]
        made = [wanted.index(weight) for weight in stages.graph.made(name) if weight in wanted]
        if dear(programs.price(made)) > dear(plan.before - plan.after):
            found.add(name)
    return frozenset(found)


def _macs(cost: Cost) -> float:
    return cost.macs


def _seconds(cost: Cost) -> float:
    """On a machine as it is planned for where nothing is known of it. Backward costs as much again, twice, of both."""
    return cost.macs / DEFAULT.peak + cost.bytes / DEFAULT.bandwidth + cost.ops * DEFAULT.overhead


def _own(block: nn.Module) -> dict[str, Tensor]:
    """Under all the names that each has."""
    parameters, buffers = block.named_parameters(remove_duplicate=False), block.named_buffers(remove_duplicate=False)
    return {**dict(parameters), **dict(buffers)}


def _at_random(source: Source) -> Source:
    """The source with other weights, statistics too: none is 0 or 1 or equals another, and all are learnt."""
    old = source.program.state_dict
    generic = reweighted(source, {name: _drawn(t) for name, t in old.items()})
    for t in generic.program.state_dict.values():
        t.requires_grad_(_varies(t))
    return generic


def _drawn(t: Tensor) -> Tensor:
    return torch.rand(t.shape, dtype=torch.float64).add(0.5).to(t) if _varies(t) else t


def _varies(t: Tensor) -> bool:
    """Not an index nor a mask: those say what is computed."""
    return t.is_floating_point() and bool(t.isfinite().all())


@contextmanager
def _in_mode(block: nn.Module, training: bool | None) -> Iterator[None]:
    """Every module in it, for a while; None: as they are."""
    before = [(m, m.training) for m in block.modules()]
    try:
        if training is not None:
            block.train(training)
        yield
    finally:
        for m, mode in before:
            m.training = mode
