"""Calls that a random ONNX graph grows by: each takes a signal and gives others, or is unfit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper
from torch import Tensor, nn

from convfold.layers.examples import ONNX_EXAMPLES, OnnxExample
from tests.fuzz.graphs import Array, Choice, Growing, Unfit
from tests.layers.models import run

Grown = str | list[str]


def convolution(g: Growing, x: str) -> Grown:
    n, d = g.shape(x), g.draw
    dims, c = len(n) - 2, _channels(g, x)
    groups = d.pick([1, 1, *(k for k in range(1, c + 1) if c % k == 0)])
    out, taps = groups * d.integer(1, max(6 // groups, 1)), d.each(dims, 1, d.pick((1, 3, 4)))
    how: dict[str, Any] = {"group": groups, "strides": d.each(dims, 1, d.pick((1, 1, 2)))}
    how["dilations"] = d.each(dims, 1, d.pick((1, 1, 2)))
    how |= {"kernel_shape": taps} if d.chance(0.5) else {}
    way = d.pick(("same", "same", "none", "any", "auto"))
    if way == "same":
        spans = [(t - 1) * s for t, s in zip(taps, how["dilations"], strict=True)]
        how["pads"] = [s // 2 for s in spans] + [s - s // 2 for s in spans]
    elif way == "any":
        how["pads"] = d.each(2 * dims, 0, 2)
    elif way == "auto":
        how["auto_pad"] = d.pick(("SAME_UPPER", "SAME_LOWER", "VALID"))
    bias = [g.weight(out)] if d.chance(0.5) else []
    return g.one("Conv", x, g.weight(out, c // groups, *taps, fan=c // groups * prod(taps)), *bias, **how)


def transposed(g: Growing, x: str) -> Grown:
    n, d = g.shape(x), g.draw
    dims, c = len(n) - 2, _channels(g, x)
    groups = d.pick([1, 1, *(k for k in range(1, c + 1) if c % k == 0)])
    out, taps = d.integer(1, 3), d.each(dims, 1, 3)
    how: dict[str, Any] = {"group": groups, "strides": d.each(dims, 1, 2)}
    how |= {"pads": d.each(2 * dims, 0, 1)} if d.chance(0.4) else {}
    bias = [g.weight(groups * out)] if d.chance(0.5) else []
    return g.one("ConvTranspose", x, g.weight(c, out, *taps, fan=c * prod(taps)), *bias, **how)


def batch_norm(g: Growing, x: str) -> Grown:
    if len(g.shape(x)) < 2:
        raise Unfit("axes")
    c = g.shape(x)[1]
    kept = [g.weight(c), g.weight(c), g.weight(c), g.weight(c, positive=True)]
    return g.one("BatchNormalization", x, *kept, epsilon=g.draw.pick((None, 1e-3)))


def dense(g: Growing, x: str) -> Grown:
    """A product with a matrix on either side, or with one a batch; or a Gemm."""
    n, d = g.shape(x), g.draw
    out = d.integer(1, 6)
    if not n:
        raise Unfit("axes")
    if len(n) == 2 and d.chance(0.6):
        turned, other = d.integer(0, 1), d.integer(0, 1)
        c = n[0] if turned else n[1]
        rows = n[1] if turned else n[0]
        w = g.weight(*((out, c) if other else (c, out)), fan=c)
        shapes = ((out,), (1, out), (rows, 1), (rows, out), (1,), ())
        bias = [g.weight(*d.pick(shapes))] if d.chance(0.6) else []
        how = {"alpha": d.pick((None, 0.5)), "beta": d.pick((None, 2.0)), "transA": turned, "transB": other}
        if not bias and g.opset < 11:
            bias = [g.weight(out)]
        return g.one("Gemm", x, w, *bias, **how)
    if d.chance(0.2) and len(n) > 1:
        return g.one("MatMul", g.weight(out, n[-2], fan=n[-2]), x)
    lead = n[:-2] if d.chance(0.1) else ()
    y = g.one("MatMul", x, g.weight(*lead, n[-1], out, fan=n[-1]))
    return g.one("Add", *_either(g, y, g.weight(out))) if d.chance(0.5) else y


def scaled(g: Growing, x: str) -> Grown:
    n, d = g.shape(x), g.draw
    axis = d.integer(0, len(n))
    sizes = [1] * d.integer(0, len(n)) if axis == len(n) else [n[axis], *[1] * (len(n) - 1 - axis)]
    sizes = list(n) if d.chance(0.1) else [1] * d.pick((0, 0, axis)) + sizes if axis < len(n) else sizes
    kind = d.pick(("Add", "Sub", "Mul", "Div"))
    return g.one(kind, *_either(g, x, g.weight(*sizes, positive=kind == "Div")))


def joined(g: Growing, x: str) -> Grown:
    """With one of the same shape; now and then with any that broadcasts."""
    d, n = g.draw, g.shape(x)
    alike = [y for y in g.signals if g.shape(y) == n]
    others = alike if d.chance(0.8) else g.signals
    y = d.pick(others)
    kind = d.pick(("Add", "Add", "Add", "Sub", "Sum", "Mean", "Mul", "Max"))
    more = [d.pick(others) for _ in range(d.integer(0, 2))] if kind in ("Sum", "Mean") else []
    return g.one(kind, *_either(g, x, y), *more)


def concat(g: Growing, x: str) -> Grown:
    d, n = g.draw, g.shape(x)
    if not n:
        raise Unfit("axes")
    axis = d.integer(0, len(n) - 1) if d.chance(0.3) else min(1, len(n) - 1)
    fits = [
        y
        for y in g.signals
        if len(m := g.shape(y)) == len(n) and (*m[:axis], *m[axis + 1 :]) == (*n[:axis], *n[axis + 1 :])
    ]
    parts = [x, *(d.pick(fits) for _ in range(d.integer(1, 2)))]
    if d.chance(0.1) and not g.free:
        parts.append(g.weight(*n[:axis], 2, *n[axis + 1 :]))
    order = d.generator.permutation(len(parts))
    return g.one("Concat", *(parts[i] for i in order), axis=axis - d.pick((0, len(n))))


def split(g: Growing, x: str) -> Grown:
    d, n = g.draw, g.shape(x)
    axes = [i for i, m in enumerate(n) if m > 1]
    if not axes:
        raise Unfit("axes")
    axis = d.pick(axes)
    first = d.integer(1, n[axis] - 1)
    sizes = [first, n[axis] - first]
    if n[axis] % 2 == 0 and d.chance(0.5):
        return g.call("Split", x, outputs=2, axis=axis, num_outputs=2 if g.opset >= 18 else None)
    if g.opset < 13:
        return g.call("Split", x, outputs=2, axis=axis, split=sizes)
    return g.call("Split", x, g.ints(sizes), outputs=2, axis=axis)


def view(g: Growing, x: str) -> Grown:
    """Neighbouring axes joined, one split in two, or other views."""
    d, n = g.draw, list(g.shape(x))
    way = d.pick(("join", "join", "part", "part", "flat", "unsqueeze", "squeeze", "transpose", "transpose"))
    if way == "join" and len(n) > 1:
        i = d.integer(0, len(n) - 2)
        return g.reshaped(x, [*n[:i], n[i] * n[i + 1], *n[i + 2 :]])
    if way == "part" and n:
        i = d.integer(0, len(n) - 1)
        k = d.pick([k for k in range(1, n[i] + 1) if n[i] % k == 0])
        return g.reshaped(x, [*n[:i], k, n[i] // k, *n[i + 1 :]])
    if way == "flat":
        return g.one("Flatten", x, axis=d.integer(0, len(n)))
    if way == "unsqueeze" and len(n) < 5:
        return g.axes("Unsqueeze", x, [d.integer(0, len(n))])
    if way == "squeeze" and 1 in n:
        return g.axes("Squeeze", x, [n.index(1)])
    return g.one("Transpose", x, perm=d.generator.permutation(len(n)).tolist() if n and d.chance(0.8) else None)


def part(g: Growing, x: str) -> Grown:
    """Some positions of an axis: a slice of any step, or gathered."""
    d, n = g.draw, g.shape(x)
    if not n:
        raise Unfit("axes")
    axis = d.integer(0, len(n) - 1)
    if d.chance(0.4):
        some = np.array(d.each(d.integer(1, n[axis] + 1), 0, n[axis] - 1), np.int64)
        return g.one("Gather", x, g.hold(some if d.chance(0.8) else some[0]), axis=axis)
    start = d.integer(0, n[axis] - 1)
    if g.opset >= 10 and d.chance(0.3):
        step = d.pick((2, -1, -2))
        ends = [n[axis] if step > 0 else -(2**31)]
        start = start if step > 0 else -1
        return g.one("Slice", x, *map(g.ints, ([start], ends, [axis], [step])))
    return g.sliced(x, [start], [d.integer(start + 1, n[axis] + 2)], [axis])


def pad(g: Growing, x: str) -> Grown:
    n, d = g.shape(x), g.draw
    pads = [m if d.chance(0.4) else 0 for m in d.each(2 * len(n), -1 if g.opset > 10 else 0, 2)]
    return g.padded(x, pads, d.pick(("constant", "constant", "reflect", "edge")))


def pool(g: Growing, x: str) -> Grown:
    n, d = g.shape(x), g.draw
    dims, _ = len(n) - 2, _channels(g, x)
    if d.chance(0.2):
        return g.one(d.pick(("GlobalAveragePool", "GlobalMaxPool")), x)
    kind = d.pick(("AveragePool", "AveragePool", "MaxPool"))
    how: dict[str, Any] = {"kernel_shape": d.each(dims, 1, 3), "strides": d.each(dims, 1, 2)}
    how |= {"pads": d.each(2 * dims, 0, 1)} if d.chance(0.4) and min(how["kernel_shape"]) > 1 else {}
    how |= {"count_include_pad": d.integer(0, 1)} if kind == "AveragePool" else {}
    how |= {"ceil_mode": 1} if g.opset >= 10 and d.chance(0.2) else {}
    return g.one(kind, x, **how)


def mean(g: Growing, x: str) -> Grown:
    n, d = g.shape(x), g.draw
    axes = [i for i in range(len(n)) if d.chance(0.5)] or [0]
    kind = d.pick(("ReduceMean", "ReduceMean", "ReduceSum"))
    return g.axes(kind, x, axes, 13 if kind == "ReduceSum" else 18, keepdims=d.integer(0, 1))


def resize(g: Growing, x: str) -> Grown:
    n, d = g.shape(x), g.draw
    dims, _ = len(n) - 2, _channels(g, x)
    factors = np.array([1.0, 1.0, *(d.pick((1.0, 2.0, 2.0, 3.0)) for _ in range(dims))], np.float32)
    mode = d.pick(("nearest", "linear"))
    if g.opset < 9:
        return g.one("Upsample", x, scales=factors.tolist(), mode=mode)
    if g.opset < 11:
        return g.one(d.pick(("Upsample", "Resize") if g.opset > 9 else ("Upsample",)), x, g.hold(factors), mode=mode)
    how = {
        "coordinate_transformation_mode": d.pick(("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"))
    }
    how |= {"nearest_mode": d.pick(("floor", "round_prefer_floor", "ceil"))} if mode == "nearest" else {}
    none = "" if g.opset > 12 else g.hold(np.zeros(0, np.float32))
    return g.one("Resize", x, none, g.hold(factors), mode=mode, **how)


def layer_norm(g: Growing, x: str) -> Grown:
    n, d = g.shape(x), g.draw
    if d.chance(0.5) and len(n) > 2:
        return g.one("InstanceNormalization", x, g.weight(n[1]), g.weight(n[1]))
    if not n or g.opset < 17 or n[-1] == 1:
        raise Unfit("axes")
    bias = [g.weight(n[-1])] if d.chance(0.7) else []
    return g.one("LayerNormalization", x, g.weight(n[-1]), *bias, axis=-1)


def curved(g: Growing, x: str) -> Grown:
    kind = g.draw.pick(("Relu", "Relu", "Sigmoid", "Tanh", "Softmax", "Abs", "LeakyRelu", "Elu", "Softplus"))
    return g.one(kind, x, axis=len(g.shape(x)) - 1 if kind == "Softmax" else None)


def gate(g: Growing, x: str) -> Grown:
    """Channels weighed by what all of the map says."""
    y = g.one("GlobalAveragePool", x)
    c, dims = _channels(g, x), len(g.shape(x)) - 2
    y = g.one("Conv", y, g.weight(2, c, *(1,) * dims, fan=c), g.weight(2, positive=True))
    y = g.one("Conv", g.one("Relu", y), g.weight(c, 2, *(1,) * dims, fan=2))
    return g.one("Mul", *_either(g, x, g.one("Sigmoid", y)))


def plain(g: Growing, x: str) -> Grown:
    """What does nothing."""
    kind = g.draw.pick(("Identity", "Cast", "Neg", "Dropout"))
    return g.one(kind, x, to=int(helper.np_dtype_to_tensor_dtype(g.dtype)) if kind == "Cast" else None)


def branches(g: Growing, x: str) -> Grown:
    """One of two graphs inside, as the sum of the signal says or as the model's own number does."""
    axes = list(range(len(g.shape(x))))
    total = g.axes("ReduceSum", x, axes, keepdims=0)
    if g.draw.chance(0.3):
        condition = g.one("Identity", g.hold(np.array(g.draw.chance(0.5))))
    else:
        limit = g.hold(np.array(0, g.dtype))
        condition = g.one("Greater", total, limit)
    inner: list[onnx.GraphProto] = []
    for name in ("then", "else"):
        outer, g.nodes = g.nodes, []
        signals, read = list(g.signals), set(g.read)
        y = x
        for _ in range(g.draw.integer(1, 3)):
            y = _same(g, y)
        info = helper.make_tensor_value_info(y, int(helper.np_dtype_to_tensor_dtype(g.dtype)), None)
        inner.append(helper.make_graph(g.nodes, name, [], [info]))
        g.nodes, g.signals = outer, signals
        g.read = read | {w for w in g.read if w in g.weights}
    return g.one("If", condition, then_branch=inner[0], else_branch=inner[1])


