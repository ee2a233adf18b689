"""A planned region with its numbers: every operator composed, seen with the zeros it turns out to have, and priced.

The plan was made on geometry. Kernels that are composed of structured ones may have fewer taps or more groups than
that says; what a step costs in the end is the price of what is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from convfold.algebra.operation import Apply, Correct
from convfold.plan.border import Border
from convfold.plan.cost import Cost, Prices
from convfold.plan.mending import Mending, mending
from convfold.plan.realisation import chosen
from convfold.plan.recipe import Composed, Recipe, composed
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
    xs = [region.by_name[i].signal for i in node.inputs]
    match node.operation:
        case None:
            return Cost()
        case Correct(border=Border() as border, axis=axis, way=way):
            return border.cost(way, prices, xs[-1], node.signal, axis)
        case step:
            return prices.of(step, xs, node.signal)


def _composed(node: Node, region: Region, prices: Prices) -> tuple[Node, Cost]:
    xs = [region.by_name[i].signal for i in node.inputs]
    match node.operation:
        case Apply(operator=Recipe() as recipe, axis=axis) as step:
            operator = composed(recipe)
            if isinstance(operator, Composed) and operator.geometry != recipe.geometry:
                how, cost = chosen(operator, xs[0], axis, prices)
                return replace(node, operation=Apply(operator, axis, how)), cost
            if operator is recipe:  # the model's own: the node it was, so that its call stays
                return node, prices.of(step, xs, node.signal)
            step = replace(step, operator=operator)
            return replace(node, operation=step), prices.of(step, xs, node.signal)
        case Correct(border=Border() as border, axis=axis, way=way) as step:
            written: Mending = mending(border, way, prices, xs[-1], node.signal, axis)
            return replace(node, operation=replace(step, written=written)), written.cost
        case _:
            return node, priced(node, region, prices)
