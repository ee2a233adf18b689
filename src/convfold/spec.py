"""What must hold of a model after each stage: the table that every rewrite keeps.

Checked in tests, and in every fold where the environment says ``CONVFOLD_DEBUG=1``: a mistake is then named where it is
made, not where it shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch.fx import GraphModule

from convfold.algebra.apply import Apply
from convfold.plan import Plan
from convfold.plan.border import Correct
from convfold.region import Region


class Invariant(NamedTuple):
    """What must hold, in words; ``broken`` gives each place where it does not."""

    text: str
    broken: Callable[[Any], Iterator[str]]


def enabled() -> bool:
    return os.environ.get("CONVFOLD_DEBUG", "") not in ("", "0")


def check(stage: str, what: Any) -> None:
    """Raise `AssertionError`, with the places, where an invariant of this stage does not hold."""
    for invariant in SPEC[stage]:
        if places := list(invariant.broken(what)):
            raise AssertionError(f"after {stage}: {invariant.text}: not so for {', '.join(places[:5])}")


def _made_twice(region: Region) -> Iterator[str]:
    seen = set()
    for n in region.nodes:
        if n.name in seen:
            yield n.name
        seen.add(n.name)


def _read_early(region: Region) -> Iterator[str]:
    seen: set[str] = set()
    for n in region.nodes:
        yield from (f"{i}, which {n.name} reads" for i in n.inputs if i not in seen)
        seen.add(n.name)


def _outputs_missing(region: Region) -> Iterator[str]:
    return (name for name in region.outputs if name not in region.by_name)


def _wrong_arity(region: Region) -> Iterator[str]:
    return (n.name for n in region.steps if n.operation and n.operation.arity not in (None, len(n.inputs)))


def _undecided(region: Region) -> Iterator[str]:
    return (n.name for n in region.steps if isinstance(n.operation, Apply) and n.operation.how is None)


def _wrong_channels(region: Region) -> Iterator[str]:
    for n in region.steps:
        if isinstance(n.operation, Apply):
            g, axis = n.operation.operator.geometry, n.operation.axis
            x = region.by_name[n.inputs[0]].signal
            stop = axis + 1 + g.dims
            after = (*x.shape[:axis], g.c_out, *g.size(x.shape[axis + 1 : stop]), *x.shape[stop:])
            if x.shape[axis] != g.c_in or after != n.signal.shape:
                yield f"{n.name}: {x.shape} → {n.signal.shape} by {n.operation.label}"


def _unread(plan: Plan) -> Iterator[str]:
    before, after = ({name for name, by in region.consumers().items() if by} for region in (plan.original, plan.region))
    for n in plan.region.steps:
        was_read = n.name in before or n.name not in plan.original.by_name
        if n.name not in after and n.name not in plan.region.outputs and was_read:
            yield n.name


def _other_outputs(plan: Plan) -> Iterator[str]:
    before, after = plan.original, plan.region
    if before.outputs != after.outputs:
        yield f"{before.outputs} → {after.outputs}"
    for name in before.outputs:
        if before.by_name[name].signal.shape != after.by_name[name].signal.shape:
            yield name


def _other_inputs(plan: Plan) -> Iterator[str]:
    known = {n.name for n in plan.original.inputs}
    return (n.name for n in plan.region.inputs if n.name not in known)


def _dearer(plan: Plan) -> Iterator[str]:
    if plan.after.macs > plan.before.macs:
        yield f"{plan.before.macs:,} → {plan.after.macs:,} multiply-adds"


def _not_written(plan: Plan) -> Iterator[str]:
    steps = plan.region.steps if plan.changed else ()
    return (n.name for n in steps if isinstance(n.operation, Correct) and n.operation.written is None)


def _badly_wired(module: Any) -> Iterator[str]:
    if not isinstance(module, GraphModule):
        yield from _unmade(module)
        return
    try:
        module.graph.lint()
    except RuntimeError as e:
        yield str(e)


def _unmade(model: Any) -> Iterator[str]:
    """Of an ONNX model: what is read and not there any more."""
    for graph in model.graphs():
        for node in graph:
            for x in node.inputs:
                maker = x.producer() if x is not None else None
                if maker is not None and maker.graph is None:
                    yield f"{x.name}, which {node.name} reads"


def _for_nothing(module: Any) -> Iterator[str]:
    for node in module.graph.nodes if isinstance(module, GraphModule) else ():
        if node.op == "call_function" and not node.users and not node.is_impure():
            yield node.name


#: Of every region, planned or not.
_REGION = (
    Invariant("a value has one producer", _made_twice),
    Invariant("a value is computed before it is read", _read_early),
    Invariant("every output is computed", _outputs_missing),
    Invariant("a step has as many inputs as its operation takes", _wrong_arity),
    Invariant("an operator says how it is computed", _undecided),
    Invariant("an operator fits the signals before and behind it", _wrong_channels),
)


def _of_region(invariant: Invariant) -> Invariant:
    return Invariant(invariant.text, lambda plan: invariant.broken(plan.region))


_PLANNED = (
    *map(_of_region, _REGION),
    Invariant("the outputs are what they were", _other_outputs),
    Invariant("nothing is read that was not", _other_inputs),
    Invariant("nothing is computed that nobody reads any more", _unread),
    Invariant("there are no more multiply-adds than there were", _dearer),
)

SPEC: dict[str, tuple[Invariant, ...]] = {
    "lift": _REGION,
    "plan": _PLANNED,
    "compose": (*_PLANNED, Invariant("a mended border has its numbers", _not_written)),
    "lower": (
        Invariant("calls are wired as the framework wants them, and have their weights", _badly_wired),
        Invariant("nothing is computed for nothing", _for_nothing),
    ),
}
