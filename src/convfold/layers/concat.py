"""Concatenation: aten cat, concat, concatenate, stack; ONNX Concat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from convfold.algebra.joins import Concat
from convfold.algebra.layout import Layout
from convfold.errors import NotFoldable
from convfold.layers.examples import Draw, Example, OnnxExample, axis, example, onnx_example, opset, shape
from convfold.layers.spelling import Call, Step, Value, aten, onnx


@aten("cat.default", "concat.default", "concatenate.default")
def read(call: Call) -> Step:
    return _joined(call, call["tensors"], call["dim"])


@aten("stack.default")
def read_stack(call: Call) -> Step:
    """Along an axis that is new."""
    axis, parts = call["dim"] % call.out.dim, call["tensors"]
    x = parts[0]
    if any(p.dtype != call.out.dtype or p.symbols != x.symbols for p in parts):
        raise NotFoldable("not-affine", "parts of another type")
    one, shape = ((*n[:axis], 1, *n[axis:]) for n in (x.symbols, x.shape))
    free = frozenset(i + (i >= axis) for i in x.signal.free)
    carried = tuple((i, i + (i >= axis)) for i in range(x.dim))
    view = Layout(carried, None, shape, (x.symbols, one))
    return Step(Concat(axis), tuple(Step(view, (p,), replace(p.signal, shape=shape, free=free)) for p in parts))


@onnx("Concat")
def read_onnx(call: Call) -> Step:
    return _joined(call, call["inputs"], call["axis"])


def _joined(call: Call, parts: Sequence[Value], axis: int) -> Step:
    axis %= call.out.dim
    if any(p.dim != call.out.dim or p.dtype != call.out.dtype or axis in p.signal.free for p in parts):
        raise NotFoldable("not-affine", "parts of unknown length or of another type")
    return Step(Concat(axis), tuple(parts))


@example("cat.default", "concat.default", "concatenate.default")
def drawn(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    parts: list[Tensor] = [x]
    for _ in range(draw.integer(0, 3)):
        other = [draw.integer(1, 3) if i == dim % x.dim() else n for i, n in enumerate(x.shape)]
        parts.append(draw.pick((draw.signal(*other), draw.weight(*other), x)))
    return Example((parts, dim))


@example("stack.default")
def drawn_stack(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    parts = [x, *(draw.pick((draw.signal(*x.shape), draw.weight(*x.shape), x)) for _ in range(draw.integer(0, 2)))]
    return Example((parts, axis(draw, x.dim() + 1)))


@onnx_example("Concat")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    example, version = drawn(draw, "cat.default"), opset(draw)
    parts, dim = example.args
    return OnnxExample(tuple(parts), {"axis": dim % parts[0].dim() if version < 11 else dim}, opset=version)
