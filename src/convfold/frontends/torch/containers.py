"""Dataclasses that a model takes or returns: registered for the user, since torch.export takes them only then.

They stay registered: the folded module makes them, and files name them. The name is that of the class, with its module.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from convfold.errors import InvalidInput

#: What torch.export gives as it is, and takes.
_GIVEN = (Tensor, int, float, complex, str, bytes, type(None), torch.SymInt, torch.SymFloat, torch.SymBool)
_TAKEN = (*_GIVEN, torch.dtype, torch.device, torch.layout, torch.ScriptObject)


def register(tree: Any, what: str) -> None:
    """Make every dataclass in these nested containers one that torch opens. ``what``: "input" or "output".

    Raises:
        InvalidInput: one cannot be made again from its fields.
    """
    for leaf in pytree.tree_leaves(tree):
        if not is_dataclass(leaf) or isinstance(leaf, type | Tensor | nn.Module):
            continue
        kind = type(leaf)
        parts = {f.name: getattr(leaf, f.name) for f in fields(leaf) if f.init}
        if kind not in pytree.SUPPORTED_NODES:
            _refuse_changing(kind, parts, what)
            torch.export.register_dataclass(kind, serialized_type_name=f"{kind.__module__}.{kind.__qualname__}")
            pytree.treespec_loads.cache_clear()  # of a class of that name that this one takes the place of
        register(parts, what)


def opened(tree: Any) -> Any:
    """The same tensors as torch.export wants the shapes of: containers of the user's own as lists of their parts."""

    def parts(x: Any) -> Any:
        kind = pytree._get_node_type(x)
        if kind not in pytree.SUPPORTED_NODES or kind in pytree.BUILTIN_TYPES:
            return x
        return opened(pytree.SUPPORTED_NODES[kind].flatten_fn(x)[0])

    return pytree.tree_map(parts, tree, is_leaf=lambda x: pytree._get_node_type(x) not in pytree.BUILTIN_TYPES)


@contextmanager
def registered(model: nn.Module, inputs: Any) -> Iterator[None]:
    """While a model is exported: what goes in and what comes out.

    Raises:
        InvalidInput: one of them is an object that is no container to torch, and export failed.
    """
    register(inputs, "input")
    strange = _strange(inputs, "takes", _TAKEN)

    def returned(module: nn.Module, args: Any, out: Any) -> None:
        register(out, "output")
        strange.extend(_strange(out, "returns", _GIVEN))

    # Before torch looks at what is returned; without a hook the model would have to be run once more.
    handle = model.register_forward_hook(returned)
    try:
        yield
    except InvalidInput as e:
        if strange:
            raise InvalidInput(f"{type(model).__name__} {strange[0]}") from e
        raise
    finally:
        handle.remove()


def _refuse_changing(kind: type, parts: dict[str, Any], what: str) -> None:
    """A class that computes while it is made would compute again whenever torch makes it."""
    try:
        again: Any = kind(**parts)
        same = all(_same(getattr(again, name), x) for name, x in parts.items())
        why = "" if same else "made again from its fields it has others"
        more = sorted(inspect.signature(kind).parameters.keys() - parts.keys())  # an InitVar, which it does not keep
        why = why or (f"it is made of more than its fields: {', '.join(more)}" if more else "")
    except (TypeError, ValueError, AttributeError, RuntimeError) as e:  # what its own __init__ may raise
        why = f"it cannot be made again from its fields: {e}"
    if why:
        raise InvalidInput(
            f"{what} {kind.__qualname__}: {why}; take or return its tensors in a tuple or dictionary, or register it "
            "with torch.utils._pytree.register_pytree_node"
        )


def _same(a: object, b: object) -> bool:
    return a is b or (not isinstance(a, Tensor) and type(a) is type(b) and bool(a == b))


def _strange(tree: Any, verb: str, known: tuple[type, ...]) -> list[str]:
    """What torch.export takes for no container and no value of its own, and how to make it one."""
    return [
        f"{verb} {type(x).__name__} objects, which torch.export does not open: make the class a dataclass and register "
        "it with torch.export.register_dataclass, or pass its tensors in a tuple or dictionary"
        for x in pytree.tree_leaves(tree)
        if not isinstance(x, known)
    ]
