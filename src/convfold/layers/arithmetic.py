"""Sums of signals; scale and shift by numbers or per-channel constants: aten add, sub, rsub, mul, div, neg, addcmul,
addcdiv, lerp; ONNX Add, Sub, Mul, Div, Neg, Sum, Mean."""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn

from convfold.algebra.joins import Sum
from convfold.algebra.numbers import has_numbers
from convfold.algebra.realisation import Scale, Shift
from convfold.algebra.spatial import Expand
from convfold.algebra.spatial.positions import Table, Weigh
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    OnnxExample,
    along,
    constant,
    example,
    fits,
    flag,
    held,
    onnx_example,
    opset,
    shape,
    weighs,
)
from convfold.layers.spelling import Call, Convolved, Held, Reading, Scaled, Step, Value, aten, diagonal, onnx, spatial


@aten("add.Tensor", "add.Scalar")
def add(call: Call) -> Reading:
    return _sum(call, call["self"], call["other"], 1.0, call["alpha"])


@aten("sub.Tensor", "sub.Scalar")
def sub(call: Call) -> Reading:
    return _sum(call, call["self"], call["other"], 1.0, -call["alpha"])


@aten("rsub.Tensor", "rsub.Scalar")
def rsub(call: Call) -> Reading:
    return _sum(call, call["other"], call["self"], 1.0, -call["alpha"])


@onnx("Add")
def add_onnx(call: Call) -> Reading:
    return _sum(call, call["A"], call["B"], 1.0, 1.0)


@onnx("Sub")
def sub_onnx(call: Call) -> Reading:
    return _sum(call, call["A"], call["B"], 1.0, -1.0)


@onnx("Sum", "Mean")
def sum_onnx(call: Call) -> Reading:
    """Of several signals of one shape, or of one and of constants."""
    terms = call["data_0"]
    share = 1.0 / len(terms) if call.kind == "Mean" else 1.0
    signals, constants = [t for t in terms if not t.constant], [t.tensor().double() for t in terms if t.constant]
    if len(signals) == 1:
        return affine(call, signals[0], share, share * reduce(torch.add, constants) if constants else None)
    if constants or any(t.symbols != call.out.symbols for t in signals):
        raise NotFoldable("not-affine", "summands of different shapes, or constant ones among several")
    return Step(Sum((1,) * len(signals)), tuple(_scaled(t, share) for t in signals))


@aten("neg.default")
def neg(call: Call) -> Reading:
    return Step(Scaled(-1.0), (call["self"],))


@onnx("Neg")
def neg_onnx(call: Call) -> Reading:
    return Step(Scaled(-1.0), (call["X"],))


@aten("mul.Tensor", "mul.Scalar")
def mul(call: Call) -> Reading:
    return _product(call, call["self"], call["other"])


@onnx("Mul")
def mul_onnx(call: Call) -> Reading:
    return _product(call, call["A"], call["B"])


def _product(call: Call, x: Any, c: Any) -> Reading:
    if is_constant(x):
        x, c = c, x
    if not is_constant(c):
        raise NotFoldable("not-affine", "a product of two signals")
    return affine(call, x, c, None)


@aten("div.Tensor", "div.Scalar")
def div(call: Call) -> Reading:
    return _quotient(call, call["self"], call["other"])


@onnx("Div")
def div_onnx(call: Call) -> Reading:
    return _quotient(call, call["A"], call["B"])


def _quotient(call: Call, x: Any, c: Any) -> Reading:
    if not is_constant(c):
        raise NotFoldable("not-affine", "a quotient of two signals")
    divisor = c.tensor().double() if isinstance(c, Value) else torch.tensor(c, dtype=torch.float64)
    return affine(call, x, 1.0 / divisor, None)


@aten("addcmul.default")
def addcmul(call: Call) -> Reading:
    """c + value·a·b with two of the three constant."""
    c, a, b, value = call["self"], call["tensor1"], call["tensor2"], call["value"]
    if is_constant(a):
        a, b = b, a
    if not is_constant(b) or is_constant(a) == is_constant(c):
        raise NotFoldable("not-affine", "a product of two signals, or a signal and its multiple")
    if is_constant(a):
        return affine(call, c, None, value * a.tensor().double() * b.tensor().double())
    return affine(call, a, value * b.tensor().double(), c)


