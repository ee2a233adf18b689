"""Linear: nn.Linear; aten linear, addmm, mm, bmm, mv, matmul, inner, einsum, tensordot with a constant; ONNX Gemm,
MatMul, Einsum.

No space axis, channels anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod
from string import ascii_letters
from typing import Any

from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.algebra.layout import Layout, Select
from convfold.algebra.realisation import Product, Scale
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
from convfold.region import Signal


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
def read_onnx(call: Call) -> Reading:
    return _product(call["A"], call["B"])


@onnx("Einsum")
def read_onnx_einsum(call: Call) -> Reading:
    return _contracted(call["equation"], call["Inputs"])


@aten("mm.default", "bmm.default", "mv.default", "matmul.default")
def read_matmul(call: Call) -> Reading:
    x, *others = call.arguments.values()
    return _product(x, others[0])


@aten("inner.default")
def read_inner(call: Call) -> Reading:
    """Over the last axis of both."""
    a, b = call["self"], call["other"]
    first, second = ascii_letters[1 : a.dim], ascii_letters[a.dim : a.dim + b.dim - 1]
    return _contracted(f"{first}a,{second}a->{first}{second}", [a, b])


def _product(a: Value, b: Value) -> Reading:
    """a @ b as numpy multiplies: the last axis of one by the last but one of the other, the axes before together."""
    rows, columns = "m" * (a.dim > 1), "n" * (b.dim > 1)
    batch = ascii_letters[26 : 24 + max(a.dim, b.dim)] if max(a.dim, b.dim) > 2 else ""
    first, second = (batch[len(batch) - max(v.dim - 2, 0) :] for v in (a, b))
    return _contracted(f"{first}{rows}k,{second}k{columns}->{batch}{rows}{columns}", [a, b])


@aten("einsum.default")
def read_einsum(call: Call) -> Reading:
    return _contracted(call["equation"], call["tensors"], multiplies=False)


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


def _contracted(equation: str, tensors: Sequence[Value], multiplies: bool = True) -> Reading:
    """An einsum of a signal and a constant is a matrix on the axes that they share, seen as one.

    Axes that are ``summed`` over are its columns, those that are ``made`` its rows; without either, the constant is a
    scale along the axes that are ``alike`` in both. ``multiplies``: is it a product even where nothing is summed? ::

        x → permute, view → (…, summed) → matrix → (…, made) → view, permute → out
    """
    equation = equation.replace(" ", "")
    terms, arrow, out = equation.partition("->")
    pairs = list(zip(terms.split(","), tensors, strict=True))
    if not arrow or "." in equation or sorted(v.constant for _, v in pairs) != [False, True]:
        raise NotFoldable("not-affine", "not the product of a signal and a constant")
    (axes, x), (named, weight) = sorted(pairs, key=lambda pair: pair[1].constant)
    if any(len(set(letters)) != len(letters) for letters in (axes, named, out)):
        raise NotFoldable("not-affine", "taken along a diagonal")
    if not out:
        raise NotFoldable("not-affine", "to one number, which no layer follows")
    if any(c not in out and c not in named for c in axes):
        raise NotFoldable("not-affine", "an axis that the constant has not is summed over")
    of = {c: i for i, c in enumerate(axes)}
    kernel = weight.tensor()
    for c in reversed(named):  # one long, where the signal is longer: the same for all positions; or not asked for
        i = named.index(c)
        if (c in of and weight.shape[i] == 1 and c in out) or (c not in of and c not in out):
            kernel, named = kernel.sum(i), named.replace(c, "")
    alike, summed, made = (
        [c for c in named if (c in of) == inside and (c in out) == after]
        for inside, after in ((True, True), (True, False), (False, True))
    )
    shared = sorted(alike or summed, key=axes.index)
    if not shared or (alike and (summed or made)):
        raise NotFoldable("not-affine", "broadcasting, or a matrix of its own for every position")
    if any(not x.is_fixed(of[c]) or x.shape[of[c]] != kernel.shape[named.index(c)] for c in shared):
        raise NotFoldable("not-affine", "along an axis of a length that is free, or one long in one of them")
    width = {c: kernel.shape[named.index(c)] for c in named}
    kernel = kernel.permute([named.index(c) for c in (*made, *shared)]).flatten(len(made))
    if alike:
        scale = Convolved(Convolution(kernel.reshape(-1, 1), groups=kernel.numel()), 0, Scale())
        return _through(x, axes, shared, scale, shared, width, out)
    kernel = kernel.reshape(-1, kernel.shape[-1])
    how = Scale() if kernel.shape[1] == 1 and not multiplies else Product()
    return _through(x, axes, shared, Convolved(Convolution(kernel), 0, how), made, width, out)


def _through(
    x: Value, axes: str, shared: list[str], op: Convolved, given: list[str], width: dict[str, int], out: str
) -> Step:
    """The axes ``shared`` as one, ``op`` on that, which gives the axes ``given``; the result in the order ``out``."""
    of = {c: (x.shape[i], x.symbols[i], i in x.signal.free) for i, c in enumerate(axes)}
    size = {**of, **{c: (n, n, False) for c, n in width.items() if c not in of}}
    step: Value | Step = x

    def behind(operation: Layout | Select | Convolved, after: Sequence[Sequence[str]]) -> Step:
        """The next step, which gives these axes: each of letters."""
        shape = tuple(prod(size[c][0] for c in letters) for letters in after)
        free = frozenset(i for i, letters in enumerate(after) if any(size[c][2] for c in letters))
        return Step(operation, (step,), Signal(shape, free, x.signal.itemsize))

    def view(before: Sequence[Sequence[str]], after: Sequence[Sequence[str]]) -> Step:
        found = [[(prod(size[c][i] for c in part)) for part in parts] for parts in (before, after) for i in (1, 0)]  # type: ignore[misc]
        shape = [-1 if any(size[c][2] for c in part) else n for part, n in zip(after, found[3], strict=True)]
        if shape.count(-1) > 1:
            raise NotFoldable("not-affine", "several axes, beside more than one whose length is free")
        return behind(Layout.own(found[0], found[2], shape), after)

    whole = "".join(shared)
    if whole not in axes:
        kept = [c for c in axes if c not in shared]
        step = behind(Layout.permute([axes.index(c) for c in (*kept, *shared)]), [*kept, *shared])
        axes = "".join((*kept, *shared))
    at = axes.index(whole)
    before, after = axes[:at], axes[at + len(whole) :]
    if len(shared) > 1:
        step = view([*axes], [*before, whole, *after])
    rows = [*before, given, *after]
    step = behind(replace(op, axis=at), rows)
    if not given:
        step = behind(Select(at, 0, 1), [*before, *after])
    elif len(given) > 1:
        step = view(rows, [*before, *given, *after])
    now = [*before, *given, *after]
    order = [now.index(c) for c in out]
    return step if order == sorted(order) else behind(Layout.permute(order), [*out])


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
            ((draw.weight(out, c), draw.signal(c)), None),
            ((draw.signal(*rest, n, c), draw.weight(c)), None),
            ((draw.signal(*rest, n, c), draw.weight(2, c, out)), "not-affine" if rest else None),
            ((draw.signal(2, n, c), draw.weight(1, c, out)), None),
            ((draw.signal(2, n, c), draw.weight(2, c, out)), "not-affine"),
        ]
    args, refused = draw.pick(pairs)
    return Example(args, refused=refused)


@example("bmm.default")
def drawn_bmm(draw: Draw, spelling: str) -> Example:
    b, n, c, out = each(draw, 4, 1, 4)
    first = (draw.signal(b, n, c), draw.weight(b, c, out))
    second = (draw.weight(b, n, c), draw.signal(b, c, out))
    return Example(draw.pick((first, second)), refused="not-affine" if b > 1 else None)


@example("mv.default", "inner.default")
def drawn_vector(draw: Draw, spelling: str) -> Example:
    n, c, out = each(draw, 3, 1, 4)
    pairs = [(draw.signal(n, c), draw.weight(c)), (draw.weight(n, c), draw.signal(c))]
    return Example(
        draw.pick(pairs if spelling.startswith("mv") else [*pairs, (draw.signal(n, c), draw.weight(out, c))])
    )


@example("einsum.default")
def drawn_einsum(draw: Draw, spelling: str) -> Example:
    """Axes of the signal, of the constant and of both, in any order, that stay or are summed over; or one is longer in
    the signal, or summed over in the signal alone."""
    letters = draw.pick(("bc-co", "bchw-oc", "bhnk-hkd", "nhw-hwo", "bnd-hdk", "bc-c", "c-c", "bghw-go", "cn-cno"))
    axes, named = ("".join(_shuffled(draw, part)) for part in letters.split("-"))
    size = dict(zip("abcdefghijklmnopqrstuvwxyz", each(draw, 26, 1, 3), strict=True))
    both = [c for c in axes if c in named]
    summed = [c for c in both if flag(draw)]
    out = "".join(_shuffled(draw, dict.fromkeys(c for c in axes + named if c not in summed)))
    gone = [c for c in axes if c not in named][:1] if draw.integer(0, 5) == 5 else []
    x = draw.signal(*(size[c] for c in axes))
    longer = summed[0] if summed and draw.integer(0, 4) == 4 and size[summed[0]] > 1 else ""
    weight = draw.weight(*(1 if c == longer else size[c] for c in named))
    out = "".join(c for c in out if c not in gone)
    pair = [(named, weight), (axes, x)]
    terms = pair[::-1] if flag(draw) else pair
    equation = f"{terms[0][0]}, {terms[1][0]}{draw.pick(('->', ' -> '))}{out}"
    kept = [c for c in both if c not in summed and c not in gone and size[c] > 1]
    own = (kept or not summed) if summed or any(c not in axes for c in named) else not kept
    refused = "not-affine" if gone or longer or own or not both or not out else None
    return Example((equation, [t for _, t in terms]), refused=refused)


def _shuffled(draw: Draw, letters: Iterable[str]) -> list[str]:
    rest = list(letters)
    return [rest.pop(draw.integer(0, len(rest) - 1)) for _ in range(len(rest))]


@example("tensordot.default")
def drawn_tensordot(draw: Draw, spelling: str) -> Example:
    """Over one axis, counted from either end, or over two."""
    x, out = draw.signal(*shape(draw, 2, 4)), draw.integer(1, 4)
    at = draw.integer(0, x.dim() - 1)
    if draw.integer(0, 4) == 4:
        return Example((x, draw.weight(*x.shape[:2], out), [0, 1], [0, 1]))
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
    """On either side of a matrix, by a vector, by several matrices."""
    example = drawn_matmul(draw, "matmul.default")
    return OnnxExample(example.args, {}, example.refused, opset=opset(draw))


@onnx_example("Einsum")
def drawn_onnx_einsum(draw: Draw, spelling: str) -> OnnxExample:
    example = drawn_einsum(draw, "einsum.default")
    equation, terms = example.args
    return OnnxExample(tuple(terms), {"equation": equation}, example.refused, opset=opset(draw, 12))
