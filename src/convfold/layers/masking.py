"""One or another where a constant says so: aten where, masked_fill, tril, triu; ONNX Where, Trilu."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from convfold.algebra.joins import Sum
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
from convfold.layers.spelling import Call, Held, Reading, Step, Value, aten, onnx


@aten("where.self", "where.ScalarOther", "where.ScalarSelf")
def read_where(call: Call) -> Reading:
    return _chosen(call, call["condition"], call["self"], call["other"])


@aten("masked_fill.Scalar", "masked_fill.Tensor")
def read_masked(call: Call) -> Reading:
    return _chosen(call, call["mask"], call["value"], call["self"])


@onnx("Where")
def read_onnx_where(call: Call) -> Reading:
    return _chosen(call, call["condition"], call["X"], call["Y"])


@aten("tril.default")
def read_lower(call: Call) -> Reading:
    return _triangle(call, call["self"], call["diagonal"], upper=False)


@aten("triu.default")
def read_upper(call: Call) -> Reading:
    return _triangle(call, call["self"], call["diagonal"], upper=True)


@onnx("Trilu")
def read_onnx_triangle(call: Call) -> Reading:
    k = call["k"]
    return _triangle(call, call["input"], 0 if k is None else int(k.tensor()), bool(call["upper"]))


def _triangle(call: Call, x: Value, diagonal: Any, upper: bool) -> Reading:
    """Zeros on one side of a diagonal of the last two axes."""
    if not x.is_fixed(x.dim - 1) or not x.is_fixed(x.dim - 2) or not isinstance(diagonal, int):
        raise NotFoldable("not-affine", "a triangle of axes of unknown length")
    ones = torch.ones(x.shape[-2:], dtype=torch.float64)
    return affine(call, x, ones.triu(diagonal) if upper else ones.tril(diagonal), None)


def _chosen(call: Call, condition: Any, yes: Any, no: Any) -> Reading:
    """One where a constant condition says so, the other elsewhere: condition · yes + (1 − condition) · no."""
    if not isinstance(condition, Value) or not condition.constant:
        raise NotFoldable("not-affine", "which numbers are taken is known at run time only")
    mask = condition.tensor()
    x, kept, other = (no, ~mask, yes) if is_constant(yes) else (yes, mask, no)
    if is_constant(x):
        raise NotFoldable("not-affine", "nothing but constants")
    if not is_constant(other):
        parts = (
            affine(call, x, kept.double(), None, own=False),
            affine(call, other, (~kept).double(), None, own=False),
        )
        return Step(Sum(), tuple(part for part in parts if isinstance(part, Value | Step)))
    number = other.tensor().double() if isinstance(other, Value) else torch.tensor(other, dtype=torch.float64)
    shift = number * ~kept
    if not bool(shift.any()):
        return affine(call, x, kept.double(), None)
    try:
        return affine(call, x, kept.double(), shift)
    except NotFoldable:  # it varies along more axes than one
        share = affine(call, x, kept.double(), None, own=False)
        assert isinstance(share, Value | Step)
        return Step(Sum(), (share, Step(Held(lambda: shift, call.out.signal), ())))


@example("where.self", "where.ScalarOther", "where.ScalarSelf")
def drawn_where(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    mask, other = _mask(draw, x), _other(draw, x) if spelling == "where.self" else draw.pick((0, 1.5))
    first = flag(draw) if spelling == "where.self" else spelling == "where.ScalarSelf"
    return Example((mask, other, x) if first else (mask, x, other), refused=_refusal(mask, x))


@example("masked_fill.Scalar", "masked_fill.Tensor")
def drawn_masked(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    mask, number = _mask(draw, x), draw.pick((0.0, -2.0))
    value = number if spelling == "masked_fill.Scalar" else constant(torch.tensor(number))
    return Example((x, mask, value), refused=_refusal(mask, x))


@example("tril.default", "triu.default")
def drawn_triangle(draw: Draw, spelling: str) -> Example:
    """Of a matrix every number has its own weight, unless it is one long."""
    x, diagonal = draw.signal(*shape(draw, 2)), draw.integer(-2, 2)
    mask = getattr(torch.ones(x.shape[-2:]), spelling.partition(".")[0])(diagonal) > 0
    return Example((x, diagonal), refused=_refusal(mask, x))


def _mask(draw: Draw, x: Tensor) -> Any:
    """Of some of the signal's axes, or of its last ones."""
    sizes = [n if flag(draw) else 1 for n in x.shape]
    return constant(draw.weight(*sizes[draw.integer(0, x.dim() - 1) :]).detach() > 0)


def _other(draw: Draw, x: Tensor) -> Tensor:
    """Zeros, numbers along one axis, another signal."""
    return draw.pick((constant(torch.zeros(())), constant(torch.ones(x.shape[-1:])), draw.signal(*x.shape)))


def _refusal(mask: Tensor, x: Tensor) -> str | None:
    """Axes along which a mask happens to be the same everywhere do not count."""
    for i in range(mask.dim()):
        one = mask.narrow(i, 0, 1)
        mask = one if bool((mask == one).all()) else mask
    return None if weighs(mask, x) or bool(mask.all()) or not bool(mask.any()) else "not-affine"


@onnx_example("Where")
def drawn_onnx_where(draw: Draw, spelling: str) -> OnnxExample:
    x = draw.signal(*shape(draw))
    mask, other = _mask(draw, x), _other(draw, x)
    pair = (other, x) if flag(draw) else (x, other)
    return OnnxExample((mask, *pair), {}, _refusal(mask, x), opset(draw, 9))


@onnx_example("Trilu")
def drawn_onnx_triangle(draw: Draw, spelling: str) -> OnnxExample:
    """The diagonal, where it is not the main one, is an input."""
    which = draw.pick(("tril", "triu"))
    example = drawn_triangle(draw, f"{which}.default")
    x, diagonal = example.args
    given = (x, constant(torch.tensor(diagonal))) if diagonal else (x,)
    return OnnxExample(given, {"upper": int(which == "triu")}, example.refused, opset(draw, 14))
