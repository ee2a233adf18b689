"""What a value is in terms of values already computed: the normal form the planner works in.

    value = concat_i ( Σ_j  route_ij ( operator_ij ( leaf_ij ) ) )

A leaf is a value that is computed and kept; an operator takes it to the result in one step; a route lays the result
out anew. Every law in `plan.rules` says how one kind of operation acts on such forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convfold.algebra.operation import Layout
from convfold.errors import NotFoldable
from convfold.plan.cost import Cost, copy_cost, move_cost, operator_cost, sum_cost, view_cost
from convfold.plan.recipe import Given, Recipe, stack
from convfold.region import Signal

#: Signals of the leaves, by name.
Signals = Mapping[str, Signal]


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """``route(operator(leaf))``; no operator means the leaf itself."""

    leaf: str
    operator: Recipe | None = None
    axis: int = -1  # of the operator, on the leaf
    route: tuple[Layout, ...] = ()

    def traced(self, axis: int) -> int:
        """The leaf's axis that becomes ``axis`` behind the route."""
        for layout in reversed(self.route):
            before = layout.traced(axis)
            if before is None:
                raise NotFoldable("layout-mixes-channels", "a view between the two splits or joins the channel axis")
            axis = before
        return axis

    def resized(self, axis: int, n: int) -> tuple[Layout, ...]:
        """The route when ``axis`` behind it has length n."""
        route = []
        for layout in reversed(self.route):
            route.append(layout.resized(axis, n))
            before = layout.traced(axis)
            assert before is not None  # whoever changes an axis has traced it
            axis = before
        return tuple(reversed(route))

    def cost(self, signals: Signals) -> Cost:
        cost = Cost()
        for _ in self.route:
            cost += view_cost()
        if self.operator is not None and not self.operator.identity:
            moves = isinstance(self.operator, Given) and self.operator.call is not None
            cost += (move_cost if moves else operator_cost)(self.operator.geometry, signals[self.leaf], self.axis)
        return cost


Terms = tuple[Term, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Form:
    """Blocks along ``axis`` (one block: axis is meaningless), each a sum of terms; ``sizes`` are their lengths."""

    blocks: tuple[Terms, ...]
    axis: int = -1
    sizes: tuple[int, ...] = ()

    @classmethod
    def leaf(cls, name: str) -> Form:
        return cls(((Term(name),),))

    @classmethod
    def opaque(cls) -> Form:
        """A step that has no form (a slice of a leaf): kept as it is, never carried."""
        return cls(())

    def cost(self, signals: Signals, y: Signal) -> Cost:
        """Of computing and keeping the value, whose signal is ``y``."""
        total = Cost()
        for terms, size in zip(self.blocks, self.sizes or (0,), strict=True):
            for t in terms:
                total += t.cost(signals)
            if len(terms) > 1:
                total += sum_cost(len(terms), self.block_signal(y, size))
        return total + copy_cost(y) if len(self.blocks) > 1 else total

    def block_signal(self, y: Signal, size: int) -> Signal:
        if len(self.blocks) == 1:
            return y
        return Signal((*y.shape[: self.axis], size, *y.shape[self.axis + 1 :]), y.free, y.itemsize)

    def stacked(self, signals: Signals) -> Form:
        """Neighbouring blocks that read one leaf in one way, as one operator where that is cheaper.

        concat(A(x), B(x)) = (A over B)(x): one reading of x and no copy.
        """
        if len(self.blocks) == 1:
            return self
        blocks, sizes = [self.blocks[0]], [self.sizes[0]]
        for terms, size in zip(self.blocks[1:], self.sizes[1:], strict=True):
            joined = _stack(blocks[-1], terms, self.axis, sizes[-1] + size, signals)
            if joined is None:
                blocks.append(terms)
                sizes.append(size)
            else:
                blocks[-1], sizes[-1] = (joined,), sizes[-1] + size
        return Form(tuple(blocks), self.axis, tuple(sizes)) if len(blocks) > 1 else Form(tuple(blocks))


def _stack(a: Terms, b: Terms, axis: int, size: int, signals: Signals) -> Term | None:
    if len(a) > 1 or len(b) > 1:
        return None
    (s,), (t,) = a, b
    same = s.leaf == t.leaf and s.axis == t.axis and len(s.route) == len(t.route)
    if not same or s.operator is None or t.operator is None or s.operator.identity or t.operator.identity:
        return None
    if any(v.order != w.order or v.carried != w.carried for v, w in zip(s.route, t.route, strict=True)):
        return None
    x = signals[s.leaf]
    try:
        if s.traced(axis) != s.axis:
            return None
        both = stack(s.operator, t.operator, x.known(s.axis, max(s.operator.geometry.dims, t.operator.geometry.dims)))
    except NotFoldable:
        return None
    joined = Term(s.leaf, both, s.axis, s.resized(axis, size))
    # The copy of the concat shrinks too, but by how much depends on the other blocks: not counted, so never too bold.
    return joined if joined.cost(signals) <= s.cost(signals) + t.cost(signals) else None
