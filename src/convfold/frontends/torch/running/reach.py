"""What can a run of a model change? All that is reached from it; and how is each thing put back?"""

from __future__ import annotations

import random
import sys
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import partial
from operator import is_
from types import CellType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType
from typing import Any

import torch
from torch import Tensor, nn


class Reach:
    """The tensors and containers that modules, plain objects, closures and containers hold, directly or not.

    Attributes:
        tensors: each plain one once; and their memories.
        containers: those that hold something now: each can be put back, and its tensors be exchanged for others.
        empty: those that hold nothing.
        undo: what puts back other things.
        compiled: is any module compiled by `torch.compile`?
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self.tensors: list[Tensor] = []
        self.memories: dict[int, torch.UntypedStorage] = {}
        self.containers: list[Container] = []
        self.empty: list[dict[Any, Any] | list[Any] | deque[Any] | set[Any]] = []
        self.undo: list[Callable[[], object]] = []
        self.compiled = False
        todo, seen = list(roots), {}
        while todo:
            x = todo.pop()
            kind = type(x)
            if kind in _ATOMS:
                continue
            if kind in _CONTAINERS and not x:  # as most are in a module
                self.empty.append(x)
            elif id(x) not in seen:
                seen[id(x)] = x  # kept, so that no other object gets its id
                todo += self._visit(x)

    def _visit(self, x: Any) -> Iterable[Any]:
        """Remember how to put it back; what it holds."""
        if isinstance(x, Tensor):
            if (key := memory(x)) != NONE:
                self.tensors.append(x)
                self.memories[key] = x.untyped_storage()
            return (x.__dict__,) if x.__dict__ else ()
        if isinstance(x, dict | list | deque | set):
            container = _Dict(x) if isinstance(x, dict) else _Set(x) if isinstance(x, set) else _List(x)
            self.containers.append(container)
            return container.values
        if isinstance(x, nn.Module):
            self.compiled |= _is_compiled(x)
            own = (*x.parameters(), *x.buffers()) if isinstance(x, torch.jit.ScriptModule) else ()
            return (vars(x), *own)
        match x:
            case tuple() | frozenset():
                return x
            case CellType():
                return self._attributes(x, [CellType.cell_contents])
            case FunctionType() if _is_own(x.__module__):
                return (*(x.__closure__ or ()), *(x.__defaults__ or ()), x.__dict__)
            case MethodType():
                return (x.__self__, x.__func__)
            case partial():
                return (x.func, x.args, x.keywords)
            case bytearray() | array():
                self.undo.append(partial(x.__setitem__, slice(None), x[:]))
            case torch.Generator():
                self.undo.append(partial(x.set_state, x.get_state()))
            case random.Random():
                self.undo.append(partial(x.setstate, x.getstate()))
            case _ if _is_numpy(x):
                self.undo.append(partial(x.__setitem__, ..., x.copy()))
            case _ if _is_own(type(x).__module__):
                slots = self._attributes(x, _slots(type(x)))
                return (vars(x), *slots) if type(x).__dictoffset__ else slots
        return ()

    def _attributes(self, x: Any, descriptors: list[_Descriptor]) -> Iterable[Any]:
        if not descriptors:
            return ()
        container = _Attributes(x, descriptors)
        self.containers.append(container)
        return container.values


class _Dict:
    """A dictionary's keys and values; also the attributes of a module or object."""

    def __init__(self, target: dict[Any, Any]) -> None:
        self.target, self.kind = target, OrderedDict if isinstance(target, OrderedDict) else dict
        self.keys, self.values = list(target), list(self.kind.values(target))

    def restore(self) -> bool:
        """Was it changed?"""
        d, values = self.target, self.kind.values(self.target)
        if len(d) == len(self.keys) and all(map(is_, values, self.values)) and all(map(is_, d, self.keys)):
            return False
        self.kind.clear(d)
        self.kind.update(d, zip(self.keys, self.values, strict=True))
        return True

    def substitute(self, other: Callable[[Tensor], Tensor]) -> None:
        for key, x in zip(self.keys, self.values, strict=True):
            if isinstance(x, Tensor):
                self.kind.__setitem__(self.target, key, other(x))


