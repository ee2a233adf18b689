"""What does running a model change, and how is it put back? All that is within reach: tensors and Python values."""

from __future__ import annotations

import random
import sys
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from operator import is_
from types import CellType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

T = TypeVar("T")


class State:
    """All that the given objects hold (modules, tensors, containers, closures, plain objects), as it is now.

    Python values are put back by reference: containers are remembered one level deep each. A tensor costs nothing until
    an operator is about to write into its memory; then that is copied, once, and written back afterwards. So every
    tensor is the same object at the same address with the same values, and weights nobody writes into take no memory.

    Out of reach are global variables, class attributes, iterators, files, and memory written to by other means than
    torch's operators.
    """

    def __init__(self, *roots: Any) -> None:
        self.changing = False  # has any run been seen to change it?
        self._compiled = False
        self._storages: dict[int, torch.UntypedStorage] = {}  # of every tensor within reach
        self._saved: dict[int, torch.UntypedStorage] = {}  # their values, of those that were written to
        self._aliases: list[tuple[Tensor, Tensor]] = []
        self._containers: list[_Container] = []
        self._undo: list[Callable[[], object]] = []
        with torch.no_grad():
            self._walk(roots)

    @property
    def tensors(self) -> list[Tensor]:
        return [t for t, _ in self._aliases]

    def is_written(self, t: Tensor) -> bool:
        return memory(t) in self._saved

    def run(self, call: Callable[[], T], mode: Watch | None = None, seed: int = 0) -> T:
        """``call()`` from this state, its random numbers drawn from ``seed``; then all is put back, also on errors.

        What it returns may share memory with the state: see `apart`. What was compiled by `torch.compile` would not run
        as such under a mode; then everything is copied first instead.
        """
        if mode is None and self._compiled:
            self.save()
        watch = mode or (nullcontext() if self._compiled else Watch(self))
        with self.kept(seed), watch:
            return call()

    @contextmanager
    def kept(self, seed: int = 0) -> Iterator[None]:
        """At the end everything is put back, of the memory what is known to be written to; see `run` for all of it."""
        try:
            with seeded(seed):
                yield
        finally:
            self.restore()

    def start_over(self, seed: int = 0) -> None:
        """Everything as it was, and the same random numbers again."""
        self.restore()
        seed_all(seed)

    def restore(self) -> None:
        """Everything as it was."""
        self.changing |= bool(self._undo or self._saved)
        for container in self._containers:
            self.changing |= container.restore()
        for undo in self._undo:
            undo()
        for t, alias in self._aliases:
            if t.data_ptr() != alias.data_ptr() or t.shape != alias.shape or t.stride() != alias.stride():
                t.data = alias
        for key, copy in self._saved.items():
            storage = self._storages[key]
            if storage.nbytes() != copy.nbytes():
                storage.resize_(copy.nbytes())
            storage.copy_(copy)

    def substitute(self, other: Callable[[Tensor], Tensor]) -> None:
        """Put ``other(t)`` in the place of each tensor, until `restore`."""
        for container in self._containers:
            container.substitute(other)

    def touch(self, x: Any) -> None:
        """It is about to be written into."""
        if isinstance(x, list | tuple):
            for each in x:
                self.touch(each)
        elif isinstance(x, Tensor):
            key = memory(x)
            if key in self._storages and key not in self._saved:
                self._saved[key] = self._storages[key].clone()

    def save(self) -> None:
        """Anything may be written into."""
        for key, storage in self._storages.items():
            if key not in self._saved:
                self._saved[key] = storage.clone()

    def apart(self, t: Tensor) -> Tensor:
        """A copy if it shares memory with the state, whose values are about to be put back."""
        return t.clone() if memory(t) in self._storages else t

    def _walk(self, roots: Iterable[Any]) -> None:
        todo, seen = list(roots), {}
        while todo:
            x = todo.pop()
            if type(x) not in _ATOMS and id(x) not in seen:
                seen[id(x)] = x  # kept, so that no other object gets its id
                todo += self._visit(x)

    def _visit(self, x: Any) -> Iterable[Any]:
        """Remember how to put it back; what it holds."""
        if isinstance(x, Tensor):
            if (key := memory(x)) != _NONE:
                self._storages[key] = x.untyped_storage()
                self._aliases.append((x, x.detach()))
            return (x.__dict__,)
        if isinstance(x, dict | list | deque):
            container = _Dict(x) if isinstance(x, dict) else _List(x)
            self._containers.append(container)
            return container.values
        if isinstance(x, nn.Module):
            self._compiled |= _is_compiled(x)
            own = (*x.parameters(), *x.buffers()) if isinstance(x, torch.jit.ScriptModule) else ()
            return (vars(x), *own)
        match x:
            case tuple() | frozenset():
                return x
            case set():
                self._undo.append(partial(_refill, x, frozenset(x)))
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
                self._undo.append(partial(x.__setitem__, slice(None), x[:]))
            case torch.Generator():
                self._undo.append(partial(x.set_state, x.get_state()))
            case random.Random():
                self._undo.append(partial(x.setstate, x.getstate()))
            case _ if _is_numpy(x):
                self._undo.append(partial(x.__setitem__, ..., x.copy()))
            case _ if _is_own(type(x).__module__):
                slots = self._attributes(x, _slots(type(x)))
                return (vars(x), *slots) if type(x).__dictoffset__ else slots
        return ()

    def _attributes(self, x: Any, descriptors: list[_Descriptor]) -> Iterable[Any]:
        if not descriptors:
            return ()
        container = _Attributes(x, descriptors)
        self._containers.append(container)
        return container.values


