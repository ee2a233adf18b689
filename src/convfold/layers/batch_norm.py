"""Batch norm in eval mode: nn.BatchNorm1d-3d; aten batch_norm and its native spellings; ONNX
BatchNormalization. One depthwise tap.

An instance norm that tracks statistics is the same in eval mode: aten instance_norm without ``use_input_stats``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import Scale
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    ModuleExample,
    OnnxExample,
    constant,
    dims_of,
    example,
    flag,
    module_example,
    onnx_example,
    opset,
    optional,
    space,
)
from convfold.layers.known import module
from convfold.layers.spelling import Call, Convolved, Step, aten, diagonal, onnx

_InstanceNorm = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_DIMS = {nn.BatchNorm2d: 2, nn.BatchNorm3d: 3, nn.InstanceNorm1d: 1, nn.InstanceNorm2d: 2, nn.InstanceNorm3d: 3}

TRAINING = "batch norm is in training mode; its statistics change with the batch. Call model.eval() first."


def batch_norm(mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Convolution:
    """y = (x − mean)/√(var + eps)·weight + bias, all (C,): scale = weight/√(var + eps), shift = bias − mean·scale."""
    scale = torch.rsqrt(var.double() + eps)
    if weight is not None:
        scale = scale * weight  # in float64 from here on
    shift = mean * scale
    return diagonal(scale, -shift if bias is None else bias - shift, len(scale))


@module(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, *_InstanceNorm)
def of_module(m: Any, channels: int | None = None, dims: int | None = None) -> Convolution:
    """In float64, to be composed: scale and shift are not the module's own numbers, but computed."""
    own = isinstance(m, _InstanceNorm) and not m.track_running_stats
    if m.running_mean is None or m.running_var is None or own:
        raise NotFoldable("training-mode", f"the {type(m).__name__} keeps no running statistics")
    if m.training:
        raise NotFoldable("training-mode", TRAINING)
    op = batch_norm(m.running_mean, m.running_var, m.weight, m.bias, m.eps)
    return op.lifted(next((n for kind, n in _DIMS.items() if isinstance(m, kind)), 0))


def read_kept(call: Call) -> Step:
    """With the statistics it has kept."""
    mean, var = call.tensor("running_mean"), call.tensor("running_var")
    if mean is None or var is None:
        raise NotFoldable("training-mode", "the batch norm keeps no running statistics")
    eps = call["epsilon"] if call["eps"] is None else call["eps"]  # cudnn spells it out
    op = batch_norm(mean, var, call.tensor("weight"), call.tensor("bias"), eps)
    return Step(Convolved(op, 1, Scale()), (call["input"],))


@onnx("BatchNormalization")
def read_onnx(call: Call) -> Step:
    """Opsets 1 to 6 say ``is_test``, from 7 on the number of outputs says it, from 14 on ``training_mode``.

    ``spatial=0``: statistics of every position by itself.
    """
    if call["training_mode"] or call["is_test"] == 0:
        raise NotFoldable("training-mode", TRAINING)
    if call["spatial"] == 0 and call["X"].dim > 2:
        raise NotFoldable("not-affine", "a batch norm of every position by itself")
    names = {name.removeprefix("input_"): name for name in call.arguments}
    weight, bias, mean, var = (call.tensor(names[n]) for n in ("scale", "B", "mean", "var"))
    assert mean is not None and var is not None
    return Step(Convolved(batch_norm(mean, var, weight, bias, call["epsilon"]), 1, Scale()), (call["X"],))


@aten("batch_norm.default")
def read(call: Call) -> Step:
    if call["training"]:
        raise NotFoldable("training-mode", TRAINING)
    return read_kept(call)


@aten("_native_batch_norm_legit_no_training.default", "_batch_norm_no_update.default")
def read_native(call: Call) -> list[Step | None]:
    return [read_kept(call)]


@aten("_native_batch_norm_legit.no_stats")
def read_batch_statistics(call: Call) -> list[Step | None]:
    return [read_kept(call)]


@aten("native_batch_norm.default", "_native_batch_norm_legit.default", "cudnn_batch_norm.default")
def read_either(call: Call) -> list[Step | None]:
    if call["training"]:
        raise NotFoldable("training-mode", TRAINING)
    return [read_kept(call)]


@example(
    "batch_norm.default",
    "_native_batch_norm_legit_no_training.default",
    "_batch_norm_no_update.default",
    "_native_batch_norm_legit.no_stats",
    "native_batch_norm.default",
    "_native_batch_norm_legit.default",
    "cudnn_batch_norm.default",
)
def drawn(draw: Draw, spelling: str) -> Example:
    c = draw.integer(1, 4)
    x = draw.signal(draw.integer(1, 2), c, *space(draw, draw.integer(0, 3)))
    weight = draw.weight(c) if spelling.startswith("cudnn") else optional(draw, c)
    training = spelling.endswith("no_stats") or (flag(draw) and x.numel() > c)
    mean, var = draw.weight(c), constant(draw.weight(c).abs() + 0.1)
    stats = () if spelling.endswith("no_stats") else (mean, var)
    says = "no_training" not in spelling and "no_update" not in spelling
    numbers = (0.1, draw.pick((1e-5, 0.3)))
    last = (False,) if spelling == "batch_norm.default" else ()
    args = (x, weight, optional(draw, c), *stats, *((training,) if says else ()), *numbers, *last)
    return Example(args, refused="training-mode" if training and says else None)


@module_example(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, *_InstanceNorm)
def drawn_module(draw: Draw, cls: Any) -> ModuleExample:
    c, dims = draw.integer(1, 4), draw.integer(0, 3) if cls is nn.SyncBatchNorm else dims_of(cls)
    dims -= int(cls is nn.BatchNorm1d and flag(draw))
    m = cls(c, eps=draw.pick((1e-5, 0.3)), affine=flag(draw), track_running_stats=flag(draw)).train(flag(draw))
    refused = "training-mode" if m.training or not m.track_running_stats else None
    least = int(refused is not None)  # of one position alone torch takes no statistics
    return ModuleExample(m, draw.signal(2, c, *(n + least for n in space(draw, dims))), refused)


@onnx_example("BatchNormalization")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """In training mode it returns its statistics too."""
    c, version = draw.integer(1, 4), opset(draw)
    x = draw.signal(draw.integer(1, 2), c, *space(draw, draw.integer(0, 3)))
    numbers = draw.weight(c), draw.weight(c), draw.weight(c), constant(draw.weight(c).abs() + 0.1)
    how: dict[str, Any] = {"epsilon": draw.pick((1e-5, 0.3))}
    if version < 9 and flag(draw):
        how["spatial"] = 1
    training = version >= 15 and draw.integer(0, 4) == 4
    if training:
        return OnnxExample((x, *numbers), {**how, "training_mode": 1}, "training-mode", version, outputs=3)
    return OnnxExample((x, *numbers), how, opset=version)
