"""A random ONNX graph as it grows: every call is run in ONNX Runtime as it is added, so that all shapes are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from tests.layers.models import run

T = TypeVar("T")
Array = np.ndarray[Any, Any]

#: Values of more numbers, or larger ones, are not carried on.
MOST, LARGEST = 3000, {np.dtype(np.float16): 50.0, np.dtype(np.float32): 1e3, np.dtype(np.float64): 1e3}


class Unfit(Exception):
    """ONNX Runtime does not run this call, or gives nothing worth carrying on."""


class Choice:
    """A `Draw` by a seed, which likes some numbers better than others."""

    def __init__(self, *seed: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.liked: list[int] = []

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.generator.integers(len(options)))]

    def integer(self, low: int, high: int) -> int:
        liked = [n for n in self.liked if low <= n <= high]
        return self.pick(liked) if liked and self.chance(0.6) else int(self.generator.integers(low, high + 1))

    def each(self, n: int, low: int, high: int) -> list[int]:
        return [int(k) for k in self.generator.integers(low, high + 1, n)]

    def chance(self, p: float) -> bool:
        return float(self.generator.random()) < p

    def signal(self, *shape: int) -> Tensor:
        return torch.tensor(self.generator.standard_normal(shape))

    def weight(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(self.signal(*shape), requires_grad=False)


class Growing:
    """A graph so far: its calls, its weights, and what every value is on one set of inputs.

    Attributes:
        signals: values computed from the inputs that calls may read.
        free: which sizes of the inputs are to be free: none, "batch" or "space" too.
    """

    def __init__(self, draw: Choice, opset: int, dtype: Any, free: str) -> None:
        self.draw, self.opset, self.dtype, self.free = draw, opset, np.dtype(dtype), free
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.values: dict[str, Array] = {}
        self.given: dict[str, Array] = {}
        self.signals: list[str] = []
        self.constants: set[str] = set()
        self.read: set[str] = set()
        self.count = 0
        self.paths = draw.pick(("", "/", "call"))

    # --- values ------------------------------------------------------------------------------------------------------

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def shape(self, x: str) -> tuple[int, ...]:
        return tuple(self.values[x].shape)

    def input(self, *shape: int) -> str:
        name = f"x{len(self.given)}"
        self.given[name] = self.values[name] = self.draw.generator.standard_normal(shape).astype(self.dtype)
        self.signals.append(name)
        return name

    def call(self, kind: str, *xs: str, outputs: int = 1, **how: Any) -> list[str]:
        """
        Raises:
            Unfit: ONNX Runtime does not run it, or what it gives is empty, too large or no number.
        """
        ys = [self.fresh("y") for _ in range(outputs)]
        name = {"": "", "/": f"/block{self.count % 3}/{kind.lower()}{self.count}/{kind}"}.get(
            self.paths, f"{ys[0]}_call"
        )
        given = {k: v for k, v in how.items() if v is not None}
        if any(v == [] for v in given.values()):
            raise Unfit("nothing asked for")
        node = helper.make_node(kind, xs, ys, name=name, **given)
        found = self._computed(node)
        constant = all(x in self.constants for x in _read(node))
        for y, value in zip(ys, found, strict=True):
            if not constant and (not value.size or value.size > MOST):
                raise Unfit("size")
            if value.dtype.kind == "f" and not bool((np.abs(value) < LARGEST[value.dtype]).all()):
                raise Unfit("numbers")
            self.values[y] = value
        self.nodes.append(node)
        self.constants.update(ys if constant else ())
        self.read.update(_read(node))
        return ys

    def one(self, kind: str, *xs: str, **how: Any) -> str:
        return self.call(kind, *xs, **how)[0]

    def _computed(self, node: onnx.NodeProto) -> list[Array]:
        names = [x for x in dict.fromkeys(_read(node)) if x in self.values]
        held = [numpy_helper.from_array(self.values[x], x) for x in names if x in self.constants]
        fed = {x: self.values[x] for x in names if x not in self.constants}
        infos = [_info(x, v.dtype, v.shape) for x, v in fed.items()]
        graph = helper.make_graph(
            [node], "one", infos, list(map(helper.make_empty_tensor_value_info, node.output)), held
        )
        try:
            return [np.asarray(y) for y in run(self._model(graph), fed)]
        except Exception as e:  # whatever it raises
            raise Unfit(str(e)) from e

    def _model(self, graph: onnx.GraphProto, ir_version: int = 0) -> onnx.ModelProto:
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=ir_version or helper.find_min_ir_version_for(opsets)
        )

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What does not work out leaves nothing behind."""
        kept = list(self.nodes), dict(self.weights), dict(self.values), dict(self.given), list(self.signals)
        sets = set(self.constants), set(self.read)
        try:
            yield
        except Unfit:
            self.nodes, self.weights, self.values, self.given, self.signals = kept
            self.constants, self.read = sets

    # --- constants ---------------------------------------------------------------------------------------------------

    def weight(self, *shape: int, fan: int = 1, positive: bool = False) -> str:
        """A random one, or one there is already."""
        alike = [
            w
            for w, a in self.weights.items()
            if a.shape == shape and a.dtype == self.dtype and bool((a > 0).all()) >= positive
        ]
        if alike and self.draw.chance(0.1):
            return self.draw.pick(alike)
        w = self.draw.generator.standard_normal(shape) / max(fan, 1) ** 0.5
        return self.hold((np.abs(w) + 0.3 if positive else w).astype(self.dtype))

    def ints(self, numbers: Sequence[int]) -> str:
        return self.hold(np.array(numbers, np.int64))

    def hold(self, array: Array) -> str:
        """A constant: an initializer, a Constant, or computed from such ones."""
        way = self.draw.pick(("plain",) * 6 + ("constant", "constant", "identity", "wide", "turned", "longer", "sum"))
        if way == "constant":
            return self.one("Constant", value=numpy_helper.from_array(array))
        if way == "identity":
            return self.one("Identity", self._initializer(array))
        if way == "wide":
            wider = np.int32 if array.dtype.kind == "i" else np.float16 if self.draw.chance(0.3) else np.float64
            stored = array.astype(wider)
            return self.one("Cast", self._initializer(stored), to=helper.np_dtype_to_tensor_dtype(array.dtype))
        if way == "turned" and array.ndim > 1:
            order = self.draw.generator.permutation(array.ndim)
            stored = np.ascontiguousarray(array.transpose(np.argsort(order)))
            return self.one("Transpose", self._initializer(stored), perm=order.tolist())
        if way == "longer":
            stored = array[None] if array.ndim else array.reshape(1)
            return self.axes("Squeeze", self._initializer(stored), [0])
        if way == "sum" and array.dtype.kind == "f":
            return self.one("Add", self._initializer(array), self._initializer((array * 0.5).astype(array.dtype)))
        return self._initializer(array)

    def _initializer(self, array: Array) -> str:
        name = self.fresh("w")
        self.weights[name] = self.values[name] = np.ascontiguousarray(array).reshape(array.shape)
        self.constants.add(name)
        return name

    # --- what versions spell differently -----------------------------------------------------------------------------

    def axes(self, kind: str, x: str, axes: Sequence[int], since: int = 13, **how: Any) -> str:
        """Axes as an attribute or, since some version, as an input."""
        if self.opset < since:
            return self.one(kind, x, axes=list(axes), **how)
        return self.one(kind, x, self.ints(axes), **how)

    def sliced(self, x: str, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int]) -> str:
        if self.opset < 10:
            return self.one("Slice", x, starts=list(starts), ends=list(ends), axes=list(axes))
        return self.one("Slice", x, *map(self.ints, (starts, ends, axes)))

    def padded(self, x: str, pads: Sequence[int], mode: str = "constant") -> str:
        if self.opset < 11:
            return self.one("Pad", x, pads=list(pads), mode=mode)
        return self.one("Pad", x, self.ints(pads), mode=mode)

    def reshaped(self, x: str, shape: Sequence[int]) -> str:
        """To numbers, to some of the signal's own, or to such as are computed from its shape."""
        before, asked = self.shape(x), list(shape)
        same = [i for i, n in enumerate(asked) if i < len(before) and n == before[i]]
        way = self.draw.pick(("zeros", "computed") if self.free else ("plain", "zeros", "computed", "rest"))
        if way == "computed" and same:
            sizes, first = self.one("Shape", x), same[0]
            parts = [self.ints([n]) for n in asked]
            parts[first] = self.one("Gather", sizes, self.ints([first]), axis=0)
            if self.draw.chance(0.3):  # a number of its own
                number = self.one("Gather", sizes, self.hold(np.array(first, np.int64)), axis=0)
                parts[first] = self.axes("Unsqueeze", number, [0])
            if len(same) > 1 and len(asked) > 1 and self.draw.chance(0.7):
                parts[self.draw.pick([i for i in range(len(asked)) if i != first])] = self.ints([-1])
            return self.one("Reshape", x, self.one("Concat", *parts, axis=0))
        if way in ("zeros", "computed"):
            asked = [0 if i in same else n for i, n in enumerate(asked)]
        rest = [i for i, n in enumerate(asked) if n]
        if rest and (way == "rest" or (self.free and self.draw.chance(0.7))):
            asked[self.draw.pick(rest)] = -1
        return self.one("Reshape", x, self.ints(asked))

    def fitted(self, x: str, shape: Sequence[int]) -> str:
        """A signal made one of this shape: axes added or joined, cropped or padded."""
        more = len(shape) - len(self.shape(x))
        if more > 0:
            x = self.axes("Unsqueeze", x, list(range(more)))
        elif more < 0:
            n = self.shape(x)
            x = self.reshaped(x, [*n[: len(shape) - 1], prod(n[len(shape) - 1 :])] if shape else [])
        cut = [i for i, (n, m) in enumerate(zip(self.shape(x), shape, strict=True)) if n > m]
        if cut:
            x = self.sliced(x, [0] * len(cut), [shape[i] for i in cut], cut)
        missing = [m - n for n, m in zip(self.shape(x), shape, strict=True)]
        if any(missing):
            lo = [self.draw.integer(0, m) for m in missing]
            x = self.padded(x, [*lo, *(m - a for m, a in zip(missing, lo, strict=True))])
        return x

    # --- the whole ---------------------------------------------------------------------------------------------------

    def sizes(self, name: str, free: str) -> list[int | str]:
        """What an input declares of its sizes."""
        sizes: list[int | str] = list(self.shape(name))
        for i in range(len(sizes)):
            if (free and i == 0) or (free == "space" and i > 1):
                sizes[i] = f"size{i}_{sizes[i]}"
        return sizes

    def larger(self, free: str, by: int) -> dict[str, Array]:
        """Other inputs, of other sizes where those are free."""
        shapes = {
            x: [
                n + by * (1 if i == 0 else 2) + 6 * (i == 3) if isinstance(s, str) else n
                for i, (n, s) in enumerate(zip(v.shape, self.sizes(x, free), strict=True))
            ]
            for x, v in self.given.items()
        }
        return {x: self.draw.generator.standard_normal(s).astype(self.dtype) for x, s in shapes.items()}

    def model(self, free: str) -> onnx.ModelProto:
        """What nothing reads is returned, and some of the rest."""
        draw = self.draw
        inputs = [helper.make_tensor_value_info(x, _kind(self.dtype), self.sizes(x, free)) for x in self.given]
        made = [y for y in self.signals if y not in self.given]
        returned = [y for y in made if y not in self.read or draw.chance(0.1)]
        outputs = []
        for y in returned:
            shape: list[Any] | None = list(self.shape(y)) if not free else [None] * len(self.shape(y))
            outputs.append(helper.make_tensor_value_info(y, _kind(self.values[y].dtype), draw.pick((shape, None))))
        held = [numpy_helper.from_array(w, name) for name, w in self.weights.items() if name in self.read]
        least = helper.find_min_ir_version_for([helper.make_opsetid("", self.opset)])
        version = draw.integer(least, max(least, 10))
        if version < 4:  # weights are inputs too
            inputs += [_info(w.name, self.weights[w.name].dtype, self.weights[w.name].shape) for w in held]
        model = self._model(helper.make_graph(self.nodes, "random", inputs, outputs, held), version)
        if draw.chance(0.3):
            told = onnx.shape_inference.infer_shapes(model)
            model = told if self._is_true(told) else model
        return model

    def _is_true(self, model: onnx.ModelProto) -> bool:
        """The standard's rules are wrong about slices whose axes are computed."""
        for info in (*model.graph.value_info, *model.graph.output):
            sizes = info.type.tensor_type.shape.dim
            if any(d.dim_value not in (0, n) for d, n in zip(sizes, self.shape(info.name), strict=False)):
                return False
        return True


def _kind(dtype: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _info(name: str, dtype: Any, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _kind(dtype), list(shape))


def _read(node: onnx.NodeProto) -> list[str]:
    """What a call reads, and what the graphs inside it do."""
    inner = [n for a in node.attribute if a.type == onnx.AttributeProto.GRAPH for n in a.g.node]
    own = {y for n in inner for y in n.output}
    return [x for n in (node, *inner) for x in ([*n.input] if n is node else _read(n)) if x and x not in own]
