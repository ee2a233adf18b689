"""From chosen forms back to a region: each kept value becomes the operations that compute it."""

from __future__ import annotations

from convfold.algebra.operation import Apply, Concat, Slice, Sum
from convfold.plan.form import Form, Term
from convfold.plan.rules.siblings import Siblings
from convfold.region import Node, Region, Signal


def realize(region: Region, kept: dict[str, Form], together: list[Siblings]) -> Region:
    """The region that computes the kept values, each from the others, some of them together.

    A value whose form is its own operation on its own inputs stays the node it was, origin and all.
    """
    builder = _Builder(region, kept)
    groups = {name: group for group in together for name in group.names}
    for name in kept:
        if name in groups:
            builder.add_sibling(name, groups[name])
        else:
            builder.add(name)
    return Region((*region.inputs, *builder.nodes), region.outputs)


class _Builder:
    def __init__(self, region: Region, kept: dict[str, Form]) -> None:
        self.region, self.kept = region, kept
        self.signals: dict[str, Signal] = {n.name: n.signal for n in region.nodes}
        self.nodes: list[Node] = []

    def add(self, name: str) -> None:
        node, form = self.region.by_name[name], self.kept[name]
        if self._unchanged(node, form):
            self.nodes.append(node)
            return
        form = form.stacked(self.signals)
        parts = []
        for i, (terms, size) in enumerate(zip(form.blocks, form.sizes or (0,), strict=True)):
            prefix = f"{name}.{i}" if len(form.blocks) > 1 else name
            signal = form.block_signal(node.signal, size)
            parts.append(self._sum(terms, prefix, signal, last=len(form.blocks) == 1))
        if len(parts) > 1:
            self.nodes.append(Node(name, Concat(form.axis), tuple(parts), node.signal))

    def add_sibling(self, name: str, group: Siblings) -> None:
        """A slice of the operator the group shares, which comes before the first of them."""
        whole = f"{group.names[0]}.all"
        if name == group.names[0]:
            self.nodes.append(Node(whole, self._operation(group.term), (group.term.leaf,), self._applied(group.term)))
        rows = group.rows[group.names.index(name)]
        cut = Slice(group.term.axis, rows.start, rows.stop)
        self.nodes.append(Node(name, cut, (whole,), self.signals[name]))

    def _operation(self, t: Term) -> Apply:
        assert t.operator is not None
        return Apply(t.operator, t.axis)

    def _unchanged(self, node: Node, form: Form) -> bool:
        """Its own operation, read off leaves that are its own inputs: nothing was carried into it."""
        if not form.blocks:
            return True
        terms = [t for block in form.blocks for t in block]
        if not all(t.leaf in node.inputs for t in terms):
            return False
        match node.operation:
            case Apply(operator=operator):
                return len(terms) == 1 and terms[0].operator is operator and not terms[0].route
            case Sum() | Concat():
                return [t.leaf for t in terms] == list(node.inputs) and all(
                    t.operator is None and not t.route for t in terms
                )
            case _:
                return len(terms) == 1 and terms[0].operator is None and len(terms[0].route) <= 1

    def _sum(self, terms: tuple[Term, ...], name: str, signal: Signal, last: bool) -> str:
        if len(terms) == 1:
            return self._term(terms[0], name, signal, named=last)
        parts = tuple(self._term(t, f"{name}.t{j}", signal, named=False) for j, t in enumerate(terms))
        self.nodes.append(Node(name, Sum(), parts, signal))
        return name

    def _term(self, t: Term, name: str, signal: Signal, named: bool) -> str:
        """The value of one term; ``named``: it must bear exactly this name."""
        steps: list[Apply | object] = []
        if t.operator is not None and not t.operator.identity:
            steps.append(self._operation(t))
        steps += t.route
        if not steps:
            if named:  # the value is another value: a sum of one
                self.nodes.append(Node(name, Sum(), (t.leaf,), signal))
                return name
            return t.leaf
        at = t.leaf
        for i, step in enumerate(steps):
            final = i == len(steps) - 1
            own = name if final else f"{name}.s{i}"
            shape = signal if final else self._applied(t)
            self.nodes.append(Node(own, step, (at,), shape))  # type: ignore[arg-type]
            at = own
        return at

    def _applied(self, t: Term) -> Signal:
        """Signal between operator and route (routes of several layouts keep it: only its free axes are read)."""
        x = self.signals[t.leaf]
        if t.operator is None:
            return x
        g = t.operator.geometry
        space = g.size(x.space(t.axis, g.dims))
        return Signal((*x.shape[: t.axis], g.c_out, *space, *x.shape[t.axis + 1 + g.dims :]), x.free, x.itemsize)
