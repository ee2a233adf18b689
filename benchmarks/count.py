"""What one forward pass costs, read off the calls that reach the kernels; convfold is not asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

#: In eval mode; the one in training mode is how weights are standardised.
_BATCH_NORMS = {aten._native_batch_norm_legit_no_training, aten._batch_norm_no_update}


class Count(TorchDispatchMode):
    """Multiply-adds of convolutions and linears, and calls by kind, by the rules of ``zoo.count``.

    A convolution costs one weight slice per output value, ``y.numel() · weight[0].numel()``, a transposed one per
    input value; a product with a constant matrix costs ``m·k·n``, whichever comes first: a linear multiplies from the
    right, a resize written as a product from the left. Biases, norms, activations and products of two signals, as in
    attention, are free.

    Constant is what shares memory with ``constants``, the weights, and what is computed from such tensors alone.
    """

    def __init__(self, constants: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = self.layers = self.batch_norms = self.calls = 0
        self._constants: dict[int, Tensor] = {}  # by address; held, so that no signal gets the same one
        self._hold(constants)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        self.calls += 1
        if packet is aten.convolution:
            x, weight, transposed = args[0], args[1], args[6]
            self._layer((x if transposed else y).numel() * weight[0].numel())
        elif packet in (aten.mm, aten.addmm, aten.bmm, aten.baddbmm):
            a, b = args[-2:]  # (…, m, k), (…, k, n)
            if self._is_constant(a) or self._is_constant(b):
                self._layer(a.numel() * b.shape[-1])
        elif packet in _BATCH_NORMS or (packet is aten.native_batch_norm and not args[5]):
            self.batch_norms += 1
        read = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if read and all(map(self._is_constant, read)):
            self._hold(t for t in pytree.tree_leaves(y) if isinstance(t, Tensor))
        return y

    def _is_constant(self, x: Tensor) -> bool:
        return x.untyped_storage().data_ptr() in self._constants

    def _hold(self, constants: Iterable[Tensor]) -> None:
        self._constants |= {t.untyped_storage().data_ptr(): t for t in constants if t.numel()}

    def _layer(self, macs: int) -> None:
        self.macs += macs
        self.layers += 1


@torch.no_grad()
def count(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> Count:
    """Run the model once and count."""
    with Count([*model.parameters(), *model.buffers()]) as counter:
        model(*args, **(kwargs or {}))
    return counter


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
