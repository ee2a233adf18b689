"""Which steps belong together? Those that are connected, and operators that read one value in one way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from convfold.algebra.apply import Apply
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
    # Operators that read one outside value in one way may be computed together: they share a region too.
    first_alike: dict[object, str] = {}
    for n in built.values():
        if isinstance(n.operation, Apply):
            g = n.operation.operator.geometry
            alike = first_alike.setdefault((n.inputs, n.operation.axis, g.windows, g.groups), n.name)
            if g.groups == 1:
                parent[find(alike)] = find(n.name)
    groups: dict[str, list[str]] = {}
    for name in order:
        groups.setdefault(find(name), []).append(name)
    for names in groups.values():
        inside = set(names)
        inputs = dict.fromkeys(i for name in names for i in built[name].inputs if i not in inside)
        nodes = [built[i] for i in inputs] + [built[name] for name in names]
        yield Region(tuple(nodes), tuple(name for name in names if is_read_outside(name, inside)))
