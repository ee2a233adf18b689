"""Zeros where a constant says so: aten where, masked_fill; ONNX Where."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from convfold.errors import NotFoldable
from convfold.layers.arithmetic import affine, is_constant
from convfold.layers.examples import (
    Draw,
    Example,
    OnnxExample,
    constant,
    example,
    flag,
    onnx_example,
    opset,
    shape,
    weighs,
)
from convfold.layers.spelling import Call, Reading, Value, aten, onnx


@aten("where.self", "where.ScalarOther", "where.ScalarSelf")
def read_where(call: Call) -> Reading:
    return _chosen(call, call["condition"], call["self"], call["other"])


@aten("masked_fill.Scalar", "masked_fill.Tensor")
def read_masked(call: Call) -> Reading:
    return _chosen(call, call["mask"], call["value"], call["self"])


@onnx("Where")
def read_onnx_where(call: Call) -> Reading:
    return _chosen(call, call["condition"], call["X"], call["Y"])


def _chosen(call: Call, condition: Any, yes: Any, no: Any) -> Reading:
    """A signal where a constant condition says so, zeros elsewhere."""
    if not isinstance(condition, Value) or not condition.constant:
        raise NotFoldable("not-affine", "which numbers are taken is known at run time only")
    mask = condition.tensor()
    x, other = (no, yes) if is_constant(yes) else (yes, no)
    if not isinstance(x, Value) or is_constant(x) or not is_constant(other):
        raise NotFoldable("not-affine", "positions of two signals, or of none")
    if x.symbols != call.out.symbols:
        raise NotFoldable("not-affine", "broadcasting makes the signal larger")
    if bool(torch.as_tensor(other.tensor() if isinstance(other, Value) else other).any()):
        raise NotFoldable("not-affine", "numbers other than zero are written over positions")
    kept = mask if x is yes else ~mask
    return affine(call, x, kept.double(), None)


@example("where.self", "where.ScalarOther", "where.ScalarSelf")
def drawn_where(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    mask = _mask(draw, x)
    zero = not flag(draw)
    number: Any = 0 if zero else 1.5
    if spelling == "where.self":
        number = constant(torch.zeros(()) if zero else torch.ones(x.shape[-1:]))
    first = flag(draw) if spelling == "where.self" else spelling == "where.ScalarSelf"
    return Example((mask, number, x) if first else (mask, x, number), refused=_refusal(mask, x, zero))


@example("masked_fill.Scalar", "masked_fill.Tensor")
def drawn_masked(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    mask, zero = _mask(draw, x), not flag(draw)
    number = 0.0 if zero else -2.0
    value = number if spelling == "masked_fill.Scalar" else constant(torch.tensor(number))
    return Example((x, mask, value), refused=_refusal(mask, x, zero))


def _mask(draw: Draw, x: Tensor) -> Any:
    """Of some of the signal's axes, or of its last ones."""
    sizes = [n if flag(draw) else 1 for n in x.shape]
    return constant(draw.weight(*sizes[draw.integer(0, x.dim() - 1) :]).detach() > 0)


def _refusal(mask: Tensor, x: Tensor, zero: bool) -> str | None:
    return None if zero and (weighs(mask, x) or bool(mask.all())) else "not-affine"


@onnx_example("Where")
def drawn_onnx_where(draw: Draw, spelling: str) -> OnnxExample:
    x = draw.signal(*shape(draw))
    mask, zero = _mask(draw, x), not flag(draw)
    number = constant(torch.zeros(()) if zero else torch.ones(x.shape[-1:]))
    pair = (number, x) if flag(draw) else (x, number)
    return OnnxExample((mask, *pair), {}, _refusal(mask, x, zero), opset(draw, 9))
