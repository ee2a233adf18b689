"""Linear: nn.Linear; aten linear, addmm, mm, matmul, einsum, tensordot with a constant; ONNX Gemm, MatMul, Einsum.

No space axis, channels anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from string import ascii_letters
from typing import Any

from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.layout import Layout
from convfold.algebra.realisation import Product
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    ModuleExample,
    OnnxExample,
    each,
    example,
    flag,
    module_example,
    onnx_example,
    opset,
    optional,
    shape,
)
from convfold.layers.known import module
from convfold.layers.spelling import Call, Convolved, Reading, Step, Value, aten, nonzero, onnx


@module(nn.Linear)
def of_module(m: nn.Linear, channels: int | None = None, dims: int | None = None) -> Convolution:
    """weight (c_out, c_in) is already the normal form's kernel."""
    return Convolution(m.weight, m.bias)


@aten("linear.default")
def read(call: Call) -> Step:
    weight = call.tensor("weight")
    assert weight is not None
    if weight.dim() != 2:
        raise NotFoldable("not-affine", "a linear layer with a vector for weight")
    return Step(
        Convolved(Convolution(weight, nonzero(call.tensor("bias"))), call["input"].dim - 1, Product()), (call["input"],)
    )


@aten("addmm.default")
def read_addmm(call: Call) -> Step:
    weight, bias = call.tensor("mat2"), call.tensor("self")
    assert weight is not None and bias is not None
    if bias.dim() > 1 and bias.shape[0] != 1:
        raise NotFoldable("not-affine", "the added matrix differs from row to row")
    bias = bias.reshape(-1).expand(weight.shape[1])
    op = Convolution(weight.t() * call["alpha"], nonzero(bias * call["beta"]))
    return Step(Convolved(op, 1, Product()), (call["mat1"],))


@onnx("Gemm")
def read_gemm(call: Call) -> Step:
    """α·A·B + β·C, either of the two turned; C may be one number, one a column, or a row of them."""
    x, weight, bias = call["A"], call.tensor("B"), call.tensor("C")
    assert weight is not None
    kernel = weight if call["transB"] else weight.t()
    if bias is not None:
        if bias.dim() > 1 and bias.shape[-2] != 1:
            raise NotFoldable("not-affine", "the added matrix differs from row to row")
        bias = bias.reshape(-1).double().expand(len(kernel)) * call["beta"]
    op = Convolution(kernel.double() * call["alpha"] if call["alpha"] != 1 else kernel, nonzero(bias))
    if not call["transA"]:
        return Step(Convolved(op, 1, Product()), (x,))
    (m, n), free = x.shape, frozenset(1 - i for i in x.signal.free)
    turned = Step(Layout.permute((1, 0)), (x,), replace(x.signal, shape=(n, m), free=free))
    return Step(Convolved(op, 1, Product()), (turned,))


@onnx("MatMul")
def read_onnx(call: Call) -> Step:
    return _product(call["A"], call["B"])


@onnx("Einsum")
def read_onnx_einsum(call: Call) -> Reading:
    return _contracted(call["equation"], call["Inputs"])


@aten("mm.default", "matmul.default")
def read_matmul(call: Call) -> Step:
    return _product(call["self"], call["mat2"] if call["mat2"] is not None else call["other"])


def _product(x: Value, w: Value) -> Step:
    """x @ W works on the last axis, W @ x on the one before it."""
    if w.constant and w.dim == 2 and not x.constant:
        return Step(Convolved(Convolution(w.tensor().t()), x.dim - 1, Product()), (x,))
    if x.constant and x.dim == 2 and w.dim >= 2 and not w.constant:
        return Step(Convolved(Convolution(x.tensor()), w.dim - 2, Product()), (w,))
    raise NotFoldable("not-affine", "a product of two signals")


@aten("einsum.default")
def read_einsum(call: Call) -> Reading:
    return _contracted(call["equation"], call["tensors"])


