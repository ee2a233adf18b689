"""Normalisations and activations."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from convfold.frontends.onnx.running.spelled import operator, unsupported

#: What is said by leaving it out; attributes are of 32 bits.
EPSILON = float(np.float32(1e-5))


@operator("BatchNormalization")
def BatchNormalization(
    version: int,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float | None = None,
    is_test: int | None = 1,
    spatial: int | None = 1,
    training_mode: int | None = 0,
    **_: Any,
) -> Tensor:
    if training_mode or spatial == 0 or (version < 7 and not is_test):
        raise unsupported("a BatchNormalization in training mode")
    scale, shift, mean, variance = (v.reshape(-1, *[1] * (x.dim() - 2)) for v in (scale, shift, mean, variance))
    return (x - mean) / torch.sqrt(variance + _number(epsilon, EPSILON)) * scale + shift


@operator("InstanceNormalization")
def InstanceNormalization(
    version: int, x: Tensor, scale: Tensor, shift: Tensor, *, epsilon: float | None = None, **_: Any
) -> Tensor:
    each = (-1, *[1] * (x.dim() - 2))
    y = _normalised(x, tuple(range(2, x.dim())), _number(epsilon, EPSILON))[0]
    return y * scale.reshape(each) + shift.reshape(each)


@operator("GroupNormalization")
def GroupNormalization(
    version: int,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    *,
    num_groups: int,
    epsilon: float | None = None,
    **_: Any,
) -> Tensor:
    each = (-1, *[1] * (x.dim() - 2))
    groups = x.unflatten(1, (num_groups, -1))
    y = _normalised(groups, tuple(range(2, groups.dim())), _number(epsilon, EPSILON))[0]
    if len(scale) != x.shape[1]:  # before opset 21, one of each group
        scale, shift = (v.repeat_interleave(x.shape[1] // num_groups) for v in (scale, shift))
    return y.flatten(1, 2) * scale.reshape(each) + shift.reshape(each)


@operator("LayerNormalization")
def LayerNormalization(
    version: int,
    x: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    *,
    axis: int | None = None,
    epsilon: float | None = None,
    outputs: int = 1,
    **_: Any,
) -> tuple[Tensor, ...]:
    axis = -1 if axis is None else axis
    y, mean, inverse = _normalised(x, tuple(range(axis % x.dim(), x.dim())), _number(epsilon, EPSILON))
    y = y * scale if shift is None else y * scale + shift
    return y, mean, inverse


def _normalised(x: Tensor, axes: tuple[int, ...], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    mean = x.mean(axes, keepdim=True)
    inverse = torch.rsqrt((x - mean).square().mean(axes, keepdim=True) + epsilon)
    return (x - mean) * inverse, mean, inverse


@operator("LRN")
def LRN(
    version: int,
    x: Tensor,
    *,
    size: int,
    alpha: float | None = None,
    beta: float | None = None,
    bias: float | None = None,
    **_: Any,
) -> Tensor:
    squares = F.pad(x.square().movedim(1, -1), ((size - 1) // 2, size // 2)).unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    return x / (_number(bias, 1.0) + _number(alpha, 1e-4) / size * squares) ** _number(beta, 0.75)


@operator("Softmax")
def Softmax(version: int, x: Tensor, *, axis: int | None = None, **_: Any) -> Tensor:
    rows, given = _rows(version, x, axis)
    return torch.softmax(rows, given).reshape(x.shape)


@operator("LogSoftmax")
def LogSoftmax(version: int, x: Tensor, *, axis: int | None = None, **_: Any) -> Tensor:
    rows, given = _rows(version, x, axis)
    return torch.log_softmax(rows, given).reshape(x.shape)


def _rows(version: int, x: Tensor, axis: int | None) -> tuple[Tensor, int]:
    """Before opset 13 all axes from this one on are one."""
    if version >= 13:
        return x, -1 if axis is None else axis
    axis = 1 if axis is None else axis % x.dim()
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:])), 1


@operator("Sigmoid")
def Sigmoid(version: int, x: Tensor, **_: Any) -> Tensor:
    return torch.sigmoid(x)


@operator("HardSigmoid")
def HardSigmoid(version: int, x: Tensor, *, alpha: float | None = None, beta: float | None = None, **_: Any) -> Tensor:
    return (x * _number(alpha, 0.2) + _number(beta, 0.5)).clamp(0, 1)


@operator("HardSwish")
def HardSwish(version: int, x: Tensor, **_: Any) -> Tensor:
    return x * (x / 6 + 0.5).clamp(0, 1)


@operator("Erf")
def Erf(version: int, x: Tensor, **_: Any) -> Tensor:
    return torch.erf(x)


@operator("Gelu")
def Gelu(version: int, x: Tensor, *, approximate: str | None = None, **_: Any) -> Tensor:
    return F.gelu(x, approximate=approximate or "none")


@operator("Mish")
def Mish(version: int, x: Tensor, **_: Any) -> Tensor:
    return F.mish(x)


@operator("LeakyRelu")
def LeakyRelu(version: int, x: Tensor, *, alpha: float | None = None, **_: Any) -> Tensor:
    return torch.where(x < 0, x * _number(alpha, 0.01), x)


@operator("LpNormalization")
def LpNormalization(version: int, x: Tensor, *, axis: int | None = None, p: int | None = None, **_: Any) -> Tensor:
    size = torch.linalg.vector_norm(x, p or 2, dim=-1 if axis is None else axis, keepdim=True)
    return torch.where(size == 0, 0.0, x / size)


def _number(given: float | None, otherwise: float) -> float:
    return otherwise if given is None else given
