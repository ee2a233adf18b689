"""What a model costs as written, in multiply-adds, layers and parameters; counted without convfold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
COUNTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


@dataclass(frozen=True)
class Count:
    """Totals of one forward pass; ``layers`` are calls of convolutions and linears: ``macs`` is theirs."""

    macs: int
    layers: int
    batch_norms: int
    parameters: int

    def __str__(self) -> str:
        return (
            f"{self.macs / 1e6:.1f} M multiply-adds in {self.layers} convolutions and linears, "
            f"{self.batch_norms} batch norms, {self.parameters / 1e6:.2f} M parameters"
        )


@torch.no_grad()
def count(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> Count:
    """Count one forward pass.

    A convolution costs one weight slice per output value, ``y.numel() * weight[0].numel()``; a transposed one
    one slice per input value, ``x.numel() * weight[0].numel()``. Biases, norms, activations and attention
    products are free, as they mostly are in the papers.
    """
    macs: list[int] = []
    batch_norms: list[str] = []

    def on_layer(layer: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        signal = inputs[0] if isinstance(layer, _TRANSPOSED) else output
        macs.append(signal.numel() * layer.get_parameter("weight")[0].numel())

    def on_batch_norm(layer: nn.Module, *_: Any) -> None:
        batch_norms.append(type(layer).__name__)

    handles = [
        module.register_forward_hook(on_layer if isinstance(module, COUNTED) else on_batch_norm)
        for module in model.modules()
        if isinstance(module, COUNTED) or is_batch_norm(module)
    ]
    try:
        model(*args, **(kwargs or {}))
    finally:
        for handle in handles:
            handle.remove()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Count(sum(macs), len(macs), len(batch_norms), parameters)


def is_batch_norm(module: nn.Module) -> bool:
    """True for torch's batch norms and for the frozen ones detection models spell out in buffers."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm) or type(module).__name__.endswith("FrozenBatchNorm2d")
