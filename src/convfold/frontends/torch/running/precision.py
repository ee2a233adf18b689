"""Running in one floating-point type what was written for another; float64 is the reference for everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from convfold.frontends.torch.running import double
from convfold.frontends.torch.running.reach import is_plain, memory
from convfold.frontends.torch.running.state import State, Watch, writes

#: Tensors of a model up to this many numbers are cast once for a run, larger ones for each call that reads them.
SMALL = 1 << 16

aten = torch.ops.aten

#: These pick numbers and compute none: what was picked is cast, not all there was to pick from.
PICKS = frozenset((aten.embedding.default, aten.index.Tensor, aten.index_select.default, aten.gather.default))


def run_in(
    dtype: torch.dtype,
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    state: State | None = None,
    read: Callable[[Any], Any] = lambda outputs: outputs,
    seed: int = 0,
) -> Any:
    """``read`` of the model's outputs computed in ``dtype``; the model and the inputs stay as they are.

    Small tensors of the model, and those it writes into (as far as earlier runs of ``state`` have shown), are swapped
    for copies; large weights are cast call by call, one at a time. A model that looks at the types of its weights may
    not run so; then all are swapped.
    """
    state = state or State(model, args, kwargs)
    own = next((t.dtype for t in state.tensors if t.is_floating_point()), torch.get_default_dtype())
    mode = Computing(state, dtype, own)

    def run(largest: float) -> Any:
        try:
            with default_dtype(dtype):
                state.substitute(_Copies(state, dtype, largest))
                wide_args, wide_kwargs = cast((args, kwargs), dtype)
                return state.run(lambda: read(model(*wide_args, **wide_kwargs)), mode, seed)
        finally:
            state.restore()

    try:
        return run(SMALL)
    except Exception:
        if all(t.numel() <= SMALL or t.dtype == wider(t.dtype, dtype) for t in state.tensors):
            raise
        return run(inf)


def cast(tree: Any, dtype: torch.dtype) -> Any:
    """Floating-point and complex tensors, and such types, as ``dtype`` or its complex counterpart."""

    def one(x: Any) -> Any:
        if isinstance(x, Tensor):
            return x.to(wider(x.dtype, dtype))
        return wider(x, dtype) if isinstance(x, torch.dtype) else x

    return pytree.tree_map(one, tree)


def wider(dtype: torch.dtype, wanted: torch.dtype) -> torch.dtype:
    if dtype.is_floating_point:
        return wanted
    return wanted.to_complex() if dtype.is_complex else dtype


@contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """Everything computed inside is computed in ``dtype``, whatever the types of weights and inputs."""
    mode = Computing(State(), dtype, torch.get_default_dtype())
    with default_dtype(dtype), mode:
        yield


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Computing(Watch):
    """Every floating-point tensor and every type asked for becomes ``dtype``, call by call.

    Random numbers are drawn in the type the model would draw them in, so that they are the same numbers: ``own``, or
    the default where it names none.
    """

    def __init__(self, state: State, dtype: torch.dtype, own: torch.dtype) -> None:
        super().__init__(state)
        self.dtype, self.own, self.default = dtype, own, torch.get_default_dtype()
        self.scratch = torch.empty(0, dtype=dtype)  # for large weights, while one call reads them
        self.used = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.announce(func, args, kwargs)
        if not isinstance(func, OpOverload) or _only_views(func):
            return func(*args, **kwargs)
        if draws(func, args, kwargs):
            return self._drawn(func, args, kwargs)
        if func in PICKS:
            return self._cast(func(*args, **kwargs))
        self.used, into = 0, {key for pair in writes(func) for key in pair}
        args = [x if i in into else self._cast(x) for i, x in enumerate(args)]
        kwargs = {name: x if name in into else self._cast(x) for name, x in kwargs.items()}
        if func is aten.convolution.default and self.dtype == torch.float64:
            y = double.convolution(*args)
            if y is not None:
                return y
        y = func(*args, **kwargs)
        return pytree.tree_map(self._off_scratch, y) if self.used else y

    def _cast(self, x: Any) -> Any:
        if isinstance(x, Tensor):
            dtype = x.dtype
            if dtype is self.dtype or not (dtype.is_floating_point or dtype.is_complex):
                return x
            large = x.numel() > SMALL and dtype.is_floating_point
            return self._on_scratch(x) if large and is_plain(x) and _is_packed(x) else x.to(wider(dtype, self.dtype))
        if isinstance(x, torch.dtype):
            return wider(x, self.dtype)
        if type(x) is list or type(x) is tuple:
            return type(x)(map(self._cast, x))
        return x

    def _on_scratch(self, x: Tensor) -> Tensor:
        """In memory that is used again: the system takes longer to give fresh pages than it takes to fill them."""
        start, self.used = self.used, self.used + x.numel()
        if self.scratch.numel() < self.used:
            self.scratch = torch.empty(self.used, dtype=self.dtype)
        return self.scratch.as_strided(x.shape, x.stride(), start).copy_(x)

    def _off_scratch(self, y: Any) -> Any:
        return y.clone() if isinstance(y, Tensor) and memory(y) == memory(self.scratch) else y

    def _drawn(self, func: Any, args: Any, kwargs: Any) -> Any:
        arguments = {a.name: a for a in func._schema.arguments}
        if "dtype" in arguments and kwargs.get("dtype") is None and not any(isinstance(x, Tensor) for x in args):
            kwargs = {**kwargs, "dtype": self.default}
        given = pytree.tree_map_only(Tensor, lambda x: x.to(wider(x.dtype, self.own)), (args, kwargs))
        drawn = func(*given[0], **given[1])
        back = {}
        for i, name in writes(func):
            into, of = (args[i], given[0][i]) if i < len(args) else (kwargs[name], given[1][name])
            back[id(of)] = into.copy_(of)
        return pytree.tree_map(lambda y: back[id(y)] if id(y) in back else self._cast(y), drawn)


class _Copies:
    """Of the tensors of a model that are swapped for a run. Those in one memory that is written to stay in one."""

    def __init__(self, state: State, dtype: torch.dtype, largest: float) -> None:
        self.state, self.dtype, self.largest = state, dtype, largest
        self.made: dict[int, Tensor] = {}
        self.memories: dict[tuple[int, torch.dtype], Tensor] = {}

    def __call__(self, t: Tensor) -> Tensor:
        if t.dtype == wider(t.dtype, self.dtype) or not is_plain(t):
            return t
        if id(t) not in self.made:
            self.made[id(t)] = self._made(t, wider(t.dtype, self.dtype))
        return self.made[id(t)]

    def _made(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        if not self.state.is_written(t):
            return t.detach().to(dtype) if t.numel() <= self.largest else t
        key = memory(t), t.dtype
        if key not in self.memories:
            self.memories[key] = t.new_empty(0).set_(t.untyped_storage()).to(dtype)
        return self.memories[key].as_strided(t.shape, t.stride(), t.storage_offset())


def draws(func: OpOverload, args: Any, kwargs: Any) -> bool:
    """Does this call draw random numbers?"""
    switch = _switch(func)
    if switch is None:
        return True
    i, name = switch
    return bool(args[i] if 0 <= i < len(args) else kwargs.get(name, False))


@cache
def _only_views(func: OpOverload) -> bool:
    """Nothing is computed, nor brought to another type: its result may as well be cast when it is used."""
    return func.is_view and not any(a.name == "dtype" for a in func._schema.arguments)


@cache
def _switch(func: OpOverload) -> tuple[int, str] | None:
    """Where the argument is that says whether it does: nowhere if it never does, None if it always does."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return -1, ""
    arguments = enumerate(func._schema.arguments)
    return next(((i, a.name) for i, a in arguments if a.name in ("dropout_p", "train", "training")), None)


def _is_packed(x: Tensor) -> bool:
    """On the CPU, rows or columns one after another without gaps."""
    return x.device.type == "cpu" and (x.is_contiguous() or (x.dim() > 1 and x.mT.is_contiguous()))