class _List:
    """A list's or deque's items."""

    def __init__(self, target: list[Any] | deque[Any]) -> None:
        self.target, self.values = target, list(target)

    def restore(self) -> bool:
        if len(self.target) == len(self.values) and all(map(is_, self.target, self.values)):
            return False
        self.target.clear()
        self.target.extend(self.values)
        return True

    def substitute(self, other: Callable[[Tensor], Tensor]) -> None:
        for i, x in enumerate(self.values):
            if isinstance(x, Tensor):
                self.target[i] = other(x)


class _Set:
    """A set's members."""

    def __init__(self, target: set[Any]) -> None:
        self.target, self.values = target, frozenset(target)

    def restore(self) -> bool:
        if self.target == self.values:
            return False
        self.target.clear()
        self.target.update(self.values)
        return True

    def substitute(self, other: Callable[[Tensor], Tensor]) -> None:
        """Its tensors are known by their identity: they stay."""


class _Attributes:
    """What descriptors hold: slots, and the cell of a closure's variable."""

    def __init__(self, target: Any, descriptors: list[_Descriptor]) -> None:
        self.target, self.held = target, [(d, _held(d, target)) for d in descriptors]
        self.values = [value for _, held in self.held for value in held]

    def restore(self) -> bool:
        changed = False
        for d, held in self.held:
            now = _held(d, self.target)
            if len(now) != len(held) or not all(map(is_, now, held)):
                changed = True
                if held:
                    d.__set__(self.target, held[0])
                else:
                    d.__delete__(self.target)
        return changed

    def substitute(self, other: Callable[[Tensor], Tensor]) -> None:
        for d, held in self.held:
            if held and isinstance(held[0], Tensor):
                d.__set__(self.target, other(held[0]))


_Descriptor = MemberDescriptorType | GetSetDescriptorType
Container = _Dict | _List | _Set | _Attributes

_ATOMS = frozenset(
    (type(None), bool, int, float, complex, str, bytes, type, range, slice, torch.dtype, torch.device, torch.Size)
)
_CONTAINERS = frozenset((dict, OrderedDict, list, deque, set))
NONE = 0
_FOREIGN = (sys.stdlib_module_names | {"torch", "numpy"}) - {"types", "argparse", "collections"}


def memory(t: Tensor) -> int:
    """Names the memory of a plain tensor; 0 where it has none of its own (sparse, nested, a wrapper of others)."""
    return t.untyped_storage()._cdata if is_plain(t) and t.device.type != "meta" else NONE


def is_plain(t: Tensor) -> bool:
    """Numbers in memory: no subclass that answers operators itself, no sparse, nested or uninitialised tensor."""
    kind = type(t)
    common = kind is Tensor or kind is nn.Parameter
    by_torch = common or kind.__torch_dispatch__ is torch._C._disabled_torch_dispatch_impl
    return by_torch and (common or not nn.parameter.is_lazy(t)) and t.layout is torch.strided and not t.is_nested


def _held(d: _Descriptor, target: Any) -> tuple[Any, ...]:
    try:
        return (d.__get__(target),)
    except (AttributeError, ValueError):  # an empty slot, an empty cell
        return ()


def _slots(kind: type) -> list[_Descriptor]:
    own = [vars(base) for base in kind.__mro__ if "__slots__" in vars(base)]
    return [d for members in own for d in members.values() if isinstance(d, MemberDescriptorType)]


def _is_own(module: str | None) -> bool:
    """Classes and functions of the user's, and the standard library's plain holders of values: not whole subsystems."""
    return (module or "").partition(".")[0] not in _FOREIGN


def _is_numpy(x: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(x, numpy.ndarray)


def _is_compiled(module: nn.Module) -> bool:
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    return vars(module).get("_compiled_call_impl") is not None or (
        dynamo is not None and isinstance(module, dynamo.OptimizedModule)
    )
