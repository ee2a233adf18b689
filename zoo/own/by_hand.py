"""The plain networks the training forms equal, by the papers' formulas: what convfold is compared with."""

from __future__ import annotations

import copy
from functools import singledispatch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .branches import Branches
from .sesr import CollapsibleLinear


@torch.no_grad()
def merged_by_hand(model: nn.Module) -> nn.Module:
    """A copy with every `Branches` and `CollapsibleLinear` replaced by the one convolution it equals."""
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
    convs = [branch[0] for branch in block.branches if isinstance(branch, nn.Sequential)]
    largest = max(convs, key=lambda conv: conv.kernel_size)
    kernel = torch.zeros_like(largest.weight)  # (c_out, c_in // groups, k, k)
    bias = kernel.new_zeros(largest.out_channels)
    for branch in block.branches:
        conv_kernel, norm = (
            (branch[0].weight, branch[1]) if isinstance(branch, nn.Sequential) else (_identity(largest), branch)
        )
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # γ/√(σ² + ε)
        kernel += F.pad(conv_kernel * scale.view(-1, 1, 1, 1), [(kernel.shape[-1] - conv_kernel.shape[-1]) // 2] * 4)
        bias += norm.bias - norm.running_mean * scale
    return _convolution(largest, kernel, bias)


@_merge.register
def _(block: CollapsibleLinear) -> nn.Conv2d:
    """``K[o, i] = Σ_m P[o, m] E[m, i]``, the bias likewise; the short residual adds a centred identity."""
    expand, project = block.expand, block.project
    matrix = project.weight[:, :, 0, 0]  # (c_out, hidden)
    kernel = torch.einsum("om,mihw->oihw", matrix, expand.weight)
    if block.short:
        kernel = kernel + F.pad(_identity(expand), [kernel.shape[-1] // 2] * 4)
    return _convolution(expand, kernel, project.bias + matrix @ expand.bias)


def _identity(conv: nn.Conv2d) -> Tensor:
    """The 1×1 kernel that changes none of ``conv``'s input channels, (c_in, c_in // groups, 1, 1)."""
    kernel = conv.weight.new_empty(conv.in_channels, conv.in_channels // conv.groups, 1, 1)
    return nn.init.dirac_(kernel, conv.groups)


def _convolution(like: nn.Conv2d, kernel: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution with the geometry of ``like``."""
    conv = nn.Conv2d(like.in_channels, len(kernel), like.kernel_size, like.stride, like.padding, groups=like.groups)
    conv.weight, conv.bias = nn.Parameter(kernel), nn.Parameter(bias)
    return conv
