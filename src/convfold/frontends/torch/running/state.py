"""What does running a model change, and how is it put back? All that is within reach: tensors and Python values."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from convfold.frontends.torch.running.reach import Reach, memory

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
        self.changing = False  # has any run been seen to change it, or to draw random numbers?
        self._reach = Reach(roots)
        self.tensors = self._reach.tensors
        self._storages = self._reach.memories
        self._saved: dict[int, torch.UntypedStorage] = {}  # what was there before it was written to
        with torch.no_grad():
            self._aliases = [t.detach() for t in self.tensors]

    def is_written(self, t: Tensor) -> bool:
        return memory(t) in self._saved

    def run(self, call: Callable[[], T], mode: Watch | None = None, seed: int = 0) -> T:
        """``call()`` from this state, its random numbers drawn from ``seed``; then all is put back, also on errors.

        What it returns may share memory with the state: see `apart`. What was compiled by `torch.compile` would not run
        as such under a mode; then everything is copied first instead.
        """
        with self.kept(seed):
            if mode is None and self._reach.compiled:
                self.save()
                return call()
            # What torch.compile meets under a mode it would leave alone from then on, also without one.
            with torch.compiler.set_stance("force_eager"), mode or Watch(self):
                return call()

    @contextmanager
    def kept(self, seed: int = 0) -> Iterator[None]:
        """At the end everything is put back, of the memory what is known to be written to; see `run` for all of it."""
        try:
            with seeded(seed):
                before = torch.get_rng_state(), random.getstate()
                yield
                drawn = not torch.equal(before[0], torch.get_rng_state()) or before[1] != random.getstate()
                self.changing |= drawn
        finally:
            self.restore()

    def start_over(self, seed: int = 0) -> None:
        """Everything as it was, and the same random numbers again."""
        self.restore()
        seed_all(seed)

    def restore(self) -> None:
        """Everything as it was."""
        reach = self._reach
        self.changing |= bool(reach.undo or self._saved)
        for container in reach.containers:
            self.changing |= container.restore()
        for empty in reach.empty:
            if empty:
                self.changing = True
                empty.clear()
        for undo in reach.undo:
            undo()
        for t, alias in zip(self.tensors, self._aliases, strict=True):
            if t.data_ptr() != alias.data_ptr() or t.shape != alias.shape or t.stride() != alias.stride():
                t.data = alias
        for key, copy in self._saved.items():
            storage = self._storages[key]
            if storage.nbytes() != copy.nbytes():
                storage.resize_(copy.nbytes())
            storage.copy_(copy)

    def substitute(self, other: Callable[[Tensor], Tensor]) -> None:
        """Put ``other(t)`` in the place of each tensor, until `restore`."""
        for container in self._reach.containers:
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
