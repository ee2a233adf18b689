"""A block that computes with composed weights: of the same class, on the same parameters, with the same checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from convfold.collapsed.body import Body
from convfold.collapsed.composing import Composing
from convfold.report import Report

#: Where such a block keeps how it computes.
_HOW = "collapsed"


@dataclass(frozen=True, eq=False)
class Form:
    """How a block computes in one mode: which of its tensors are read, and what is composed of which."""

    body: Body
    read: tuple[str, ...]  # the block's own that the body takes as they are
    composing: Composing
    fixed: dict[str, Tensor]  # those that say what is computed (an index, a mask), as they were when it was planned
    report: Report = field(repr=False)

    def holds(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Is it what the block computes of these?"""
        if self.body.check.mismatch(args, kwargs) is not None:
            return False
        now = _tensors(block, tuple(self.fixed))
        return all(torch.equal(t, u) for t, u in zip(now, self.fixed.values(), strict=True))

    def take(self, block: nn.Module) -> None:
        """Its own weights are these."""
        self.composing.own = tuple(map(id, _tensors(block, tuple(self.composing.tape.weights))))

    def __call__(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = dict(zip(self.read, _tensors(block, self.read), strict=True))
        if self.composing.tape.wanted:
            made = self.composing(_tensors(block, tuple(self.composing.tape.weights)))
            given.update(zip(self.composing.tape.wanted, made, strict=True))
        return self.body([given[name] for name in self.body.weights], args, kwargs)


@dataclass(eq=False)
class Collapsing:
    """Which form a block takes in which mode: whether each of its modules is in training mode, in order."""

    forms: dict[tuple[bool, ...], Form]

    def of(self, block: nn.Module) -> Form | None:
        return self.forms.get(modes(block))

    @property
    def reports(self) -> tuple[Report, ...]:
        """What was done, in each mode."""
        return tuple(form.report for form in self.forms.values())


class Collapsed:
    """What the class of a collapsed block has beside those of its own.

    Called in another way than it was collapsed for (of another size, with some of its modules in another mode, with
    another index or mask), or exported, it computes as the block does: right, and only slower.
    """

    collapsed: Collapsing

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        block: Any = self
        form = None if torch.compiler.is_exporting() else self.collapsed.of(block)
        if form is None or not form.holds(block, args, kwargs):
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        return form(block, args, kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        block: Any = self
        before = _device(block)
        super()._apply(fn, recurse)  # type: ignore[misc]
        after = _device(block)
        for form in self.collapsed.forms.values():
            form.take(block)  # buffers are other tensors now
            if before is not None and after is not None and before != after:
                form.body.follow(before, after)
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _blank, (type(self).__mro__[2],), self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        block: Any = self
        super().__setstate__(state)  # type: ignore[misc]
        for form in self.collapsed.forms.values():
            form.take(block)


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def collapsed(block: nn.Module, how: Collapsing) -> nn.Module:
    """Another module on the same parameters and modules, which computes as ``how`` says."""
    new = _blank(type(block))
    new.__dict__.update({name: _own(value) for name, value in block.__dict__.items()})
    new.__dict__[_HOW] = how
    for form in how.forms.values():
        form.take(new)
    return new


def _own(value: Any) -> Any:
    """Of modules, parameters, buffers and hooks another table of the same."""
    return value.copy() if isinstance(value, dict | set) else value


def _blank(cls: type[nn.Module]) -> nn.Module:
    if cls not in _CLASSES:
        _CLASSES[cls] = type(f"Collapsed{cls.__name__}", (Collapsed, cls), {"__module__": cls.__module__})
    made = _CLASSES[cls]
    return made.__new__(made)


def modes(block: nn.Module) -> tuple[bool, ...]:
    return tuple(m.training for m in block.modules())


def _device(block: nn.Module) -> torch.device | None:
    return next((t.device for t in (*block.parameters(), *block.buffers())), None)


def _tensors(block: nn.Module, paths: Sequence[str]) -> list[Tensor]:
    """The block's parameters and buffers as they are now: whoever gathers or replaces them does so in its modules."""
    found = []
    for path in paths:
        *owner, name = path.split(".")
        module = block
        for part in owner:
            module = module._modules[part]  # type: ignore[assignment]
        t = module._parameters.get(name)
        found.append(module._buffers[name] if t is None else t)
    return found  # type: ignore[return-value]