@aten("tensordot.default")
def read_tensordot(call: Call) -> Reading:
    """An einsum of the axes that are named, the others in order."""
    a, b = call["self"], call["other"]
    letters = ascii_letters[: a.dim + b.dim]
    first, second = list(letters[: a.dim]), list(letters[a.dim :])
    pairs = [(i % a.dim, j % b.dim) for i, j in zip(call["dims_self"], call["dims_other"], strict=True)]
    for i, j in pairs:
        second[j] = first[i]
    out = [c for c in first if c not in second] + [c for c in second if c not in first]
    return _contracted(f"{''.join(first)},{''.join(second)}->{''.join(out)}", [a, b])


def _contracted(equation: str, tensors: Sequence[Value]) -> Reading:
    """``oc,b…c…→b…o…``: a constant matrix contracts one axis of the signal; then the axes are permuted."""
    equation = equation.replace(" ", "")
    terms, _, out = equation.partition("->")
    constant = [(t, v) for t, v in zip(terms.split(","), tensors, strict=True) if v.constant]
    signals = [(t, v) for t, v in zip(terms.split(","), tensors, strict=True) if not v.constant]
    if len(constant) != 1 or len(signals) != 1 or "->" not in equation or "." in equation:
        raise NotFoldable("not-affine", "not the product of a signal and a constant matrix")
    (matrix, weight), (axes, x) = constant[0], signals[0]
    contracted = [c for c in matrix if c in axes]
    free = [c for c in matrix if c not in axes]
    if len(matrix) != 2 or len(contracted) != 1 or len(free) != 1 or contracted[0] in out:
        raise NotFoldable("not-affine", "not one axis contracted with a matrix")
    (c,), (o,) = contracted, free
    mapped = axes.replace(c, o)
    if len(set(axes)) != len(axes) or sorted(mapped) != sorted(out):
        raise NotFoldable("not-affine", "axes summed over or taken along a diagonal")
    if not x.is_fixed(axes.index(c)) or x.shape[axes.index(c)] != weight.shape[matrix.index(c)]:
        raise NotFoldable("not-affine", "a matrix of one column, which torch repeats for as many channels as there are")
    kernel = weight.tensor() if matrix == o + c else weight.tensor().t()
    step = Step(Convolved(Convolution(kernel), axes.index(c), Product()), (x,))
    order = [mapped.index(a) for a in out]
    return step if order == sorted(order) else Step(Layout.permute(order), (step,))


