"""Running in one floating-point type what was written for another; float64 is the reference for everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class _Cast(TorchDispatchMode):
    """Every floating-point tensor and every type asked for becomes ``dtype``, call by call; no model is touched."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype = dtype

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default or not func._schema.is_mutable:
            args, kwargs = cast((args, kwargs or {}), self.dtype)
        return func(*args, **(kwargs or {}))


def cast(tree: Any, dtype: torch.dtype) -> Any:
    """Floating-point tensors, and floating-point types as such, as ``dtype``."""

    def one(x: Any) -> Any:
        if isinstance(x, Tensor):
            return x.to(dtype) if x.is_floating_point() else x
        return dtype if isinstance(x, torch.dtype) and x.is_floating_point else x

    return pytree.tree_map(one, tree)


@contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """Everything computed inside is computed in ``dtype``, whatever the types of weights and inputs."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with _Cast(dtype):
            yield
    finally:
        torch.set_default_dtype(before)


def run_in(dtype: torch.dtype, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The model's outputs computed in ``dtype``: weights and inputs swapped for cast copies, the model unchanged."""
    other: dict[str, Tensor] = {}
    copies: dict[int, Tensor] = {}
    # Every module once, whatever its paths: swapped under two of them, it would get the copies back as its own.
    for path, m in model.named_modules():
        for name, t in (m._parameters | m._buffers).items():
            if t is not None and t.is_floating_point() and t.dtype != dtype:
                copy = copies.setdefault(id(t), t.to(dtype))
                other[f"{path}.{name}" if path else name] = copy
    args, kwargs = cast((args, kwargs), dtype)
    with computing_in(dtype):
        return torch.func.functional_call(model, other, args, kwargs, tie_weights=False)
