"""Values that are known whatever the inputs: in all trials, seen through the calls that compute them from others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from convfold.errors import NotFoldable
from convfold.frontends.onnx import kept
from convfold.frontends.onnx.known import Knowledge, constant_tensor, evaluate, only_typed, typed
from convfold.frontends.onnx.tensors import DTYPES, to_torch

#: Types without a width.
_TEXT = {ir.DataType.STRING, ir.DataType.UNDEFINED}

#: Calls that compute a number of numbers at the same place.
_ELEMENTWISE = {
    "Abs", "Add", "Cast", "Ceil", "Cos", "Div", "Exp", "Floor", "Identity", "Log", "Mul", "Neg", "Pow", "Reciprocal",
    "Sigmoid", "Sin", "Sqrt", "Sub", "Tanh",
}  # fmt: skip

_BROADCAST = _ELEMENTWISE | {"ConstantOfShape", "Expand", "Tile", "Transpose"}


class Constants:
    """``x in constants``: is it one?"""

    def __init__(self, model: ir.Model, trials: Sequence[Knowledge]) -> None:
        self.model = model
        self.trials, self.others, self.versions = trials, trials[1:], dict(model.opset_imports)
        self._contents: dict[ir.Value, np.ndarray[Any, Any]] = {}
        self._quantised: dict[ir.Value, str | None] = {}

    def __contains__(self, x: object) -> bool:
        """In all trials, and of one shape and content; what a caller may give another value is none."""
        if not isinstance(x, ir.Value) or not (first := self.trials[0][x]).constant:
            return False
        return not self.others or all(
            k.constant and k.shape == first.shape and _same(k.content, first.content)
            for k in (trial[x] for trial in self.others)
        )

    def numbers(self, x: ir.Value) -> torch.Tensor:
        if self.trials[0][x].dtype in DTYPES:
            self._refuse_quantised(x)
        return to_torch(self.content(x))

    def broadcast(self, x: ir.Value) -> Callable[[], torch.Tensor] | None:
        """What a constant is; of one as large as sizes that are free say, one along those axes; None of another.

        So are expanded, tiled and transposed ones, those that are one number everywhere, and what is computed of them
        number by number.
        """
        return (lambda: self.numbers(x)) if x in self else self._broadcast.get(x)

    @cached_property
    def _broadcast(self) -> dict[ir.Value, Callable[[], torch.Tensor]]:
        found: dict[ir.Value, Callable[[], torch.Tensor]] = {}
        self.__dict__["_broadcast"] = found  # those after it ask for those before it
        for graph in kept.graphs(self.model):
            for node in graph:
                known = node.op_type not in _BROADCAST or node.outputs[0] in self
                if not known and (content := self._broadcast_by(node.outputs[0])) is not None:
                    found[node.outputs[0]] = content
        return found

    def _broadcast_by(self, x: ir.Value) -> Callable[[], torch.Tensor] | None:
        """By its call, of inputs that are known to be such or not."""
        node = x.producer()
        if node is None or node.domain:
            return None
        if node.op_type in _ELEMENTWISE:
            parts = [self.broadcast(i) for i in node.inputs if i is not None]
            known = len(parts) == len(node.inputs) and all(part is not None for part in parts)
            return (lambda: self._computed(node, parts)) if known else None  # type: ignore[arg-type]
        if node.op_type == "ConstantOfShape":
            value = node.attributes.get("value")
            return lambda: torch.zeros(()) if value is None else to_torch(value.as_tensor().numpy()).reshape(())
        if node.op_type not in ("Expand", "Tile", "Transpose"):
            return None
        whole = node.inputs[0]
        assert whole is not None
        content = self.broadcast(whole)
        shapes = [trial[whole].shape for trial in self.trials]
        if node.op_type == "Expand" or content is None:
            return content
        if None in shapes:
            return None
        before = _common([s for s in shapes if s is not None])

        def long() -> torch.Tensor:
            return content().expand([n or 1 for n in before])

        if node.op_type == "Transpose":
            return lambda: self._computed(node, [long])
        counts = [trial[node.inputs[1]].content for trial in self.trials]  # type: ignore[index]
        if any(c is None for c in counts):
            return None
        times = _common([[int(n) for n in c] for c in counts if c is not None])
        if any(count is None and n != 1 for n, count in zip(before, times, strict=True)):
            return None
        return lambda: long().repeat([count or 1 for count in times])

    def _computed(self, node: ir.Node, parts: Sequence[Callable[[], torch.Tensor]]) -> torch.Tensor:
        (y,) = evaluate(node, [part().numpy() for part in parts], self.versions)
        return torch.as_tensor(y)

    def content(self, x: ir.Value) -> Any:
        """Of a constant; where it is computed from others, computed once."""
        small = self.trials[0][x].content
        if small is not None:
            return small
        tensor = constant_tensor(x)
        if tensor is not None:
            return tensor
        if x not in self._contents:
            node = x.producer()
            assert node is not None
            known = [None if i is None else self.trials[0][i] for i in node.inputs]
            arrays = [
                None if x is None or k is None else typed(k).content if only_typed(node, i) else _array(self.content(x))
                for i, (x, k) in enumerate(zip(node.inputs, known, strict=True))
            ]
            for y, array in zip(node.outputs, evaluate(node, arrays, self.versions), strict=True):
                self._contents[y] = array
        return self._contents[x]

    def _refuse_quantised(self, x: ir.Value) -> None:
        """A weight stored in eight bits and widened where it is used: composed with others it would be stored wide."""
        if x.producer() is None:  # stored as it is
            return
        if x not in self._quantised:
            self._quantised[x] = self._narrow(x)
        if (narrow := self._quantised[x]) is not None:
            raise NotFoldable("quantised", narrow)

    def _narrow(self, x: ir.Value) -> str | None:
        """What it is computed from that is stored in eight bits or fewer, truth values aside."""
        todo, seen = deque([x]), {x}
        while todo:
            y = todo.popleft()
            dtype = self.trials[0][y].dtype
            if dtype is not None and dtype not in _TEXT and dtype.bitwidth <= 8 and dtype != ir.DataType.BOOL:
                return f"{y.name} is stored as {dtype.name.lower()}"
            node = y.producer()
            inputs = () if node is None else node.inputs
            more = [i for i in inputs if i is not None and i not in seen and i in self]
            seen.update(more)
            todo.extend(more)
        return None

    def tensor(self, x: ir.Value) -> Any:
        """Its content as one of ONNX."""
        content = self.content(x)
        return ir.tensor(content if isinstance(content, np.ndarray) else content.numpy())


def _common(rows: Sequence[Sequence[int]]) -> list[int | None]:
    """What all rows say, None where they differ."""
    return [column[0] if len(set(column)) == 1 else None for column in zip(*rows, strict=True)]


def _same(a: Any, b: Any) -> bool:
    """Two contents, each perhaps not computed yet."""
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _array(x: Any) -> np.ndarray[Any, Any]:
    return x if isinstance(x, np.ndarray) else x.numpy()
