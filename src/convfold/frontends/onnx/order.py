"""In which order do nodes come? After those they read, or there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from convfold.errors import InvalidInput
from convfold.frontends.onnx.protos import inside


def is_ordered(nodes: Sequence[onnx.NodeProto], before: set[str], where: str) -> bool:
    """Does every node come after those it reads?

    Raises:
        InvalidInput: there is no order in which they would.
    """
    if _is_sorted(nodes):
        return True
    known, own = set(before), {y for n in nodes for y in n.output if y}
    waiting: dict[str, list[int]] = {}
    missing = []
    for i, node in enumerate(nodes):
        reads = {x for x in _reads(node) if x in own and x not in before}
        missing.append(len(reads))
        for x in reads:
            waiting.setdefault(x, []).append(i)
    todo = [i for i, m in enumerate(missing) if not m]
    done = 0
    while todo:
        done += 1
        for y in nodes[todo.pop()].output:
            if y and y not in known:
                known.add(y)
                for i in waiting.get(y, ()):
                    missing[i] -= 1
                    if not missing[i]:
                        todo.append(i)
    if done < len(nodes):
        stuck = next(n for n, m in zip(nodes, missing, strict=True) if m)
        raise InvalidInput(f"{where} is cyclic: {named(stuck)} reads what is computed from its own output")
    return False


def _is_sorted(nodes: Sequence[onnx.NodeProto]) -> bool:
    missing = {y for n in nodes for y in n.output if y}
    for node in nodes:
        if not missing.isdisjoint(_reads(node)):
            return False
        missing.difference_update(node.output)
    return True


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names, those that graphs inside read from around them among them."""
    yield from filter(None, node.input)
    for g in inside(node.attribute):
        own = {x.name for x in (*g.input, *g.initializer)} | {s.values.name for s in g.sparse_initializer}
        own |= {y for n in g.node for y in n.output}
        for n in g.node:
            yield from (x for x in _reads(n) if x not in own)


def named(node: onnx.NodeProto) -> str:
    name = node.name or next(filter(None, node.output), "")
    return f"{node.op_type} {name!r}"
