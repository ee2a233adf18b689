"""A planned region with its numbers: every operator composed, seen with the zeros it turns out to have, and priced.

The plan was made on geometry. Kernels that are composed of structured ones may have fewer taps or more groups than
that says; what a step costs in the end is the price of what is written.
"""

from __future__ import annotations

from dataclasses import replace

from convfold.algebra.operation import Apply, Correct
from convfold.plan.border import Border
from convfold.plan.cost import Cost, Prices
from convfold.plan.mending import Mending, mending
from convfold.plan.realisation import chosen
from convfold.plan.recipe import Composed, Recipe, composed
from convfold.region import Node, Region, shared_out


def compose(region: Region, prices: Prices) -> tuple[Region, Cost]:
    """The region composed, and the sum of what its steps cost."""
    nodes, total = [], Cost()
    parts = {name for name, (_, i) in shared_out(region).items() if i > 0}  # one call makes all: the first pays for it
    for node in region.nodes:
        if node.operation is not None:
            node, cost = _composed(node, region, prices)
            total += Cost() if node.name in parts else cost
        nodes.append(node)
    return Region(tuple(nodes), region.outputs), total


def _composed(node: Node, region: Region, prices: Prices) -> tuple[Node, Cost]:
    xs = [region.by_name[i].signal for i in node.inputs]
    match node.operation:
        case Apply(operator=Recipe() as recipe, axis=axis) as step:
            operator = composed(recipe)
            if isinstance(operator, Composed) and operator.geometry != recipe.geometry:
                how, cost = chosen(operator, xs[0], axis, prices)
                return replace(node, operation=Apply(operator, axis, how)), cost
            step = step if operator is recipe else replace(step, operator=operator)
            return node if step is node.operation else replace(node, operation=step), prices.of(step, xs, node.signal)
        case Correct(border=Border() as border, axis=axis, way=way) as step:
            written: Mending = mending(border, way, prices, xs[-1], node.signal, axis)
            return replace(node, operation=replace(step, written=written)), written.cost
        case step:
            assert step is not None
            return node, prices.of(step, xs, node.signal)
