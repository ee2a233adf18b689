"""Is a module one that we know? If it computes as its class does, by no other functions, and nothing beside."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from convfold.errors import InvalidInput, NotFoldable

#: From a module, and its channels and space axes where those are known, to its value.
Reader = Callable[[Any, int | None, int | None], Any]
R = TypeVar("R", bound=Reader)


@dataclass(frozen=True)
class _Kind:
    """How a class of modules is read, and the functions it computes by: `forward` and all that it calls on itself."""

    read: Reader
    functions: Mapping[str, Any]


_KINDS: dict[type, _Kind] = {}


def module(*classes: type[nn.Module]) -> Callable[[R], R]:
    """Register the reader of some classes of modules."""

    def register(read: R) -> R:
        _KINDS.update((cls, _Kind(read, _functions(cls))) for cls in classes)
        return read

    return register


def _functions(cls: type) -> dict[str, Any]:
    """`forward` and what it calls, by name, as the class has it now."""
    found: dict[str, Any] = {}
    todo = ["forward"]
    while todo:
        name = todo.pop()
        function = getattr(cls, name, None)
        if name not in found and inspect.isfunction(function):
            found[name] = function
            todo += inspect.unwrap(function).__code__.co_names
    return found


def reader(m: nn.Module) -> Reader | None:
    """How to read a module; None where what it computes is not (or not only) what a class we know does.

    A subclass that inherits `forward` and all that it calls is known: its attributes, computed ones too
    (parametrisations), are read as `forward` reads them. One with a function of its own, an instance that was given
    one, and one with forward hooks are not.

    Raises:
        NotFoldable: ``not-affine`` while hooks are set that run on every module there is.
    """
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        raise NotFoldable("not-affine", "forward hooks are set on every module (torch.nn.modules.module); remove them")
    kind = next((_KINDS[cls] for cls in type(m).__mro__ if cls in _KINDS), None)
    if kind is None or m._forward_hooks or m._forward_pre_hooks or not kind.functions.keys().isdisjoint(vars(m)):
        return None
    if m.training and parametrize.is_parametrized(m) and any(True for _ in m.buffers()):
        return None  # spectral norm: reading its weight would write into them
    same = all(getattr(type(m), name, None) is function for name, function in kind.functions.items())
    called = type(m).__call__ is nn.Module.__call__  # which tracing puts another in the place of
    return kind.read if same and called else None


def refuse_uninitialised(m: nn.Module) -> None:
    """Raise where a weight has no shape yet, as those of `nn.LazyConv2d` before its first input."""
    for path, part in m.named_modules():
        if any(is_lazy(t) for t in (*part._parameters.values(), *part._buffers.values())):
            raise InvalidInput(
                f"{type(part).__name__}{f' {path!r}' if path else ''} has no weights yet; "
                "run the model once on an input to give them their shape"
            )
