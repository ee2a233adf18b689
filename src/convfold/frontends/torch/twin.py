"""The value that a call which writes into its first argument leaves there."""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node

from convfold.frontends.torch.insert import Insert, value
from convfold.frontends.torch.unsure import Unsure
from convfold.frontends.torch.views import shape

aten = torch.ops.aten


def result(insert: Insert, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node:
    """``x.add_(y)`` → ``x.add(y)``, in the type of x."""
    x = args[0]
    if target is aten.copy_.default:
        return _copied(insert, x, args[1])
    new = insert(_twin(target), *args, **kwargs)
    before, after = value(x), value(new)
    if shape(before) != shape(after):
        raise Unsure(f"{target} changes a shape")
    return new if before.dtype == after.dtype else insert(aten._to_copy.default, new, dtype=before.dtype)


def _copied(insert: Insert, x: Node, source: Node) -> Node:
    if x is source:
        return x
    before, after = value(x), value(source)
    if (shape(before), before.dtype, before.device) == (shape(after), after.dtype, after.device):
        return insert(aten.clone.default, source)
    return insert(aten.copy.default, x, source)


def _twin(target: Any) -> OpOverload:
    """The operator of the same name without the underscore, if it takes the same and returns a new value."""
    if target is aten.detach_.default:
        return aten.detach.default
    namespace, _, name = target._schema.name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), name[:-1], None)
    if not name.endswith("_") or name.startswith("__") or torch.Tag.inplace_view in target.tags or packet is None:
        raise Unsure(f"{target} has no functional twin")
    for overload in packet.overloads():
        found: OpOverload = getattr(packet, overload)
        if _takes(found) == _takes(target) and _returns_anew(found):
            return found
    raise Unsure(f"{target} has no functional twin")


def _takes(operator: OpOverload) -> list[tuple[str, str]]:
    return [(a.name, str(a.type)) for a in operator._schema.arguments]


def _returns_anew(operator: OpOverload) -> bool:
    schema = operator._schema
    return [str(r.type) for r in schema.returns] == ["Tensor"] and all(a.alias_info is None for a in schema.arguments)