def _same(g: Growing, x: str) -> str:
    """One of the same shape."""
    n = g.shape(x)
    ways: list[Callable[[], Grown]] = [lambda: g.one("Relu", x), lambda: scaled(g, x)]
    if len(n) > 1:
        ways.append(lambda: batch_norm(g, x))
    if 3 <= len(n) <= 5:
        c, taps = n[1], [3] * (len(n) - 2)
        pads = [1] * (2 * len(taps))
        ways += [lambda: g.one("Conv", x, g.weight(c, c, *taps, fan=c * prod(taps)), g.weight(c), pads=pads)] * 2
    if n:
        ways.append(lambda: g.one("MatMul", x, g.weight(n[-1], n[-1], fan=n[-1])))
    y = g.draw.pick(ways)()
    if not isinstance(y, str) or g.shape(y) != n:
        raise Unfit("shape")
    return y


def example(g: Growing, x: str) -> Grown:
    """Any operator that is read, with any parameters: some signals are made such as it takes."""
    d = g.draw
    name = d.pick(sorted(ONNX_EXAMPLES))
    return called(g, name, _example(g, name, x), x)


def _example(g: Growing, name: str, x: str) -> OnnxExample:
    """Of this opset's spelling, and rather of this signal's shape."""
    d, found = g.draw, None
    d.liked = [*g.shape(x), len(g.shape(x))]
    try:
        for _ in range(12):
            drawn = ONNX_EXAMPLES[name](d, name)
            if _version(name, drawn.opset) != _version(name, g.opset) or drawn.refused == "training-mode":
                continue
            found = drawn
            if any(tuple(a.shape) == g.shape(x) for a in _signals(drawn)):
                break
    finally:
        d.liked = []
    if found is None:
        raise Unfit("version")
    return found


