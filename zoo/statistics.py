"""Weights a test can trust: random where initialisers put zeros and ones, every signal's spread near one.

A freshly built network has batch norms and affine blocks that do nothing and layer scales near zero; a fold
that got any of them wrong would still agree with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .count import COUNTED

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
#: What `transformers` writes itself is known by the end of its class name, or by its parameter's name.
_NORM_NAMES = ("FrozenBatchNorm2d", "LayerNorm")
_AFFINE_NAMES = ("LearnableAffineBlock",)
_SCALE_NAMES = ("layer_scale_parameter", "lambda1")
_BIAS_NAMES = ("attention_biases", "relative_position_bias_table")


@torch.no_grad()
def randomise(model: nn.Module, seed: int) -> nn.Module:
    """Draw every weight, bias and statistic anew, in place, the same for the same seed; returns the model.

    ======================================  ===========================================================
    batch norm, also frozen in buffers       mean ~ N(0, 0.3), variance ~ U(0.5, 2)
    any norm or learnable affine block       weight ~ U(0.5, 1.5), bias ~ N(0, 0.3)
    layer scale; attention bias; PReLU       U(0.5, 1.5); N(0, 0.3); U(0.05, 0.4)
    convolution, linear                      weight ~ N(0, 1/√fan-in), bias ~ N(0, 0.1)
    ======================================  ===========================================================
    """
    draw = _Draw(seed)
    for module in model.modules():
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            _redraw(draw, module, name, value)
    return model


def _redraw(draw: _Draw, module: nn.Module, name: str, value: Tensor) -> None:
    kind = type(module).__name__
    affine = isinstance(module, _NORMS) or kind.endswith(_NORM_NAMES) or kind.endswith(_AFFINE_NAMES)
    if name == "running_var":
        draw.uniform(value, 0.5, 2.0)
    elif name == "running_mean":
        draw.normal(value, 0.3)
    elif affine and name in ("weight", "scale"):
        draw.uniform(value, 0.5, 1.5)
    elif (affine and name == "bias") or name in _BIAS_NAMES:
        draw.normal(value, 0.3)
    elif name in _SCALE_NAMES:
        draw.uniform(value, 0.5, 1.5)
    elif isinstance(module, nn.PReLU):
        draw.uniform(value, 0.05, 0.4)
    elif isinstance(module, COUNTED) and name == "weight":
        draw.normal(value, value[0].numel() ** -0.5)
    elif isinstance(module, COUNTED) and name == "bias":
        draw.normal(value, 0.1)


class _Draw:
    """Fills tensors in place from one seeded stream, whatever their device and dtype."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, value: Tensor, std: float) -> None:
        value.copy_(torch.randn(value.shape, generator=self._generator) * std)

    def uniform(self, value: Tensor, low: float, high: float) -> None:
        value.copy_(torch.rand(value.shape, generator=self._generator) * (high - low) + low)


@torch.no_grad()
def calibrate(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> nn.Module:
    """Divide every convolution and linear by the spread of its output, in place, in the order they run.

    One forward pass: each layer's input comes from layers already scaled, so sums of branches and residuals
    grow by additions only. Constant outputs are left alone. After the LSUV of arXiv 1511.06422.
    """
    seen: set[nn.Module] = set()

    def rescale(layer: nn.Module, _: tuple[Any, ...], output: Tensor) -> Tensor:
        spread = output.std() if output.numel() > 1 else output.new_zeros(())
        if layer in seen or spread < 1e-6:
            return output
        seen.add(layer)
        for parameter in layer.parameters():
            parameter.div_(spread)
        return output / spread

    layers = [module for module in model.modules() if isinstance(module, COUNTED)]
    handles = [layer.register_forward_hook(rescale) for layer in layers]
    try:
        model(*args, **(kwargs or {}))
    finally:
        for handle in handles:
            handle.remove()
    return model
