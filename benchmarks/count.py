"""What one forward pass costs, read off the calls that reach the kernels; convfold is not asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

#: In eval mode; the one in training mode is how weights are standardised.
_BATCH_NORMS = {aten._native_batch_norm_legit_no_training, aten._batch_norm_no_update}


class Count(TorchDispatchMode):
    """Multiply-adds of convolutions and linears, and calls by kind, by the rules of ``zoo.count``.

    A convolution costs one weight slice per output value, ``y.numel() · weight[0].numel()``, a transposed one per
    input value; a linear, which becomes ``mm``, ``addmm``, or ``bmm`` with one weight for the whole batch, ``m·k·n``.
    Biases, norms, activations and the products of two signals in attention are free.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = self.layers = self.batch_norms = self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        self.calls += 1
        if packet is aten.convolution:
            x, weight, transposed = args[0], args[1], args[6]
            self._layer((x if transposed else y).numel() * weight[0].numel())
        elif packet in (aten.mm, aten.addmm) or (packet is aten.bmm and _one_for_all(args[1])):
            a, b = args[-2:]  # (…, m, k), (…, k, n)
            self._layer(a.numel() * b.shape[-1])
        elif packet in _BATCH_NORMS or (packet is aten.native_batch_norm and not args[5]):
            self.batch_norms += 1
        return y

    def _layer(self, macs: int) -> None:
        self.macs += macs
        self.layers += 1


def _one_for_all(b: Tensor) -> bool:
    """A matrix expanded to the batch, not one each."""
    return b.shape[0] > 1 and b.stride(0) == 0


@torch.no_grad()
def count(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> Count:
    """Run the model once and count."""
    with Count() as counter:
        model(*args, **(kwargs or {}))
    return counter


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