def called(g: Growing, name: str, drawn: OnnxExample, x: str) -> Grown:
    d = g.draw
    if name == "ConvTranspose" and drawn.refused:
        raise Unfit("the standard and its runtimes differ in size")
    names: dict[int, str] = {}
    for a in _signals(drawn):
        alike = [y for y in g.signals if g.shape(y) == tuple(a.shape)]
        if tuple(a.shape) == g.shape(x) and x not in names.values():
            names[id(a)] = x
        elif alike and d.chance(0.8):
            names[id(a)] = d.pick(alike)
        elif not g.free and d.chance(0.7):
            names[id(a)] = g.fitted(x, a.shape)
        else:
            names[id(a)] = g.input(*a.shape)
    inputs = ["" if a is None else names[id(a)] if id(a) in names else g.hold(_array(a, g.dtype)) for a in drawn.args]
    while inputs and not inputs[-1]:
        inputs.pop()
    return g.call(name, *inputs, outputs=drawn.outputs, **dict(drawn.kwargs))


def _signals(drawn: OnnxExample) -> list[Tensor]:
    found = {id(a): a for a in drawn.args if isinstance(a, Tensor) and not isinstance(a, nn.Parameter)}
    return list(found.values())


def _array(a: Any, dtype: Any) -> Array:
    found = a.detach().numpy() if isinstance(a, Tensor) else np.array(a, np.int64)
    return found.astype(dtype) if found.dtype == np.float64 else found