@aten("addcdiv.default")
def addcdiv(call: Call) -> Reading:
    """c + value·a/b with b and one of the others constant."""
    c, a, b, value = call["self"], call["tensor1"], call["tensor2"], call["value"]
    if not is_constant(b) or is_constant(a) == is_constant(c):
        raise NotFoldable("not-affine", "a quotient of two signals, or a signal and its share")
    share = value / b.tensor().double()
    return affine(call, c, None, a.tensor().double() * share) if is_constant(a) else affine(call, a, share, c)


@aten("lerp.Scalar", "lerp.Tensor")
def lerp(call: Call) -> Reading:
    """(1 − weight)·start + weight·end with a constant weight, one number or one a position of one axis."""
    start, end, weight = call["self"], call["end"], call["weight"]
    if not is_constant(weight) or _varied(weight) is not None:
        raise NotFoldable("not-affine", "a weight that is computed from the input, or varies along several axes")
    weight = weight.tensor().double() if isinstance(weight, Value) else weight
    if is_constant(end):
        return affine(call, start, 1 - weight, weight * end.tensor().double())
    if is_constant(start):
        return affine(call, end, weight, (1 - weight) * start.tensor().double())
    parts = affine(call, start, 1 - weight, None, own=False), affine(call, end, weight, None, own=False)
    return Step(Sum(), tuple(part for part in parts if isinstance(part, Value | Step)))


def is_constant(c: Any) -> bool:
    return c.constant if isinstance(c, Value) else isinstance(c, int | float | Tensor)


def _sum(call: Call, a: Any, b: Any, scale_a: float, scale_b: float) -> Reading:
    """scale_a·a + scale_b·b: a sum of two signals, or a shift of one."""
    if is_constant(a):
        a, b, scale_a, scale_b = b, a, scale_b, scale_a
    if is_constant(a):
        raise NotFoldable("not-affine", "nothing but constants")
    if is_constant(b):
        if isinstance(a, Value) and isinstance(b, Value) and _varied(b) is not None and a.symbols == call.out.symbols:
            signs = tuple(1 if scale > 0 else -1 for scale in (scale_a, scale_b))
            held = Step(Held(lambda: abs(scale_b) * b.tensor().double(), b.signal), ()) if abs(scale_b) != 1 else b
            return Step(Sum(signs), (_scaled(a, abs(scale_a)), held))
        shift = scale_b * (b.tensor().double() if isinstance(b, Value) else b)
        return affine(call, a, None if scale_a == 1 else scale_a, shift)
    if not isinstance(a, Value) or not isinstance(b, Value):
        raise NotFoldable("not-affine", "a size or another number that is not constant")
    if call.out.symbols not in (a.symbols, b.symbols):
        raise NotFoldable("not-affine", "summands that make each other larger")
    signs = tuple(1 if scale > 0 else -1 for scale in (scale_a, scale_b))
    return Step(Sum(signs), (_grown_to(call, _scaled(a, abs(scale_a))), _grown_to(call, _scaled(b, abs(scale_b)))))


def _scaled(x: Value, factor: float) -> Value | Step:
    return x if factor == 1 else Step(Scaled(float(factor)), (x,), x.signal)


def _grown_to(call: Call, x: Value | Step) -> Value | Step:
    """A summand as large as the sum: what is one long on some axes is the same at every position."""
    value = x if isinstance(x, Value) else x.inputs[0]
    assert isinstance(value, Value)
    y = call.out
    if value.symbols == y.symbols:
        return x
    axes = [i for i, (n, m) in enumerate(zip(value.symbols, y.symbols, strict=False)) if n != m]
    if value.dim != y.dim or not all(map(y.is_fixed, axes)):
        raise NotFoldable("not-affine", "a summand with fewer axes, or one long where the sum's length is free")
    shape = tuple(y.shape[i] if i in axes else -1 for i in range(y.dim))
    grown = spatial(call, axes, partial(Expand, shape=shape, implied=True), x=value)
    return grown if x is value else replace(grown, inputs=(x,))


