"""The plain networks the training forms equal, by the papers' formulas: what convfold is compared with."""

from __future__ import annotations

import copy
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .branches import Branches
from .fastvit import RepMixer
from .repvit import AveragedClassifiers, DepthwiseBlock
from .sesr import CollapsibleLinear


@torch.no_grad()
def merged_by_hand(model: nn.Module) -> nn.Module:
    """A copy with every block that has a rule here replaced by the one convolution or linear layer it equals."""
    merged = _merge(copy.deepcopy(model))
    for parent in list(merged.modules()):
        for name, child in parent.named_children():
            setattr(parent, name, _merge(child))
    return merged.train(model.training)


@singledispatch
def _merge(module: nn.Module) -> nn.Module:
    return module


@_merge.register
def _(block: Branches) -> nn.Conv2d:
    """Scale each kernel by its norm, centre it in the largest, add."""
    convs: list[Any] = [branch[0] for branch in block.branches if isinstance(branch, nn.Sequential)]
    largest = max(convs, key=lambda conv: conv.kernel_size)
    kernel = torch.zeros_like(largest.weight)  # (c_out, c_in // groups, k, k)
    bias = kernel.new_zeros(largest.out_channels)
    conv_kernel: Any
    for branch in block.branches:
        conv_kernel, norm = (
            (branch[0].weight, branch[1]) if isinstance(branch, nn.Sequential) else (_identity(largest), branch)
        )
        scale, shift = _scale_and_shift(norm)
        kernel += F.pad(conv_kernel * scale.view(-1, 1, 1, 1), [(kernel.shape[-1] - conv_kernel.shape[-1]) // 2] * 4)
        bias += shift
    return _convolution(largest, kernel, bias)


@_merge.register
def _(block: RepMixer) -> nn.Conv2d:
    """``I + λ (mixer − norm)`` at the centre tap, ``λ mixer`` at the others."""
    mixer: Any = _merge(block.mixer)
    scale, shift = _scale_and_shift(block.norm)
    kernel = mixer.weight * block.scale.lambda1.unsqueeze(-1)
    kernel[:, 0, 1, 1] += 1 - block.scale.lambda1.flatten() * scale
    return _convolution(mixer, kernel, (mixer.bias - shift) * block.scale.lambda1.flatten())


@_merge.register
def _(block: DepthwiseBlock) -> nn.Conv2d:
    """The outer norm's scale times ``norm of 3×3 + (1×1 + I)`` at the centre tap."""
    conv: Any = block.conv[0]
    assert block.scale.bias is not None
    (inner, inner_shift), (scale, shift) = _scale_and_shift(block.conv[1]), _scale_and_shift(block.norm)
    kernel = conv.weight * inner.view(-1, 1, 1, 1)
    kernel[:, :, 1, 1] += block.scale.weight[:, :, 0, 0] + 1
    bias = (inner_shift + block.scale.bias) * scale + shift
    return _convolution(conv, kernel * scale.view(-1, 1, 1, 1), bias)


@_merge.register
def _(block: AveragedClassifiers) -> nn.Linear:
    """Each norm's scale into the columns behind it, its shift through them; the mean of both."""
    weights, biases = [], []
    norm: Any
    linear: Any
    for norm, linear in (block.labels, block.teacher):
        scale, shift = _scale_and_shift(norm)
        weights.append(linear.weight * scale)
        biases.append(linear.bias + linear.weight @ shift)
    merged = nn.Linear(weights[0].shape[1], len(weights[0]))
    merged.weight, merged.bias = (nn.Parameter(torch.stack(both).mean(0)) for both in (weights, biases))
    return merged


@_merge.register
def _(block: CollapsibleLinear) -> nn.Conv2d:
    """``K[o, i] = Σ_m P[o, m] E[m, i]``, the bias likewise; the short residual adds a centred identity."""
    expand: Any = block.expand
    project: Any = block.project
    matrix = project.weight[:, :, 0, 0]  # (c_out, hidden)
    kernel = torch.einsum("om,mihw->oihw", matrix, expand.weight)
    if block.short:
        kernel = kernel + F.pad(_identity(expand), [kernel.shape[-1] // 2] * 4)
    return _convolution(expand, kernel, project.bias + matrix @ expand.bias)


def _scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """What a batch norm does to a channel: ``γ/√(σ² + ε)`` and ``β − μ γ/√(σ² + ε)``."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _identity(conv: nn.Conv2d) -> Tensor:
    """The 1×1 kernel that changes none of ``conv``'s input channels, (c_in, c_in // groups, 1, 1)."""
    kernel = conv.weight.new_empty(conv.in_channels, conv.in_channels // conv.groups, 1, 1)
    return nn.init.dirac_(kernel, conv.groups)


def _convolution(like: Any, kernel: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution with the geometry of ``like``."""
    conv = nn.Conv2d(like.in_channels, len(kernel), like.kernel_size, like.stride, like.padding, groups=like.groups)
    conv.weight, conv.bias = nn.Parameter(kernel), nn.Parameter(bias)
    return conv
