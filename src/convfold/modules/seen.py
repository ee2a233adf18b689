"""What every module of a model is called with, when the model is called once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from convfold.errors import InvalidInput
from convfold.frontends.torch.running.state import untouched


@dataclass(frozen=True, eq=False)
class Call:
    """Of one module: its arguments as they came."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def signature(self) -> object:
        """What calls that are exported alike have in common: all but how long the batch is."""
        leaves, spec = pytree.tree_flatten((self.args, self.kwargs))
        return str(spec), tuple(map(_described, leaves))


def seen(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[nn.Module, list[Call]], Any]:
    """By module, in order, and what the model gives; it is left as it was."""
    calls: dict[nn.Module, list[Call]] = defaultdict(list)

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls[module].append(Call(args, dict(kwargs)))

    hooks = [m.register_forward_pre_hook(note, with_kwargs=True) for m in model.modules()]
    try:
        with untouched(model), torch.no_grad():
            try:
                outputs = model(*args, **kwargs)
            except Exception as e:  # whatever the model's own code raises
                raise InvalidInput(f"the model cannot be called with these inputs: {type(e).__name__}: {e}") from e
            return dict(calls), outputs  # before all that the hooks reach is put back
    finally:
        for hook in hooks:
            hook.remove()


def _described(x: Any) -> object:
    return (tuple(x.shape[1:]), x.dtype, x.device) if isinstance(x, Tensor) else repr(x)
