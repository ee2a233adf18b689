"""Models that change when they run, each in its own way; and a way to see whether anything has changed."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


class Counts(nn.Module):
    """In a buffer, in place."""

    n: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return x * self.n


class CountsWhole(Counts):
    """In a buffer of whole numbers that each call replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.n = self.n + 1
        return x * self.n


class Averages(nn.Module):
    """An exponential moving average of what it sees, of one view of a buffer."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        self.mean[1].mul_(0.9).add_(0.1 * x.mean((0, 2, 3)))
        return x - self.mean[1].reshape(-1, 1, 1)


class KeepsAttribute(nn.Module):
    """A tensor that is no buffer, written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = torch.ones(3)

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add_(x.mean((0, 2, 3)))
        return x * self.seen.reshape(-1, 1, 1)


class KeepsCache(nn.Module):
    """Keys in a list, values in a dictionary, both grown by every call."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.values = [torch.ones(1, 3)], {"values": torch.ones(1, 3)}

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((0, 2, 3))[None]
        self.keys.append(mean)
        self.values["values"] = torch.cat([self.values["values"], mean])
        return x * torch.cat(self.keys).mean() + self.values["values"].mean()


class Counter:
    """An object of the user's, with slots."""

    __slots__ = ("n", "of")

    of: Tensor

    def __init__(self) -> None:
        self.n = 0


@dataclass
class Memory:
    calls: int = 0
    lengths: list[int] = field(default_factory=list)
    counter: Counter = field(default_factory=Counter)


class CountsInPython(nn.Module):
    """An attribute, a list, a set, a deque, objects, a generator, random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.memory, self.spaces = 0, Memory(), SimpleNamespace(n=0)
        self.sizes, self.last, self.bytes = {1}, deque([1, 2], maxlen=2), bytearray(b"ab")
        self.generator, self.dice = torch.Generator().manual_seed(3), random.Random(5)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.memory.calls += 1
        self.memory.lengths.append(self.calls)
        self.memory.counter.n += 1
        self.memory.counter.of = x
        self.spaces.n += 1
        self.sizes.add(self.calls + 1)
        self.last.append(self.calls)
        self.bytes.append(self.calls)
        self.made = x
        noise = torch.rand(3, generator=self.generator).sum() + self.dice.random()
        return x * (self.calls + len(self.memory.lengths) + self.memory.counter.n + self.spaces.n + noise)


class WritesWeight(nn.Module):
    """Its weight, once in place and once exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.full((3, 1, 1), 2.0)), nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        self.scale.data.mul_(1.1)
        self.shift.data = self.shift.data * 1.2
        return x * self.scale + self.shift


class Hooked(nn.Module):
    """A hook that counts in a variable of its closure."""

    def __init__(self) -> None:
        super().__init__()
        n = 0

        def count(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            nonlocal n
            n += 1
            return output * n

        self.register_forward_hook(count)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0


class WritesInput(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x += 1
        return x * 2


class Draws(nn.Module):
    """Random numbers, from operators of every kind that draws them."""

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.rand(x.shape[1:]) + torch.randn_like(x) + torch.empty(x.shape[1:]).uniform_(1, 2)
        return x * noise + torch.bernoulli(torch.full_like(x, 0.5)) + torch.nn.functional.dropout(x, 0.3)


class Norm(nn.BatchNorm2d):
    """In training mode: its running statistics move."""

    def __init__(self) -> None:
        super().__init__(3)


#: Those a program can be exported of; the others hold what torch.export knows nothing of.
EXPORTED: list[Callable[[], nn.Module]] = [Counts, CountsWhole, Averages, WritesInput, Hooked]
STATEFUL = [*EXPORTED, KeepsAttribute, KeepsCache, CountsInPython, WritesWeight, Draws, Norm]


def snapshot(*models: nn.Module) -> list[Any]:
    """Everything a model holds, by value and by identity, found by other means than convfold's own."""
    found: list[Any] = [torch.get_rng_state().tolist(), random.getstate()]
    for model in models:
        for m in model.modules():
            found.append([m.training, list(vars(m)), list(m._parameters), list(m._buffers), list(m._forward_hooks)])
            found += [_noted(value) for value in vars(m).values()]
            found += [_noted(t) for t in (*m._parameters.values(), *m._buffers.values())]
            found += [_noted(h.__closure__) for h in m._forward_hooks.values() if h.__closure__]
    return found


def _noted(x: Any) -> Any:
    if isinstance(x, Tensor):
        return id(x), x.data_ptr(), x.dtype, x.requires_grad, tuple(x.shape), x.detach().clone().tolist()
    if isinstance(x, dict):
        return [(key, _noted(value)) for key, value in x.items() if not isinstance(value, nn.Module)]
    if isinstance(x, list | tuple | set | deque):
        return [_noted(each) for each in x]
    if isinstance(x, Memory | SimpleNamespace):
        return _noted(vars(x))
    if isinstance(x, Counter):
        return [(name, _noted(getattr(x, name))) for name in Counter.__slots__ if hasattr(x, name)]
    if isinstance(x, torch.Generator):
        return x.get_state().tolist()
    if isinstance(x, random.Random):
        return x.getstate()
    return _noted(x.cell_contents) if type(x).__name__ == "cell" else repr(x)
