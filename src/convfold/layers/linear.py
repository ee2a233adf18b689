"""Linear: nn.Linear; aten linear, addmm, mm, matmul, einsum with a constant. No space axis, channels anywhere."""

from __future__ import annotations

from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.layout import Layout
from convfold.algebra.realisation import Product
from convfold.errors import NotFoldable
from convfold.layers.known import module
from convfold.layers.spelling import Call, Map, Reading, Step, aten, nonzero


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
        Map(Convolution(weight, nonzero(call.tensor("bias"))), call["input"].dim - 1, Product()), (call["input"],)
    )


@aten("addmm.default")
def read_addmm(call: Call) -> Step:
    weight, bias = call.tensor("mat2"), call.tensor("self")
    assert weight is not None and bias is not None
    if bias.dim() > 1 and bias.shape[0] != 1:
        raise NotFoldable("not-affine", "the added matrix differs from row to row")
    bias = bias.reshape(-1).expand(weight.shape[1])
    op = Convolution(weight.t() * call["alpha"], nonzero(bias * call["beta"]))
    return Step(Map(op, 1, Product()), (call["mat1"],))


@aten("mm.default", "matmul.default")
def read_matmul(call: Call) -> Step:
    """x @ W works on the last axis, W @ x on the one before it."""
    x, w = call["self"], call["mat2"] if call["mat2"] is not None else call["other"]
    if w.constant and w.dim == 2 and not x.constant:
        return Step(Map(Convolution(w.tensor().t()), x.dim - 1, Product()), (x,))
    if x.constant and x.dim == 2 and w.dim >= 2 and not w.constant:
        return Step(Map(Convolution(x.tensor()), w.dim - 2, Product()), (w,))
    raise NotFoldable("not-affine", "a product of two signals")


@aten("einsum.default")
def read_einsum(call: Call) -> Reading:
    """``oc,b…c…→b…o…``: a constant matrix contracts one axis of the signal; then the axes are permuted."""
    equation, tensors = call["equation"].replace(" ", ""), call["tensors"]
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
    kernel = weight.tensor() if matrix == o + c else weight.tensor().t()
    step = Step(Map(Convolution(kernel), axes.index(c), Product()), (x,))
    order = [mapped.index(a) for a in out]
    return step if order == sorted(order) else Step(Layout.permute(order), (step,))
