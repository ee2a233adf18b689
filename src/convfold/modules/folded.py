"""A module that computes by its folded form: the same object, of its own class, its attributes and hooks kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from convfold.frontends.torch.guard import mismatch

#: What of a module is replaced.
_PARTS = ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set")
_BEFORE, _AS_MADE = "_before_folding", "_weights_as_folded"


class FoldedInPlace:
    """What the class of such a module has beside those of its own.

    Called in another way than it was folded for (with another flag, of another size) it computes as it did before, as
    long as its weights are those that were folded; from then on such a call is refused.
    """

    folded: nn.Module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        same = torch.compiler.is_compiling() or self.__dict__[_AS_MADE] == _weights(self)
        if same and mismatch(self.folded, args, kwargs) is not None:
            return self.__dict__[_BEFORE][0].forward(*args, **kwargs)
        return self.folded(*args, **kwargs)

    def train(self, mode: bool = True) -> Any:
        self.__dict__[_BEFORE][0].train(mode)
        return super().train(mode)  # type: ignore[misc]

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        same = self.__dict__[_AS_MADE] == _weights(self)
        self.__dict__[_BEFORE][0]._apply(fn, recurse)
        super()._apply(fn, recurse)  # type: ignore[misc]
        if same:
            self.__dict__[_AS_MADE] = _weights(self)
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        same = self.__dict__[_AS_MADE] == _weights(self)
        return _rebuilt, (type(self).__mro__[2],), {**self.__dict__, _AS_MADE: [] if same else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Another's weights are new tensors, and as folded where that one's were."""
        super().__setstate__(state)  # type: ignore[misc]
        if state[_AS_MADE] is not None:
            self.__dict__[_AS_MADE] = _weights(self)


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def _class_of(cls: type[nn.Module]) -> type[nn.Module]:
    if cls not in _CLASSES:
        _CLASSES[cls] = type(f"Folded{cls.__name__}", (FoldedInPlace, cls), {"__module__": cls.__module__})
    return _CLASSES[cls]


def _rebuilt(cls: type[nn.Module]) -> nn.Module:
    made = _class_of(cls)
    return made.__new__(made)


def _weights(module: Any) -> list[tuple[int, int]]:
    """Which they are, and how often each was written to."""
    return [(id(t), t._version) for t in (*module.parameters(), *module.buffers()) if not t.is_inference()]


def replace(module: nn.Module, folded: nn.Module) -> None:
    """Let it compute by ``folded``, which becomes the only module in it. Who holds the module needs no other."""
    before = type(module).__new__(type(module))
    before.__dict__.update(module.__dict__)
    module.__dict__.update({part: type(getattr(module, part))() for part in _PARTS})
    module.__class__ = _class_of(type(module))
    module.__dict__[_BEFORE] = (before,)  # in a tuple: it is none of its modules
    module.add_module("folded", folded)
    module.__dict__[_AS_MADE] = _weights(module)


def original(module: nn.Module) -> nn.Module:
    """What a module that was replaced was before."""
    (before,) = module.__dict__[_BEFORE]
    return before  # type: ignore[no-any-return]


def restore(module: nn.Module) -> None:
    """As it was before, if it was replaced."""
    if isinstance(module, FoldedInPlace):
        (before,) = module.__dict__.pop(_BEFORE)
        module.__dict__.pop(_AS_MADE)
        module.__class__ = type(before)
        module.__dict__.update({part: getattr(before, part) for part in _PARTS})
