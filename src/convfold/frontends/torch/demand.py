"""What nobody reads is not computed: a cut is made where the numbers come from, not where they are asked for.

Backwards through the graph every value learns which positions of each axis its readers want; forwards those are
computed and no others. A classifier that reads one token needs one row of its last block; channels that are sliced off
behind a ReLU need no rows of the convolution before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import getitem

import torch
from torch.fx import Graph, Node

from convfold.frontends.torch.carry import Ranges, Rule, rule_of, whole
from convfold.frontends.torch.insert import Insert
from convfold.frontends.torch.normalise import sweep
from convfold.frontends.torch.unsure import Unsure
from convfold.frontends.torch.views import SPLITS
from convfold.layers import ATEN

aten = torch.ops.aten

#: Cuts themselves, which compute nothing.
_CUTS = {aten.slice.Tensor, aten.select.int, getitem}
#: Read for their scale and shift alone.
_NORMS = {aten.layer_norm.default, aten.rms_norm.default, aten.group_norm.default}


@dataclass(frozen=True)
class Unread:
    """What every call with a rule is asked for, and which are asked for less than all they compute."""

    rules: dict[Node, Rule]
    wanted: dict[Node, Ranges]
    less: set[Node]


def unread(graph: Graph, share: float, excluded: set[str]) -> Unread:
    """``share``: of an axis of which more than that is wanted all is computed; ``excluded``: calls left as they are."""
    rules = {n: rule for n in graph.nodes if n.name not in excluded and (rule := rule_of(n)) is not None}
    while True:
        wanted = _wanted(graph, rules, share)
        less = {node for node, ranges in wanted.items() if ranges != whole(node)}
        if not (affine := less - _connected(less, rules)):
            return Unread(rules, wanted, less)
        rules = {node: rule for node, rule in rules.items() if node not in affine}


def cut(graph: Graph, insert: Insert, found: Unread) -> list[Node]:
    """In place: the calls that compute less than they did, as they were."""
    ordered = [node for node in graph.nodes if node in found.less and node.target not in _CUTS]
    try:
        _rebuild(graph, insert, found.rules, found.wanted)
    except Unsure:
        ordered = []
    sweep(graph)
    return ordered


def _connected(less: set[Node], rules: dict[Node, Rule]) -> set[Node]:
    """Those from which a call can be reached that is not affine: what is nothing else is the planner's to cut."""
    neighbours: dict[Node, list[Node]] = {node: [] for node in less}
    for node in less:
        for x, _ in rules[node].given:
            if x in less:
                neighbours[node].append(x)
                neighbours[x].append(node)
    todo = [node for node in less if str(node.target) not in ATEN or node.target in _NORMS]
    found = set(todo)
    while todo:
        new = [x for x in neighbours[todo.pop()] if x not in found]
        found.update(new)
        todo += new
    return found


def _wanted(graph: Graph, rules: dict[Node, Rule], share: float) -> dict[Node, Ranges]:
    """Of every value that has a rule the positions that are asked for: the least range that has them all."""
    found: dict[Node, Ranges] = {}

    def ask(node: Node, ranges: Ranges) -> None:
        before = found.get(node)
        found[node] = ranges if before is None else tuple(map(_hull, before, ranges))

    for node in reversed(graph.nodes):
        rule = rules.get(node)
        if node.target in SPLITS and all(part in rules for part in node.users):
            continue  # each of its parts asks for itself
        if rule is None:
            found[node] = whole(node)
            for x in node.all_input_nodes:
                ask(x, whole(x))
            continue
        if node not in found:  # nobody reads it
            continue
        enough = (
            w if r is None or w is None or len(r) > share * len(w) else r
            for r, w in zip(found[node], whole(node), strict=True)
        )
        found[node] = rule.allowed(tuple(enough))
        for x, ranges in rule.inputs(found[node]):
            ask(x, ranges)
    return {node: ranges for node, ranges in found.items() if node in rules}


def _hull(a: range | None, b: range | None) -> range | None:
    if a is None or b is None:
        return None
    if not a or not b:
        return a or b
    return range(min(a.start, b.start), max(a.stop, b.stop))


def _rebuild(graph: Graph, insert: Insert, rules: dict[Node, Rule], wanted: dict[Node, Ranges]) -> None:
    """Every call whose inputs or result have fewer positions anew, on what there is of them."""
    made: dict[Node, Node] = {}
    parts: dict[tuple[Node, Ranges], Node] = {}

    def part(x: Node, ranges: Ranges) -> Node:
        """These positions of a value."""
        if (x, ranges) not in parts:
            now, there = made.get(x, x), wanted.get(x, whole(x))
            for axis, (have, want) in enumerate(zip(there, ranges, strict=True)):
                if have is not None and want is not None and have != want:
                    start = want.start - have.start
                    now = insert(aten.slice.Tensor, now, axis, start, start + len(want))
            parts[x, ranges] = now
        return parts[x, ranges]

    for node in list(graph.nodes):
        rule = rules.get(node)
        if rule is None or node not in wanted:
            continue
        asked = rule.inputs(wanted[node])
        if wanted[node] == whole(node) and all(wanted.get(x, whole(x)) == whole(x) for x, _ in asked):
            continue
        with insert.at(node):
            made[node] = rule.again(insert, [part(x, ranges) for x, ranges in asked], wanted[node])
    for node, new in made.items():
        if wanted[node] == whole(node):
            node.replace_all_uses_with(new)
    for node in reversed(graph.nodes):  # attention draws random numbers, for all that is known: no sweep would drop it
        if not node.users and (node in made or node.target in SPLITS):
            graph.erase_node(node)
