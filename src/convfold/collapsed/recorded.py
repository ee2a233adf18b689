"""Calls that computed weights from weights, kept so that they can be made again with other numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakIdKeyDictionary

from convfold.frontends.torch.operators import parameter


@dataclass(frozen=True)
class Place:
    """A tensor by when it was made: the weights first, then what each call gave."""

    number: int


@dataclass(frozen=True)
class Made:
    """One call; where it took or gave a tensor that depends on the weights, its place."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    gives: tuple[int, ...]  # of each tensor in what it returns; or, of a write, of the tensor written to

    @property
    def takes(self) -> list[int]:
        return [x.number for x in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(x, Place)]


@dataclass(frozen=True)
class Tape:
    """What is computed of some ``weights``: ``calls`` in order, and which of their tensors are ``wanted``, by place.

    ``typed``: of these a weight that each was of one type with.
    """

    weights: dict[str, int]
    calls: list[Made] = field(default_factory=list)
    wanted: dict[str, int] = field(default_factory=dict)
    typed: dict[str, str] = field(default_factory=dict)

    def parts(self) -> list[Tape]:
        """As tapes that have nothing in common but weights."""
        part: dict[int, int] = {}  # of each tensor that is made, the first of those it belongs together with

        def first(i: int) -> int:
            while part[i] != i:
                i = part[i]
            return i

        given = set(self.weights.values())
        for call in self.calls:
            together = [*call.gives, *(i for i in call.takes if i not in given)]
            for i in together:
                part.setdefault(i, i)
                part[first(i)] = first(together[0])
        names, typed = {i: name for name, i in self.weights.items()}, self.typed
        found: dict[int, Tape] = {}
        for call in self.calls:
            tape = found.setdefault(first(call.gives[0]), Tape({}))
            tape.calls.append(call)
            tape.weights.update({names[i]: i for i in call.takes if i in given})
        for name, i in self.wanted.items():
            tape = Tape({names[i]: i}) if i in given else found[first(i)]
            tape.wanted[name] = i
            tape.weights.setdefault(typed[name], self.weights[typed[name]])
            tape.typed[name] = typed[name]
            found.setdefault(i, tape)
        return list({id(tape): tape for tape in found.values()}.values())

    def alike(self, like: Sequence[Tensor]) -> Hashable:
        """The same for tapes that make the same calls, of weights like these."""
        numbers = {number: i for i, number in enumerate(self.weights.values())}

        def plain(x: Any) -> Hashable:
            if isinstance(x, Place):
                return "made", numbers[x.number]
            return (*described(x), *x.flatten().tolist()) if isinstance(x, Tensor) else repr(x)

        calls = []
        for call in self.calls:
            leaves, spec = pytree.tree_flatten((call.args, call.kwargs))
            made = tuple(numbers.setdefault(i, len(numbers)) for i in call.gives)
            calls.append((call.function, str(spec), *map(plain, leaves), made))
        return tuple(calls), tuple(numbers[i] for i in self.wanted.values()), tuple(map(described, like))

    def reads(self) -> list[set[int]]:
        """Of each tensor that is asked for, the weights it depends on, by their places among them."""
        known: dict[int, set[int]] = {number: {i} for i, number in enumerate(self.weights.values())}
        for call in self.calls:
            read = set().union(*(known[i] for i in call.takes))
            known.update(dict.fromkeys(call.gives, read))
        return [known[i] for i in self.wanted.values()]

    def __call__(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The same of other weights, connected to them: computed in the widest of their types, and at least float32."""
        dtype = reduce(torch.promote_types, (t.dtype for t in weights), torch.float32)
        values: dict[int, Any] = {i: t.to(dtype) for i, t in zip(self.weights.values(), weights, strict=True)}

        def now(x: Any) -> Any:
            if isinstance(x, Place):
                return values[x.number]
            if isinstance(x, Tensor) and x.is_floating_point():
                return x.to(dtype)
            return dtype if isinstance(x, torch.dtype) and x.is_floating_point else x

        for call in self.calls:
            args, kwargs = pytree.tree_map(now, (call.args, call.kwargs))
            out = args[0] if call.function in _KEPT else call.function(*args, **kwargs)
            made = [args[0] if out is None else out] if _writes(call.function) else _tensors(out)
            values.update(zip(call.gives, made, strict=True))
        types = dict(zip(self.weights, (t.dtype for t in weights), strict=True))
        return [values[i].to(types[self.typed[name]]) for name, i in self.wanted.items()]


class Recording(TorchFunctionMode):
    """While it is entered, every call that depends on these weights is kept."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.weights = weights
        self.tape = Tape({name: i for i, name in enumerate(weights)})
        self.places = WeakIdKeyDictionary()
        self.count = 0
        for t in weights.values():
            self._place(t)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = list(_tensors((args, kwargs)))
        if not any(t in self.places for t in tensors) or any(isinstance(t, FakeTensor) for t in tensors):
            return func(*args, **kwargs)
        if _writes(func) and args[0] not in self.places:
            self._keep(torch.clone, (args[0].detach().clone(),), {}, [args[0]])
        seen, named = pytree.tree_map_only(Tensor, self._seen, (args, kwargs))
        out = func(*args, **kwargs)
        made = [args[0]] if _writes(func) else list(_tensors(out))
        if made:
            self._keep(_named(func), seen, named, made)
        return out

    def wants(self, values: Mapping[str, Any]) -> Tape:
        """The tape, which gives those of these values that depend on the weights, as far as it is needed for them."""
        tape = self.tape
        found = {name: t for name, t in values.items() if isinstance(t, Tensor) and t in self.places}
        wanted = {name: self.places[t].number for name, t in found.items()}
        needed, calls = set(wanted.values()), list[Made]()
        for call in reversed(tape.calls):
            if _writes(call.function) or not needed.isdisjoint(call.gives):
                needed.update(call.takes)
                calls.append(call)
        weights = {name: i for name, i in tape.weights.items() if i in needed}
        typed = {w.dtype: name for name, w in self.weights.items() if name in weights}
        return Tape(weights, calls[::-1], wanted, {name: typed[t.dtype] for name, t in found.items()})

    def _keep(self, func: Any, args: Any, kwargs: Any, made: Sequence[Tensor]) -> None:
        self.tape.calls.append(Made(func, args, kwargs, tuple(self._place(t) for t in made)))

    def _place(self, t: Tensor) -> int:
        self.places[t] = Place(self.count)
        self.count += 1
        return self.count - 1

    def _seen(self, t: Tensor) -> Any:
        return self.places.get(t, t)


def described(t: Tensor) -> tuple[torch.dtype, torch.device, torch.Size]:
    return t.dtype, t.device, t.shape


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (x for x in pytree.tree_leaves(tree) if isinstance(x, Tensor))


def _writes(func: Any) -> bool:
    """Does it write into its first argument?"""
    name = getattr(func, "__name__", "")
    inplace = name.endswith("_") and not name.endswith("__")
    return inplace or name == "__setitem__" or (name.startswith("__i") and name not in ("__invert__", "__index__"))


def _named(func: Any) -> Any:
    """A property's getter as the property's name: that can be pickled."""
    if getattr(func, "__name__", "") == "__get__":
        return _Property(func.__self__.__name__)
    return func


@dataclass(frozen=True)
class _Property:
    name: str

    def __call__(self, t: Tensor) -> Any:
        return getattr(t, self.name)


#: What ends a tensor's history, makes a parameter of it or gives it another type is none of a computation that goes on.
_KEPT = frozenset((
    Tensor.detach, Tensor.requires_grad_, _Property("data"), parameter,
    Tensor.double, Tensor.float, Tensor.half, Tensor.bfloat16,
))  # fmt: skip
