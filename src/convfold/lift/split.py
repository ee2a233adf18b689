"""Which steps belong together? Those that are connected, and operators that read one value in one way, or twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from convfold.algebra.apply import Apply
from convfold.plan.duplicates import alike
from convfold.region import Node, Region


def split(
    built: Mapping[str, Node], order: Sequence[str], is_read_outside: Callable[[str, set[str]], bool]
) -> Iterator[Region]:
    """Connected stretches, each a region; what is read outside of it is a region's output.

    ``built`` are all nodes by name, ``order`` the names of those that are more than an input read.
    """
    parent = {name: name for name in built}

    def find(a: str) -> str:
        while parent[a] != a:
            parent[a] = a = parent[parent[a]]
        return a

    steps = set(order)
    for n in built.values():
        for i in n.inputs:
            if i in steps:
                parent[find(i)] = find(n.name)
    # Operators that read one outside value in one way may be computed together, and one step twice is computed once:
    # they share a region too.
    first: dict[object, str] = {}
    for n in built.values():
        keys: list[object] = []
        if n.operation is not None and (what := alike(n.operation)) is not None:
            keys.append((n.inputs, what))
        if isinstance(n.operation, Apply) and (g := n.operation.operator.geometry).groups == 1:
            keys.append((n.inputs, n.operation.axis, g.windows))
        for key in keys:
            parent[find(first.setdefault(key, n.name))] = find(n.name)
    groups: dict[str, list[str]] = {}
    for name in order:
        groups.setdefault(find(name), []).append(name)
    for names in groups.values():
        inside = set(names)
        inputs = dict.fromkeys(i for name in names for i in built[name].inputs if i not in inside)
        nodes = [built[i] for i in inputs] + [built[name] for name in names]
        yield Region(tuple(nodes), tuple(name for name in names if is_read_outside(name, inside)))