def _version(name: str, opset: int) -> int:
    try:
        return int(onnx.defs.get_schema(name, opset, "").since_version)
    except onnx.defs.SchemaError:
        return 0


def _channels(g: Growing, x: str) -> int:
    if not 3 <= len(g.shape(x)) <= 5:
        raise Unfit("axes")
    return g.shape(x)[1]


def _either(g: Growing, a: str, b: str) -> tuple[str, str]:
    return (a, b) if g.draw.chance(0.7) else (b, a)


GROW: Sequence[tuple[int, Callable[[Growing, str], Grown]]] = (
    (12, convolution), (3, transposed), (8, batch_norm), (6, dense), (7, scaled), (8, joined), (4, concat), (2, split),
    (7, view), (3, part), (3, pad), (4, pool), (2, mean), (2, resize), (2, layer_norm), (7, curved), (1, gate),
    (1, plain), (1, branches), (16, example),
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A model, inputs of one set of sizes, and others, of other sizes where those are free.

    ``largest``: the largest number it computes on the first.
    """

    model: onnx.ModelProto
    given: dict[str, Array]
    other: dict[str, Array]
    free: str
    largest: float


def drawn(*seed: int) -> Drawn:
    """The random graph of this seed: of as many as it takes until ONNX Runtime runs one."""
    for attempt in range(100):
        g = _grown(Choice(*seed, attempt))
        for free in dict.fromkeys((g.free, "batch" if g.free else "", "")):
            try:
                model = g.model(free)
                onnx.checker.check_model(model)
                run(model, g.given)
                other = g.larger(free, 1)
                if free:
                    run(model, other)
                    for by in (2, 3, 6):
                        run(model, g.larger(free, by))
            except Exception:  # whatever they raise: not a model, or not at these sizes
                continue
            numbers = [float(np.abs(v).max()) for v in g.values.values() if v.dtype.kind == "f" and v.size]
            return Drawn(model, g.given, other, free, max(numbers))
    raise AssertionError(f"nothing runs for seed {seed}")


def _grown(d: Choice) -> Growing:
    dtype = d.pick((np.float32,) * 17 + (np.float64,) * 2 + (np.float16,))
    g = Growing(d, d.pick((7, 8, 9, 11, 13, 17, *range(7, 27))), dtype, d.pick(("", "", "batch", "space")))
    dims = d.pick((1, 2, 2, 2, 3))
    space = d.each(dims, 1, {1: 9, 2: 6}.get(dims, 4))
    g.input(*d.pick([(d.integer(1, 2), d.integer(1, 6), *space)] * 4 + [(d.integer(1, 3), d.integer(1, 6))]))
    chances = np.array([w for w, _ in GROW], float)
    wanted, calls = d.integer(3, 12), 0
    for _ in range(60):
        if calls >= wanted:
            break
        before, latest = len(g.nodes), len(g.signals)
        x = g.signals[-1] if d.chance(0.65) else d.pick(g.signals)
        with g.attempt():
            ys = GROW[int(d.generator.choice(len(GROW), p=chances / chances.sum()))][1](g, x)
            g.signals += [y for y in ([ys] if isinstance(ys, str) else ys) if g.values[y].dtype == g.dtype]
        calls += len(g.signals) > latest and len(g.nodes) > before
    return g
