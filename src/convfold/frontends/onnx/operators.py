"""The operations of the algebra as ONNX nodes, in the opset of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from convfold.frontends.onnx.sizes import Free
from convfold.frontends.onnx.tensors import from_torch
from convfold.frontends.onnx.written import Written
from convfold.ops import Ends, Ints, Part, Weights, is_high

END = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Onnx:
    """Writes before ``at``, into its graph; values are called after ``prefix``."""

    written: Written
    at: ir.Node
    graph: ir.Graph
    like: Tensor
    prefix: str
    again_: Callable[[Onnx, str, ir.Value, Sequence[int] | None, int], ir.Value]
    along_: Callable[[Onnx, str, ir.Value, int], ir.Value]

    # --- what all are written with -------------------------------------------------------------------------------

    def call(self, kind: str, *inputs: ir.Value | None, outputs: int = 1, **attributes: Any) -> ir.Value:
        return self.calls(kind, *inputs, outputs=outputs, **attributes)[0]

    def calls(self, kind: str, *inputs: ir.Value | None, outputs: int = 1, **attributes: Any) -> Sequence[ir.Value]:
        given = [_attribute(k, v) for k, v in attributes.items() if v is not None]
        node = ir.Node("", kind, inputs, given, num_outputs=outputs)
        return self.insert(node)

    def insert(self, node: ir.Node) -> Sequence[ir.Value]:
        for y in node.outputs:
            y.name = self.written.name(f"{self.prefix}_folded")
        node.name = self.written.name(f"{node.outputs[0].name}_{node.op_type}")
        self.graph.insert_before(self.at, node)
        for trial in self.written.trials:
            trial.add(node)
            known = [trial[y] for y in node.outputs]
        for y, k in zip(node.outputs, known, strict=True):
            if k.dtype is not None:
                y.type = ir.TensorType(k.dtype)
        return node.outputs

    def initializer(self, name: str, tensor: Any) -> ir.Value:
        return self.written.initializer(self.graph, name, tensor)

    def ints(self, numbers: Iterable[int]) -> ir.Value:
        return self.initializer(f"{self.prefix}_folded_sizes", ir.tensor(np.array(list(numbers), np.int64)))

    def number(self, n: int) -> ir.Value:
        return self.initializer(f"{self.prefix}_folded_sizes", ir.tensor(np.array(n, np.int64)))

    def constant(self, kind: str, content: Tensor) -> ir.Value:
        return self.initializer(f"{self.prefix}.folded_{kind}", from_torch(content.to(self.like)))

    def weights(self, of: Sequence[Any] = (), prefix: str = "") -> Weights[ir.Value]:
        """Called after the first of what they come from."""
        sources = [source for operator in of for source in operator.sources]
        made: dict[tuple[str, torch.Size], ir.Value] = {}

        def weight(kind: str, content: Tensor) -> ir.Value:
            key = (kind, content.shape)
            if key not in made:
                name = f"{sources[0] if sources else self.prefix}.folded_{prefix}{kind}"
                made[key] = self.initializer(name, from_torch(content.to(self.like)))
            return made[key]

        return weight

    def sizes(self, x: ir.Value) -> tuple[int | Free, ...]:
        found = self.written.sizes(x)
        assert found is not None, f"the sizes of {x.name} are not known"
        return found

    def again(self, call: str, operator: Any, x: ir.Value, at: int = 0) -> ir.Value:
        return self.again_(self, call, x, None, at)

    def along(self, call: str, operator: Any, x: ir.Value, axis: int) -> ir.Value:
        return self.along_(self, call, x, axis)

    # --- the operations --------------------------------------------------------------------------------------------

    def conv(
        self,
        x: ir.Value,
        weight: ir.Value,
        bias: ir.Value | None,
        stride: Ints,
        padding: Ends,
        dilation: Ints,
        groups: int,
    ) -> ir.Value:
        inputs = (x, weight) if bias is None else (x, weight, bias)
        taps = [int(n) for n in self.sizes(weight)[2:]]  # type: ignore[arg-type]
        return self.call(
            "Conv",
            *inputs,
            kernel_shape=taps,
            strides=list(stride),
            pads=[*(lo for lo, _ in padding), *(hi for _, hi in padding)],
            dilations=list(dilation),
            group=groups,
        )

    def conv_transpose(
        self,
        x: ir.Value,
        weight: ir.Value,
        bias: ir.Value | None,
        stride: Ints,
        padding: Ends,
        extra: Ints,
        groups: int,
        dilation: Ints,
    ) -> ir.Value:
        return self.call(
            "ConvTranspose",
            *((x, weight) if bias is None else (x, weight, bias)),
            kernel_shape=[int(n) for n in self.sizes(weight)[2:]],  # type: ignore[arg-type]
            strides=list(stride),
            pads=[lo for lo, _ in padding] + [hi for _, hi in padding],
            output_padding=extra if any(extra) else None,
            dilations=list(dilation),
            group=groups,
        )

    def linear(self, x: ir.Value, weight: ir.Value, bias: ir.Value | None) -> ir.Value:
        """A product with the matrix turned: as Gemm of a matrix, which adds the bias too, else in two calls."""
        if len(self.sizes(x)) == 2 and (bias is not None or self.written.opset >= 11):  # before it had to have one
            inputs = (x, weight) if bias is None else (x, weight, bias)
            return self.call("Gemm", *inputs, transB=1)
        y = self.call("MatMul", x, self.turned(weight))
        return y if bias is None else self.call("Add", y, bias)

    def turned(self, weight: ir.Value) -> ir.Value:
        tensor = weight.const_value
        assert tensor is not None and weight.name is not None
        if not weight.uses():  # made for this call: in its place
            self.written.home(self.graph).initializers.pop(weight.name)
            self.written.names.discard(weight.name)
        return self.initializer(weight.name, ir.tensor(np.ascontiguousarray(tensor.numpy().T), tensor.dtype))

    def matmul(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.call("MatMul", a, b)

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.call("Add", a, b)

    def sub(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.call("Sub", a, b)

    def neg(self, a: ir.Value) -> ir.Value:
        return self.call("Neg", a)

    def mul(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.call("Mul", a, b)

    def muladd(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self.add(self.mul(a, b), c)

    def pad(self, x: ir.Value, flat: Ints, mode: str = "constant") -> ir.Value:
        """ONNX gives all low ends, then all high ones, of every axis."""
        rank = len(self.sizes(x))
        pairs = list(zip(flat[::2], flat[1::2], strict=True))[::-1]
        pairs = [(0, 0)] * (rank - len(pairs)) + pairs
        pads = [lo for lo, _ in pairs] + [hi for _, hi in pairs]
        named = {"constant": None, "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
        if self.written.opset < 11:
            return self.call("Pad", x, pads=pads, mode=named)
        return self.call("Pad", x, self.ints(pads), mode=named)

    def wrapped(self, x: ir.Value, axis: int, lo: int, hi: int) -> ir.Value:
        n = self.sizes(x)[axis]
        if isinstance(n, int):
            return self.call("Gather", x, self.ints(i % n for i in range(-lo, n + hi)), axis=axis)
        length = self._length(x, axis)
        index = self._positions(self.call("Add", length, self.ints([lo + hi])))
        index = self.call("Mod", self.call("Sub", index, self.ints([lo])), length)
        return self.call("Gather", x, index, axis=axis)

    def slice(self, x: ir.Value, axis: int, start: int, stop: int | None, step: int = 1) -> ir.Value:
        """Of several axes by one call: what is a slice along others already is sliced anew."""
        stop = END if stop is None else stop
        if self.written.opset < 10:
            if step != 1:
                return self._strided(x, axis, range(start, stop, step))
            return self.call("Slice", x, starts=[start], ends=[stop], axes=[axis])
        spans = {axis: (start, stop, step)}
        node = x.producer()
        if node is not None and (before := self._spans(node)) is not None and axis not in before:
            x, spans = node.inputs[0] or x, before | spans
        axes = sorted(spans)
        starts, stops, steps = ([spans[i][k] for i in axes] for k in range(3))
        return self.call("Slice", x, *map(self.ints, (starts, stops, axes, *([steps] if set(steps) != {1} else []))))

    def _spans(self, node: ir.Node) -> dict[int, tuple[int, int, int]] | None:
        """What a slice of this graph takes of each axis, where the file says; None of another call."""
        if (node.op_type, node.domain) != ("Slice", "") or node.graph is not self.graph or node.inputs[0] is None:
            return None
        contents = [None if x is None else self._content(x) for x in node.inputs[1:]]
        if len(contents) < 3 or any(content is None for content in contents):
            return None
        starts, stops, axes, *steps = (content.tolist() for content in contents if content is not None)
        rank = len(self.sizes(node.inputs[0]))
        rows = zip(axes, starts, stops, steps[0] if steps else [1] * len(axes), strict=True)
        return {i % rank: (start, stop, step) for i, start, stop, step in rows}

    def select(self, x: ir.Value, axis: int, index: int) -> ir.Value:
        return self.call("Gather", x, self.number(index), axis=axis)

    def _content(self, x: ir.Value) -> np.ndarray[Any, Any] | None:
        """Of a small constant, the same at all sizes."""
        first, *others = (trial[x].content for trial in self.written.trials)
        if first is None or not self.written.trials[0][x].constant:
            return None
        return first if all(c is not None and np.array_equal(c, first) for c in others) else None

    def _strided(self, x: ir.Value, axis: int, span: range) -> ir.Value:
        """Before opset 10 a slice takes every position; a gather those that it is told."""
        n = self.sizes(x)[axis]
        assert isinstance(n, int)
        at = range(n)[span.start : span.stop : span.step]
        return self.call("Gather", x, self.ints(at), axis=axis)

    def end(self, x: ir.Value, axis: int, n: int, step: int = 1, high: bool = True) -> ir.Value:
        if not high:
            return self.slice(x, axis, 0, n)
        length = self.sizes(x)[axis]
        if isinstance(length, int):
            return self.slice(x, axis, max(length - n, 0) // step * step, None)
        if step == 1:
            return self.slice(x, axis, -n, None)
        first = self.call("Sub", self._length(x, axis), self.ints([n]))
        first = self.call("Max", first, self.ints([0]))
        first = self.call("Mul", self.call("Div", first, self.ints([step])), self.ints([step]))
        return self.call("Slice", x, first, self.ints([END]), self.ints([axis]))

    def _length(self, x: ir.Value, axis: int) -> ir.Value:
        return self.call("Gather", self.call("Shape", x), self.ints([axis]), axis=0)

    def filled(self, x: ir.Value, axis: int, rank: int, n: int, high: bool) -> ir.Value:
        x = self.end(x, axis, n, high=high)
        x = self.pad(x, [0, 0] * (rank - 1 - axis) + ([n, 0] if high else [0, n]))
        return self.slice(x, axis, -n, None) if high else self.slice(x, axis, 0, n)

    def reshape(self, x: ir.Value, shape: Ints, call: str | None = None) -> ir.Value:
        if call is not None:
            return self.again_(self, call, x, shape, 0)
        return self.call("Reshape", x, self.ints(shape))

    def expand(self, x: ir.Value, shape: Ints) -> ir.Value:
        return self.call("Expand" if self.written.opset >= 8 else "Tile", x, self.ints([max(n, 1) for n in shape]))

    def unflatten(self, x: ir.Value, axis: int, sizes: Ints) -> ir.Value:
        return self._viewed(x, axis, list(sizes), axis + 1)

    def flatten(self, x: ir.Value, axis: int) -> ir.Value:
        return self._viewed(x, axis, [-1], axis + 2)

    def _viewed(self, x: ir.Value, axis: int, sizes: list[int], rest: int) -> ir.Value:
        """With other axes from one on; those before stay, and those from ``rest`` on, whatever their sizes."""
        behind = self.sizes(x)[rest:]
        shape = [0] * axis + sizes
        if all(isinstance(n, int) for n in behind):
            return self.call("Reshape", x, self.ints([*shape, *behind]))  # type: ignore[list-item]
        if -1 not in sizes and sum(not isinstance(n, int) for n in behind) == 1:
            return self.call("Reshape", x, self.ints([*shape, *(n if isinstance(n, int) else -1 for n in behind)]))
        lengths = self.slice(self.call("Shape", x), 0, rest, None)
        return self.call("Reshape", x, self.concat([self.ints(shape), lengths], 0))

    def permute(self, x: ir.Value, order: Ints) -> ir.Value:
        return self.call("Transpose", x, perm=list(order))

    def concat(self, xs: Sequence[ir.Value], axis: int) -> ir.Value:
        return self.call("Concat", *xs, axis=axis)

    def split(self, x: ir.Value, sizes: Ints, axis: int) -> Sequence[ir.Value]:
        if self.written.opset < 13:
            return self.calls("Split", x, outputs=len(sizes), axis=axis, split=list(sizes))
        return self.calls("Split", x, self.ints(sizes), outputs=len(sizes), axis=axis)

    def pixel_shuffle(self, x: ir.Value, rate: int) -> ir.Value:
        """The order of torch: before opset 11 there is only the other one."""
        if self.written.opset >= 11:
            return self.call("DepthToSpace", x, blocksize=rate, mode="CRD")
        c = self.sizes(x)[1]
        assert isinstance(c, int)
        order = torch.arange(c).reshape(-1, rate * rate).t().flatten()
        x = self.call("Gather", x, self.ints(order.tolist()), axis=1)
        return self.call("DepthToSpace", x, blocksize=rate)

    def ones_like(self, x: ir.Value) -> ir.Value:
        sizes = self.sizes(x)
        if all(isinstance(n, int) for n in sizes):
            return self.constant("ones", torch.ones([int(n) for n in sizes], dtype=self.like.dtype))  # type: ignore[arg-type]
        if self.written.opset < 8:  # nothing makes a value of a shape: of no number is it less than itself
            return self.call("Cast", self.call("Not", self.call("Less", x, x)), to=int(x.dtype or ir.DataType.FLOAT))
        one = torch.ones(1, dtype=self.like.dtype)
        if self.written.opset < 9:
            return self.call("Expand", self.constant("ones", one), self.call("Shape", x))
        return self.call("ConstantOfShape", self.call("Shape", x), value=from_torch(one))

    def _fitted(self, x: ir.Value, axis: int, y: ir.Value, high: bool) -> ir.Value:
        """As many of the first or last positions of an axis as ``y`` has of it, or all."""
        n, at = self._length(y, axis), self.ints([axis])
        if high:
            return self.call("Slice", x, self.call("Neg", n), self.ints([END]), at)
        return self.call("Slice", x, self.ints([0]), n, at)

    def added_to(self, y: ir.Value, axis: int, parts: Sequence[Part[ir.Value]]) -> ir.Value:
        """Constants are padded to where they belong: runtimes do that once, and add once. Else what they are added to
        is cut once, for all of them, and laid end to end again: nothing here is written in place."""
        sizes = self.sizes(y)
        placed, others = list[Part[ir.Value]](), list[Part[ir.Value]]()
        for part in parts:
            value = part.value
            for i in part.short:
                value = self._fitted(value, i, y, is_high(part.spans, i - axis))
            known = all(isinstance(n, int) for s, n in zip(part.spans, sizes[axis:], strict=True) if s is not None)
            (placed if known else others).append(Part(part.spans, value))
        for part in others:
            y = self._in_place_of(y, axis, part)
        if placed and all(part.value.const_value is not None for part in placed):
            whole = [self._placed(part, sizes, axis) for part in placed]
            return self.add(y, reduce(self.add, whole))
        return self._assembled(y, axis, placed, {}) if placed else y

    def _in_place_of(self, y: ir.Value, axis: int, part: Part[ir.Value]) -> ir.Value:
        """Along axes whose length is not known before."""
        (i, span), *rest = [(i, s) for i, s in enumerate(part.spans, start=axis) if s is not None]
        inner = self.slice(y, i, span.start, span.stop or None)
        within = [None if k == i else s for k, s in enumerate(part.spans, start=axis)]
        inner = self.added_to(inner, axis, [Part(within, part.value)]) if rest else self.add(inner, part.value)
        pieces = [self.slice(y, i, 0, span.start)] if span.start else []
        return self.concat([*pieces, inner, *([self.slice(y, i, span.stop, None)] if span.stop else [])], i)

    def _assembled(self, y: ir.Value, axis: int, parts: Sequence[Part[ir.Value]], cuts: dict[int, range]) -> ir.Value:
        """A piece of ``y`` with what belongs there added: cut where a part begins or ends, axis by axis."""
        sizes = self.sizes(y)
        at = next((i for i in range(axis, len(sizes)) if any(p.spans[i - axis] is not None for p in parts)), None)
        if at is None:
            return reduce(self.add, [p.value for p in parts], self._cut(y, cuts))
        n = sizes[at]
        assert isinstance(n, int)
        spans = [range(n)[s.start : s.stop or None] for p in parts if (s := p.spans[at - axis]) is not None]
        ends = sorted({0, n, *(s.start for s in spans), *(s.stop for s in spans)})
        pieces = []
        for a, b in pairwise(ends):
            inside = [q for p in parts if (q := self._within(p, at, axis, len(sizes), n, range(a, b))) is not None]
            pieces.append(self._assembled(y, axis, inside, {**cuts, at: range(a, b)}))
        return self.concat(pieces, at)

    def _within(
        self, part: Part[ir.Value], at: int, axis: int, rank: int, n: int, places: range
    ) -> Part[ir.Value] | None:
        """What of a part belongs to these positions of an axis of length n, which it then fills; None if nothing."""
        span = part.spans[at - axis]
        own = range(n) if span is None else range(n)[span.start : span.stop or None]
        if not (own.start <= places.start and places.stop <= own.stop):
            return None
        value = part.value
        have, dim = self.sizes(value), at - rank
        if len(have) + dim >= 0 and have[dim] == len(own) and len(own) > len(places):
            first = places.start - own.start
            value = self.slice(value, len(have) + dim, first, first + len(places))
        return Part([None if i == at else s for i, s in enumerate(part.spans, start=axis)], value)

    def _cut(self, y: ir.Value, cuts: dict[int, range]) -> ir.Value:
        """All axes in one call, where there is one."""
        if self.written.opset >= 10 and len(cuts) > 1:
            starts, stops = [r.start for r in cuts.values()], [r.stop for r in cuts.values()]
            return self.call("Slice", y, self.ints(starts), self.ints(stops), self.ints(list(cuts)))
        for i, r in cuts.items():
            y = self.slice(y, i, r.start, r.stop)
        return y

    def _placed(self, whole: Part[ir.Value], sizes: Sequence[int | Free], axis: int) -> ir.Value:
        part, rank = whole.value, len(sizes)
        cut = [(i, s) for i, s in enumerate(whole.spans, start=axis) if s is not None]
        have = self.sizes(part)
        shift = rank - len(have)
        lo, hi = [0] * len(have), [0] * len(have)
        for i, span in cut:
            n = sizes[i]
            assert isinstance(n, int)
            if have[i - shift] != len(span):  # one position for all
                part, have = self._widened(part, i - shift, len(span))
            lo[i - shift], hi[i - shift] = span.start, n - span.stop
        if self.written.opset < 11:
            return self.call("Pad", part, pads=[*lo, *hi])
        return self.call("Pad", part, self.ints([*lo, *hi]))

    def _widened(self, part: ir.Value, axis: int, n: int) -> tuple[ir.Value, tuple[int | Free, ...]]:
        tensor = part.const_value
        if tensor is not None and part.name is not None:
            array = np.repeat(tensor.numpy(), n, axis)
            wide = self.initializer(part.name, ir.tensor(array, tensor.dtype))
        else:
            wide = self.concat([part] * n, axis)
        return wide, self.sizes(wide)

    def put_into(self, y: ir.Value, axis: int, n: int, high: bool, part: ir.Value) -> ir.Value:
        """The rest of y and the part, end to end; where y is shorter than n, the part is all of it."""
        length = self.sizes(y)[axis]
        if isinstance(length, int) and length <= n:
            return part
        if high:
            return self.concat([self.slice(y, axis, 0, -n), part], axis)
        return self.concat([part, self.slice(y, axis, n, None)], axis)

    def periodic(self, values: ir.Value, axis: int, period: int, y: ir.Value) -> ir.Value:
        n = self.sizes(y)[axis + 1]
        if isinstance(n, int) and values.const_value is not None and values.name is not None:
            array = values.const_value.numpy()
            laid = np.take(array, [i % period for i in range(n)], axis)
            return self.initializer(values.name, ir.tensor(laid, values.const_value.dtype))
        if isinstance(n, int):
            index = self.ints(i % period for i in range(n))
        else:
            index = self._positions(self._length(y, axis + 1))
            index = self.call("Mod", index, self.number(period))
        return self.call("Gather", values, index, axis=axis)

    def _positions(self, length: ir.Value) -> ir.Value:
        """0, 1, … up to a length that is not known: before opset 11, where that many ones are not zero."""
        if self.written.opset >= 11:
            first, step = (self.number(n) for n in (0, 1))
            return self.call("Range", first, self.call("Reshape", length, self.ints([])), step)
        one = ir.tensor(np.ones(1, np.int64))
        found = self.call("NonZero", self.call("ConstantOfShape", length, value=one))
        return self.call("Reshape", found, self.ints([-1]))


def _attribute(name: str, value: Any) -> ir.Attr:
    """Whole numbers, as nearly all are, as such: onnx_ir finds out what a value is more slowly than it makes a node."""
    if isinstance(value, int):
        return ir.AttrInt64(name, value)
    if isinstance(value, list) and all(isinstance(v, int) for v in value) and value:
        return ir.AttrInt64s(name, value)
    return ir.convenience.convert_attribute(name, value)
