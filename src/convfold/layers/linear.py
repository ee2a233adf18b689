"""Linear: nn.Linear; aten linear, addmm, mm, matmul with a constant. No space axis, channels last (or anywhere)."""

from __future__ import annotations

from torch import nn

from convfold.algebra import spelling
from convfold.algebra.convolution import Convolution
from convfold.errors import NotFoldable
from convfold.layers.spelling import Call, Map, Step, aten, nonzero


@spelling.of.register(nn.Linear)
def of_module(m: nn.Linear, channels: int | None = None, dims: int | None = None) -> Convolution:
    """weight (c_out, c_in) is already the normal form's kernel."""
    return Convolution(m.weight, m.bias)


@aten("linear.default")
def read(call: Call) -> Step:
    weight = call.tensor("weight")
    assert weight is not None
    if weight.dim() != 2:
        raise NotFoldable("not-affine", "a linear layer with a vector for weight")
    return Step(Map(Convolution(weight, nonzero(call.tensor("bias"))), call["input"].dim - 1), (call["input"],))


@aten("addmm.default")
def read_addmm(call: Call) -> Step:
    weight, bias = call.tensor("mat2"), call.tensor("self")
    assert weight is not None and bias is not None
    if bias.dim() > 1 and bias.shape[0] != 1:
        raise NotFoldable("not-affine", "the added matrix differs from row to row")
    bias = bias.reshape(-1).expand(weight.shape[1])
    op = Convolution(weight.t() * call["alpha"], nonzero(bias * call["beta"]))
    return Step(Map(op, 1), (call["mat1"],))


@aten("mm.default", "matmul.default")
def read_matmul(call: Call) -> Step:
    """x @ W works on the last axis, W @ x on the one before it."""
    x, w = call["self"], call["mat2"] if call["mat2"] is not None else call["other"]
    if w.constant and w.dim == 2 and not x.constant:
        return Step(Map(Convolution(w.tensor().t()), x.dim - 1), (x,))
    if x.constant and x.dim == 2 and w.dim >= 2 and not w.constant:
        return Step(Map(Convolution(x.tensor()), w.dim - 2), (w,))
    raise NotFoldable("not-affine", "a product of two signals")