#: Their schemas do not say that in training mode (argument 5) they update running statistics (3 and 4).
UNSAID = frozenset(
    getattr(torch.ops.aten, name).default
    for name in ("batch_norm", "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "instance_norm")
)


class Watch(TorchDispatchMode):
    """Before an operator writes into a tensor, the state it belongs to hears of it."""

    supports_higher_order_operators = True

    def __init__(self, state: State) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.state = state

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.announce(func, args, kwargs)
        return func(*args, **kwargs)

    def announce(self, func: Any, args: Any, kwargs: Any) -> None:
        if not isinstance(func, OpOverload):  # a branch or loop, whose body runs unseen
            self.state.save()
        for i, name in writes(func):
            self.state.touch(args[i] if i < len(args) else kwargs.get(name))
        if func in UNSAID and args[5]:
            self.state.touch(args[3:5])


@contextmanager
def untouched(*roots: Any) -> Iterator[State]:
    """Whatever is done to the Python side of these objects inside is undone at the end; tensors, if `State` runs it."""
    state = State(*roots)
    try:
        yield state
    finally:
        state.restore()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers (torch's, Python's, NumPy's) from ``seed`` inside; outside they go on as if nothing had been."""
    numpy = sys.modules.get("numpy")
    before = random.getstate(), numpy.random.get_state() if numpy else None
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        seed_all(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            if numpy:
                numpy.random.set_state(before[1])


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)


@cache
def writes(func: Any) -> tuple[tuple[int, str], ...]:
    """Position and name of each argument an operator writes into."""
    if not isinstance(func, OpOverload):
        return ()
    arguments = enumerate(func._schema.arguments)
    return tuple((i, a.name) for i, a in arguments if a.alias_info is not None and a.alias_info.is_write)


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
_Container = _Dict | _List | _Attributes

_ATOMS = frozenset(
    (type(None), bool, int, float, complex, str, bytes, type, range, slice, torch.dtype, torch.device, torch.Size)
)
_NONE = 0
_FOREIGN = (sys.stdlib_module_names | {"torch", "numpy"}) - {"types", "argparse", "collections"}


def memory(t: Tensor) -> int:
    """Names the memory of a plain tensor; 0 where it has none of its own (sparse, nested, a wrapper of others)."""
    return t.untyped_storage()._cdata if is_plain(t) and t.device.type != "meta" else _NONE


def is_plain(t: Tensor) -> bool:
    """Numbers in memory: no subclass that answers operators itself, no sparse, nested or uninitialised tensor."""
    by_torch = type(t).__torch_dispatch__ is torch._C._disabled_torch_dispatch_impl
    return by_torch and not nn.parameter.is_lazy(t) and t.layout is torch.strided and not t.is_nested


def _held(d: _Descriptor, target: Any) -> tuple[Any, ...]:
    try:
        return (d.__get__(target),)
    except (AttributeError, ValueError):  # an empty slot, an empty cell
        return ()


def _refill(target: set[Any], values: Iterable[Any]) -> None:
    target.clear()
    target.update(values)


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
