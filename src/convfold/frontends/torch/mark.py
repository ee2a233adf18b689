"""What a computed weight means, in six hexadecimal digits: how it is computed of which weights, not their numbers.

They end the weight's name. Two folds of a model, with other options, sizes or versions of convfold, may give weights
that belong at the same place and have the same shape, but hold something else: under another name none is taken for
the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from hashlib import sha256
from types import FunctionType
from typing import Any

from torch import Tensor
from torch.fx import Node as FxNode

from convfold.frontends.torch.operators import NewParameter
from convfold.region import Region

Digests = dict[int, str]


@contextmanager
def marking(parameters: list[NewParameter], mark: str) -> Iterator[None]:
    """Weights that are new when the block ends have this mark."""
    before = len(parameters)
    yield
    for p in parameters[before:]:
        p.mark = mark


def of_region(region: Region) -> str:
    """The steps and how they are wired."""
    place = {n.name: str(i) for i, n in enumerate(region.nodes)}
    steps = [(place[n.name], _digest(n.operation), [place[i] for i in n.inputs]) for n in region.steps]
    return _hash(str(steps))


def of_constant(weight: FxNode) -> str:
    """The calls it is computed by."""
    found: dict[FxNode, None] = {}
    todo = [weight]
    while todo:
        node = todo.pop()
        if node not in found:
            found[node] = None
            todo.extend(node.all_input_nodes)
    return _hash(str([(str(n.target), n.args, n.kwargs) for n in found]))


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:6]


def _digest(value: Any) -> str:
    """A frozen value by type and fields, down to plain ones; each once, innermost first: they share parts 2^n times."""
    known: Digests = {}
    todo = [value]
    while todo:
        x = todo[-1]
        waiting = [part for part in _parts(x) if id(part) not in known]
        if waiting:
            todo.extend(waiting)
        else:
            known[id(todo.pop())] = _hash(_text(x, known))
    return known[id(value)]


def _parts(x: Any) -> Iterator[Any]:
    """What it is made of that has fields of its own."""
    todo = [getattr(x, name) for name in _names(x)]
    while todo:
        v = todo.pop()
        if _names(v):
            yield v
        elif isinstance(v, Mapping):
            todo.extend(v.values())
        elif isinstance(v, tuple | list):
            todo.extend(v)


def _text(x: Any, known: Digests) -> str:
    names = _names(x)
    if not names:
        return _plain(x, known)
    return f"{type(x).__name__}({', '.join(_plain(getattr(x, name), known) for name in names)})"


def _plain(v: Any, known: Digests) -> str:
    if _names(v):
        return known[id(v)]
    if isinstance(v, Tensor):
        return str(tuple(v.shape))
    if isinstance(v, Mapping):
        return str([(str(k), _plain(u, known)) for k, u in v.items()])
    if isinstance(v, tuple | list):
        return str([_plain(u, known) for u in v])
    if isinstance(v, float):
        return "number"  # a weight of one number is seen as one
    if isinstance(v, set | frozenset):
        return str(sorted(_plain(u, known) for u in v))
    return v.__qualname__ if isinstance(v, FunctionType) else str(v)


def _names(x: Any) -> tuple[str, ...]:
    return _fields(type(x))  # type: ignore[arg-type]  # a type is hashable


@cache
def _fields(kind: type) -> tuple[str, ...]:
    """Of values of this kind; none of what is seen as a whole."""
    return tuple(f.name for f in fields(kind)) if is_dataclass(kind) else ()
