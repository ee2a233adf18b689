"""The shapes a folded module was made for: fixed sizes entered the exactness proof, so they are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from convfold.errors import InvalidInput


@dataclass(frozen=True)
class InputCheck:
    """A forward pre-hook: every tensor input has the sizes it was exported with, None where free.

    Inputs that are not tensors (flags, numbers) were compiled in: they must be what they were.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...] | None, ...]
    values: tuple[Any, ...]
    parameters: tuple[str, ...]  # of `forward`, in order

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if len(kwargs) > 1:
            kwargs = {name: kwargs[name] for name in self.parameters if name in kwargs}
        leaves = pytree.tree_leaves((args, kwargs))
        if len(leaves) != len(self.shapes):
            raise InvalidInput(f"expected {len(self.shapes)} inputs, got {len(leaves)}")
        for name, shape, value, x in zip(self.names, self.shapes, self.values, leaves, strict=True):
            if shape is None or not isinstance(x, Tensor):
                if shape is not None or type(x) is not type(value) or x != value:
                    wanted = "a tensor" if shape is not None else f"{value!r}, which was compiled in"
                    raise InvalidInput(f"input {name!r}: expected {wanted}, got {x!r}")
                continue
            if x.dim() != len(shape) or any(n is not None and n != m for n, m in zip(shape, x.shape, strict=True)):
                wanted = ", ".join("any" if n is None else str(n) for n in shape)
                raise InvalidInput(
                    f"input {name!r}: expected shape ({wanted}), got {tuple(x.shape)}; "
                    "fold with dynamic_shapes to leave a size free"
                )
