"""A planned region with its numbers: every operator composed, seen with the zeros it turns out to have, and priced.

The plan was made on geometry. Kernels that are composed of structured ones may have fewer taps or more groups than
that says; what a step costs in the end is the price of what is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from convfold.algebra.apply import Apply
from convfold.algebra.operation import Operation
from convfold.plan.border import Correct
from convfold.plan.cost import Cost, Prices
from convfold.plan.deferred import Deferred, composed
from convfold.plan.realisation import chosen
from convfold.region import Node, Region, shared_out


def compose(region: Region, prices: Prices) -> tuple[Region, Cost]:
    """The region composed, and what it costs."""
    found = [_composed(node, region, prices) for node in region.nodes]
    done = Region(tuple(node for node, _ in found), region.outputs)
    return done, _total(done, (cost for _, cost in found))


def cost_of(region: Region, prices: Prices) -> Cost:
    """What a planned region costs by its geometry."""
    return _total(region, (priced(node, region, prices) for node in region.nodes))


def _total(region: Region, costs: Iterable[Cost]) -> Cost:
    """One call makes all slices that share out a value: the first pays for it."""
    parts = {name for name, (_, i) in shared_out(region).items() if i > 0}
    counted = (cost for node, cost in zip(region.nodes, costs, strict=True) if node.name not in parts)
    return sum(counted, Cost())


def priced(node: Node, region: Region, prices: Prices) -> Cost:
    """What one step costs, as it is."""
    if node.operation is None:
        return Cost()
    return prices.of(node.operation, [region.by_name[i].signal for i in node.inputs], node.signal)


def _composed(node: Node, region: Region, prices: Prices) -> tuple[Node, Cost]:
    step = _with_numbers(node, region, prices)
    node = node if step is node.operation else replace(node, operation=step)  # what it was keeps its call
    return node, priced(node, region, prices)


def _with_numbers(node: Node, region: Region, prices: Prices) -> Operation | None:
    match node.operation:
        case Apply(operator=Deferred() as planned, axis=axis) as step:
            operator = composed(planned)
            if operator is planned:  # the model's own: its call stays
                return step
            if operator.geometry != planned.geometry:
                how, _ = chosen(operator, region.by_name[node.inputs[0]].signal, axis, prices)
                return Apply(operator, axis, how)
            return replace(step, operator=operator)
        case Correct() as step:
            written = step.composed(node.signal, prices)
            return replace(step, works=written.works, written=written)
        case step:
            return step
