"""A region as a small tree in text: what each value is computed from, its size, and the multiply-adds of each step."""

from __future__ import annotations

from collections.abc import Callable

from convfold.algebra.layout import Layout
from convfold.region import Node, Region
from convfold.report import count

#: Lines of one tree; a longer one is cut, and says so.
LINES = 40


def diagram(region: Region, called: Callable[[str], str] = str) -> str:
    """Outputs first, what they are computed from below them; a value read twice is drawn once.

    ``called``: what a value that comes from outside is called.
    """
    drawn: set[str] = set()
    lines = [line for name in region.outputs for line in _tree(name, region, drawn, called)]
    cut = [f"… {len(lines) - LINES} more"] if len(lines) > LINES else []
    return "\n".join(lines[:LINES] + cut)


def _tree(name: str, region: Region, drawn: set[str], called: Callable[[str], str]) -> list[str]:
    node = region.by_name[name]
    while isinstance(node.operation, Layout):  # moves nothing, multiplies nothing
        node = region.by_name[node.inputs[0]]
    if node.operation is None:
        return [f"{called(node.name)} {_size(node)}"]
    head = f"{_label(node, region)} → {_size(node)}"
    if node.name in drawn:
        return [f"{head}  (as above)"]
    drawn.add(node.name)
    branches = [_tree(i, region, drawn, called) for i in node.inputs]
    lines = [head]
    for first, *rest in branches[:-1]:
        lines += [f"├── {first}", *(f"│   {line}" for line in rest)]
    for first, *rest in branches[-1:]:
        lines += [f"└── {first}", *(f"    {line}" for line in rest)]
    return lines


def _size(node: Node) -> str:
    return "×".join(map(str, node.signal.shape[1:]))


def _label(node: Node, region: Region) -> str:
    step, xs = node.operation, [region.by_name[i].signal for i in node.inputs]
    assert step is not None
    macs = sum(w.macs for w in step.work([x.shape for x in xs], node.signal.shape))
    return step.label + (f", {count(macs)} MACs" if macs else "")