def affine(call: Call, x: Value, scale: Any, shift: Any, own: bool = True) -> Reading:
    """scale·x + shift with numbers or tensors that vary along one axis at most, or a scale along several.

    ``own``: is that all that the call computes?
    """
    if not isinstance(x, Value):
        raise NotFoldable("not-affine", "a size, or another number that is not constant")
    if x.symbols != call.out.symbols:
        raise NotFoldable("not-affine", "broadcasting makes the signal larger")
    if shift is None and (weights := _varied(scale)) is not None:
        return _weighed(call, x, weights, own)
    scale, axis_of_scale = one_along(scale, x)
    shift, axis_of_shift = one_along(shift, x)
    axes = {a for a in (axis_of_scale, axis_of_shift) if a is not None}
    if len(axes) == 2:
        raise NotFoldable("not-affine", "scale and shift vary along different axes")
    if not axes:
        factor, constant = _number(scale, 1.0), _number(shift, 0.0)
        learnt = isinstance(factor, Tensor) or isinstance(constant, Tensor)
        return x if not learnt and (factor, constant) == (1.0, 0.0) else Step(Scaled(factor, constant), (x,))
    axis = axes.pop()
    how = Shift() if scale is None else Scale()
    return Step(Convolved(diagonal(scale, shift, x.shape[axis]), axis, how), (x,))


def _weighed(call: Call, x: Value, weights: Tensor, own: bool) -> Step:
    """The product of a signal and a constant that varies along several of its axes."""
    weights = weights.reshape(*(1,) * (x.dim - weights.dim()), *weights.shape)
    axes = [i for i, n in enumerate(weights.shape) if n != 1]
    if len(axes) == x.dim:
        raise NotFoldable("not-affine", "the constant differs from position to position, along every axis")
    kind = partial(Weigh, weights=Table(weights), argument=call.place(x) if own else None)
    return spatial(call, axes, kind, x=x)


def _varied(c: Any) -> Tensor | None:
    """A constant that varies along more axes than one; None of another."""
    if c is None or isinstance(c, int | float):
        return None
    t = _unexpanded(c.tensor() if isinstance(c, Value) else c)
    return t if sum(n != 1 for n in t.shape) > 1 else None


def _number(t: Tensor | None, default: float) -> float | Tensor:
    """A plain number, but where a gradient is to reach what it was computed from."""
    return default if t is None else t if t.requires_grad else float(t)


def one_along(c: Any, x: Value) -> tuple[Tensor | None, int | None]:
    """A constant as a vector and the axis of x it varies along; no axis for a plain number."""
    if c is None:
        return None, None
    t = c.tensor() if isinstance(c, Value) else torch.as_tensor(c, dtype=torch.float64)
    t = _unexpanded(t)
    axes = [i for i, n in enumerate(t.shape) if n != 1]
    if not axes:
        return t.double().reshape(()), None
    if len(axes) > 1:
        raise NotFoldable("not-affine", "the constant differs from position to position")
    return t.double().reshape(-1), x.dim - t.dim() + axes[0]


#: Constants of more numbers are taken to differ along the axes they have.
_LOOKED_AT = 1 << 20


def _unexpanded(t: Tensor) -> Tensor:
    """One position of axes along which a constant is the same everywhere, where it has more than one: it has been
    expanded to the signal."""
    for i, n in enumerate(t.shape):
        if sum(m != 1 for m in t.shape) < 2:
            return t
        one = t.narrow(i, 0, 1) if n else t
        looked = has_numbers(t) and not t.requires_grad and t.numel() <= _LOOKED_AT
        if n > 1 and (t.stride(i) == 0 or (looked and bool((t == one).all()))):
            t = one
    return t