@example("linear.default")
def drawn(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    c, out = x.shape[-1], draw.integer(1, 4)
    if x.dim() > 1 and draw.integer(0, 4) == 4:
        return Example((x, draw.weight(c)), refused="not-affine")
    return Example((x, draw.weight(out, c), optional(draw, out)))


@example("addmm.default")
def drawn_addmm(draw: Draw, spelling: str) -> Example:
    n, c, out = each(draw, 3, 1, 4)
    bias = draw.weight(*draw.pick(((out,), (1, out), (1,), (1, 1), (), (n, out), (n, 1))))
    refused = "not-affine" if bias.dim() > 1 and len(bias) > 1 else None
    numbers = {"beta": draw.pick((1, 0.5, -2, 0)), "alpha": draw.pick((1, 2, -0.5))}
    return Example((bias, draw.signal(n, c), draw.weight(c, out)), numbers, refused)


@example("mm.default", "matmul.default")
def drawn_matmul(draw: Draw, spelling: str) -> Example:
    c, out = draw.integer(1, 4), draw.integer(1, 4)
    rest = () if spelling.startswith("mm") else shape(draw, 0, 2)
    n = draw.integer(1, 4)
    vector = not spelling.startswith("mm") and draw.integer(0, 3) == 3
    pairs = [
        ((draw.signal(*rest, n, c), draw.weight(c, out)), None),
        ((draw.weight(out, c), draw.signal(*rest, c, n)), None),
        ((draw.signal(*rest, n, c), draw.signal(c, out)), "not-affine"),
    ]
    if vector:
        pairs = [
            ((draw.signal(c), draw.weight(c, out)), None),
            ((draw.weight(out, c), draw.signal(c)), "not-affine"),
            ((draw.signal(*rest, n, c), draw.weight(c)), "not-affine"),
            ((draw.signal(*rest, n, c), draw.weight(2, c, out)), "not-affine"),
        ]
    args, refused = draw.pick(pairs)
    return Example(args, refused=refused)


@example("einsum.default")
def drawn_einsum(draw: Draw, spelling: str) -> Example:
    """A matrix ``oc`` or ``co``, before or behind a signal whose axes come out in any order; or one to be repeated."""
    axes = "cbhw"[: draw.integer(1, 4)]
    size = dict(zip("ocbhw", each(draw, 5, 1, 4), strict=True))
    matrix, rest = draw.pick(("oc", "co")), list(axes)
    signal = "".join(rest.pop(draw.integer(0, len(rest) - 1)) for _ in axes)
    rest = list(signal.replace("c", "o"))
    out = "".join(rest.pop(draw.integer(0, len(rest) - 1)) for _ in axes)
    summed = len(out) > 1 and draw.integer(0, 3) == 3
    out = out[1:] if summed else out
    x, one = draw.signal(*(size[a] for a in signal)), draw.integer(0, 3) == 3
    repeated = one and size["c"] > 1
    size["c"] = 1 if one else size["c"]
    terms = [(matrix, draw.weight(*(size[a] for a in matrix))), (signal, x)]
    terms = terms[::-1] if flag(draw) else terms
    equation = f"{terms[0][0]}, {terms[1][0]}{draw.pick(('->', ' -> '))}{out}"
    return Example((equation, [t for _, t in terms]), refused="not-affine" if summed or repeated else None)


@example("tensordot.default")
def drawn_tensordot(draw: Draw, spelling: str) -> Example:
    """Over one axis, counted from either end, or over two."""
    x, out = draw.signal(*shape(draw, 2, 4)), draw.integer(1, 4)
    at = draw.integer(0, x.dim() - 1)
    if draw.integer(0, 4) == 4:
        weight, dims = draw.weight(*x.shape[:2], out), ([0, 1], [0, 1])
        return Example((x, weight, *dims), refused="not-affine")
    weight, side = draw.pick(((draw.weight(out, x.shape[at]), 1), (draw.weight(x.shape[at], out), -2)))
    axis = draw.pick((at, at - x.dim()))
    args = (weight, x, [side], [axis]) if flag(draw) else (x, weight, [axis], [side])
    return Example(args)


@module_example(nn.Linear)
def drawn_module(draw: Draw, cls: type[nn.Linear]) -> ModuleExample:
    c = draw.integer(1, 4)
    return ModuleExample(cls(c, draw.integer(1, 4), bias=flag(draw)), draw.signal(draw.integer(1, 2), c))


@onnx_example("Gemm")
def drawn_gemm(draw: Draw, spelling: str) -> OnnxExample:
    """What is added may be one number, one a column, a row of them, or another row for each, which is refused."""
    n, c, out = each(draw, 3, 1, 4)
    turned, side = flag(draw), draw.integer(0, 5) == 5
    x, weight = draw.signal(c, n) if side else draw.signal(n, c), draw.weight(*((out, c) if turned else (c, out)))
    shapes = ((out,), (1, out), (1,), (1, 1), (), (n, out), (n, 1))
    bias = draw.pick((None, *shapes))
    version = opset(draw)
    if bias is None and version < 11:
        bias = (out,)
    how: dict[str, Any] = {"transB": int(turned), "transA": int(side)}
    how |= {"alpha": draw.pick((1.0, 2.0, -0.5)), "beta": draw.pick((1.0, 0.5, 0.0))} if flag(draw) else {}
    rows = bias is not None and len(bias) > 1 and bias[0] > 1
    inputs = (x, weight) if bias is None else (x, weight, draw.weight(*bias))
    return OnnxExample(inputs, how, "not-affine" if rows else None, opset=version)


@onnx_example("MatMul")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """On either side of a matrix; by a vector the axis is gone, which is refused."""
    example = drawn_matmul(draw, "matmul.default")
    return OnnxExample(example.args, {}, example.refused, opset=opset(draw))


@onnx_example("Einsum")
def drawn_onnx_einsum(draw: Draw, spelling: str) -> OnnxExample:
    example = drawn_einsum(draw, "einsum.default")
    equation, terms = example.args
    return OnnxExample(tuple(terms), {"equation": equation}, example.refused, opset=opset(draw, 12))