@example("add.Tensor", "sub.Tensor", "rsub.Tensor", "add.Scalar", "sub.Scalar", "rsub.Scalar")
def drawn_sum(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    alpha = draw.pick((1, 2, -3, 0.5, 0))
    if spelling.endswith("Scalar"):
        return Example((x, draw.pick((0, 3, -1.5)), alpha))
    other: Any = draw.pick(
        (x, draw.signal(*x.shape), along(draw, x.shape), draw.weight(*x.shape), -1.5, _grown(draw, x))
    )
    pair = (other, x) if isinstance(other, Tensor) and flag(draw) else (x, other)
    whole = torch.broadcast_shapes(other.shape, x.shape) if isinstance(other, Tensor) else x.shape
    alike = isinstance(other, Tensor) and other.dim() == x.dim() and whole in (other.shape, x.shape)
    affine = fits(other, x) if held(other) else alike
    gone = alpha == 0 and pair[0 if spelling.startswith("rsub") else 1] is other and held(other)
    grown = isinstance(other, Tensor) and torch.broadcast_shapes(other.shape, x.shape) != x.shape
    return Example(pair, {"alpha": alpha}, None if affine or (gone and not grown) else "not-affine")


@example("mul.Tensor", "div.Tensor", "mul.Scalar", "div.Scalar")
def drawn_product(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    number = draw.pick((1, 3, -1.5))
    if spelling.endswith("Scalar"):
        return Example((x, number))
    other: Any = draw.pick(
        (along(draw, x.shape), draw.weight(*x.shape), number, draw.signal(*x.shape), _grown(draw, x))
    )
    pair = (other, x) if isinstance(other, Tensor) and flag(draw) else (x, other)
    affine = held(other) and weighs(other, x) and (pair[0] is x or spelling.startswith("mul"))
    return Example(pair, refused=None if affine else "not-affine")


def _grown(draw: Draw, x: Tensor) -> Tensor:
    """What makes the result larger than the signal, where that is one long on some axis, or has fewer of them."""
    sizes = [draw.integer(1, 3) if n == 1 else n for n in x.shape]
    return draw.pick((draw.weight(*sizes), draw.signal(*sizes), draw.weight(2, *(1,) * x.dim())))


@example("neg.default")
def drawn_neg(draw: Draw, spelling: str) -> Example:
    return Example((draw.signal(*shape(draw)),))


@example("addcmul.default")
def drawn_addcmul(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    i, j = draw.integer(0, 2), draw.integer(1, 2)
    terms: list[Tensor] = [along(draw, x.shape) for _ in range(3)]
    terms[i] = x
    both = flag(draw)  # a second signal
    terms[(i + j) % 3] = draw.signal(*x.shape) if both else terms[(i + j) % 3]
    axes = {k - t.dim() for t in terms if t is not x for k, n in enumerate(t.shape) if n != 1}
    refused = "not-affine" if both or len(axes) > 1 else None
    return Example(tuple(terms), {"value": draw.pick((1, -2, 0.5))}, refused)


@example("addcdiv.default")
def drawn_addcdiv(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    first, divisor = flag(draw), constant(along(draw, x.shape).detach().abs() + 0.5)
    other = draw.signal(*x.shape) if flag(draw) else along(draw, x.shape)
    terms = (x, other) if first else (other, x)
    axes = {k - t.dim() for t in (other, divisor) for k, n in enumerate(t.shape) if n != 1}
    refused = None if held(other) and len(axes) < 2 else "not-affine"
    return Example((*terms, divisor), {"value": draw.pick((1, -2, 0.5))}, refused)


@example("lerp.Scalar", "lerp.Tensor")
def drawn_lerp(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    weight: Any = along(draw, x.shape) if spelling.endswith("Tensor") else draw.pick((0.25, 0, 1, -1.5))
    other = draw.pick((draw.signal(*x.shape), x, along(draw, x.shape)))
    pair = (other, x) if flag(draw) else (x, other)
    parts = [t for t in (weight, other) if isinstance(t, nn.Parameter)]
    axes = {k - t.dim() for t in parts for k, n in enumerate(t.shape) if n != 1}
    refused = "not-affine" if held(other) and len(axes) > 1 else None
    return Example((*pair, weight), refused=refused)


@onnx_example("Add", "Sub", "Mul", "Div")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """Of two signals, or of a signal and a constant that varies along one axis, or along several, on either side."""
    x = draw.signal(*shape(draw))
    other = draw.pick((x, draw.signal(*x.shape), along(draw, x.shape), draw.weight(*x.shape), _grown(draw, x)))
    pair = (other, x) if flag(draw) else (x, other)
    if spelling in ("Add", "Sub"):
        whole = torch.broadcast_shapes(other.shape, x.shape)
        affine = fits(other, x) if held(other) else other.dim() == x.dim() and whole in (other.shape, x.shape)
    else:
        affine = held(other) and weighs(other, x) and (pair[0] is x or spelling == "Mul")
    return OnnxExample(pair, {}, None if affine else "not-affine", opset(draw))


@onnx_example("Sum", "Mean")
def drawn_onnx_sum(draw: Draw, spelling: str) -> OnnxExample:
    """Of one signal or more; one beside constants."""
    x, version = draw.signal(*shape(draw)), opset(draw, 8)
    c, y = along(draw, x.shape), draw.signal(*x.shape)
    other = draw.pick(((), (y,), (x, y), (c,), (c, draw.weight(1), c)))
    return OnnxExample((x, *other), opset=version)


@onnx_example("Neg")
def drawn_onnx_neg(draw: Draw, spelling: str) -> OnnxExample:
    return OnnxExample((draw.signal(*shape(draw)),), opset=opset(draw))
