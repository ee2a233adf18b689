"""An exported graph as what `lift` reads and `lower` writes."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NoReturn

from torch import Tensor, nn
from torch.fx import Node as FxNode
from torch.fx.node import map_aggregate

from convfold.errors import InvalidInput, NotFoldable
from convfold.frontends.torch.constants import Constants
from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.insert import origin
from convfold.frontends.torch.measure import packet
from convfold.frontends.torch.operators import Aten, Written
from convfold.frontends.torch.sizes import ExampleSizes, symbol
from convfold.frontends.torch.unlift import Calls
from convfold.frontends.torch.written import overwritten
from convfold.layers import ATEN, Call, Reading, Value
from convfold.program import OUTPUT
from convfold.region import Signal

#: Calls that do the same to a part of the signal: none of their arguments is a size.
_ANY_SIZE = {
    f"aten.{name}"
    for name in (
        "pixel_shuffle.default", "pixel_unshuffle.default", "channel_shuffle.default", "constant_pad_nd.default",
        "index.Tensor", "index_select.default",
    )
}  # fmt: skip


def path_of(node: FxNode) -> str:
    """The module path of a node, '' at the root."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for key, entry in stack.items() if "_empty_nn_module_stack" not in key]
    return paths[-1] if paths else ""


def _has_tensors(values: Any) -> bool:
    found = values if isinstance(values, list | tuple) else [values]
    return any(isinstance(v, Tensor) for v in found)


class FxProgram:
    """A `Program` whose values are graph nodes."""

    def __init__(self, calls: Calls, constants: Constants, sizes: ExampleSizes) -> None:
        self.graph, self.constants, self.sizes = calls.graph, constants, sizes
        self.nodes: dict[str, FxNode] = {n.name: n for n in calls.graph.nodes}
        self.kept = overwritten(calls.graph)
        self.calls = [n.name for n in calls.graph.nodes if self._is_read(n)]
        #: Weights of steps that are computed from weights, and the module they belong to.
        self.computed: dict[FxNode, str] = {}
        #: Calls that nothing will read.
        self.replaced: set[FxNode] = set()
        self.training: set[str] = set()
        #: The weights that what belongs to a module reads.
        self.sources: dict[str, set[str]] = {}
        self.written = Written(calls, self.training, self.sources)
        self._values: dict[FxNode, Value] = {}

    def _is_read(self, n: FxNode) -> bool:
        if n.op != "call_function" or n in self.constants or n in self.kept:
            return False
        if any("val" not in x.meta for x in n.all_input_nodes):  # new, and not the same at all sizes
            return False
        return n.target is operator.getitem or str(n.target) in ATEN

    # --- read ------------------------------------------------------------------------------------------------------

    @cached_property
    def listed(self) -> list[str]:
        """Sizes are none."""
        return [n.name for n in self.graph.nodes if n.op == "call_function" and _has_tensors(n.meta.get("val"))]

    def is_constant(self, name: str) -> bool:
        return self.nodes[name] in self.constants

    def has(self, name: str) -> bool:
        return name in self.nodes

    @property
    def given(self) -> list[str]:
        """The model's inputs."""
        return [n.name for n in self.graph.nodes if n.op == "placeholder"]

    @property
    def returned(self) -> list[str]:
        """The model's outputs."""
        (output,) = (n for n in self.graph.nodes if n.op == "output")
        return [n.name for n in output.all_input_nodes]

    def before_value(self, name: str) -> list[str]:
        """The calls on its inputs that a value is computed by, in order."""
        found, todo = set[FxNode](), [self.nodes[name]]
        while todo:
            node = todo.pop()
            if node not in found and node not in self.constants:
                found.add(node)
                todo += node.all_input_nodes
        return [n.name for n in self.graph.nodes if n in found and n.op == "call_function"]

    def is_tensor(self, call: str) -> bool:
        return isinstance(self.nodes[call].meta.get("val"), Tensor)

    def part_of(self, call: str) -> tuple[str, int] | None:
        node = self.nodes[call]
        if node.target is not operator.getitem:
            return None
        whole, i = node.args
        assert isinstance(whole, FxNode) and isinstance(i, int)
        return whole.name, i

    def read(self, call: str) -> Reading | None:
        node = self.nodes[call]
        self._check_shapes(node)
        out = self._out(node)
        if out is None or not out.dtype.is_floating_point or out.constant:
            return None
        return ATEN[str(node.target)](Call(call, self._arguments(node), out, self.sizes.number))

    def _check_shapes(self, node: FxNode) -> None:
        """Of a signal without elements no axis holds channels; of one whose size is not known yet none is fixed."""
        for t in (n.meta.get("val") for n in (node, *node.all_input_nodes)):
            if isinstance(t, Tensor) and not self.sizes.are_known(t.shape):
                raise NotFoldable("not-affine", "a size is known at run time only")
            if isinstance(t, Tensor) and any(self.sizes.number(n) == 0 for n in t.shape):
                raise NotFoldable("not-affine", "a signal without elements")

    def refuse_infinite(self, call: str) -> NoReturn:
        """A weight that is NaN or infinite is a mistake; another constant (a mask of −inf) may be meant, and stays."""
        node = self.nodes[call]
        found = {name: t for name, t in self.constants.read_by(node).items() if not bool(t.isfinite().all())}
        for name, t in found.items():
            if isinstance(t, nn.Parameter) or "batch_norm" in str(node.target):
                what = "NaN" if bool(t.isnan().any()) else "infinity"
                raise InvalidInput(
                    f"weight {name!r} contains {what}; nothing computed with it can be checked. Fix the weights."
                )
        raise NotFoldable("not-affine", f"{next(iter(found), 'a constant')} is infinite or not a number")

    def value(self, name: str) -> Value:
        found = self._out(self.nodes[name])
        assert found is not None
        return found

    def _out(self, node: FxNode) -> Value | None:
        """The tensor a node computes; of several the first that is used."""
        if (own := self._value(node)) is not None:
            return own
        return next((self._value(user) for user in node.users if user.target is operator.getitem), None)

    def _value(self, node: FxNode) -> Value | None:
        if node not in self._values:
            t = node.meta.get("val")
            if not isinstance(t, Tensor):
                return None
            shape = tuple(self.sizes.number(n) for n in t.shape)
            free = frozenset(i for i, n in enumerate(t.shape) if is_free(n))
            content = self.constants.broadcast(node)
            signal = Signal(shape, free, t.element_size())
            self._values[node] = Value(node.name, signal, tuple(map(symbol, t.shape)), t.dtype, content)
        return self._values[node]

    def _arguments(self, node: FxNode) -> dict[str, Any]:
        """Arguments by the schema's names, defaults filled in, nodes as values (or numbers, where symbolic)."""

        def seen(a: Any) -> Any:
            if not isinstance(a, FxNode):
                return a
            v = a.meta.get("val")
            return self._value(a) if isinstance(v, Tensor) else v

        given = {}
        for i, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
            if i < len(node.args):
                given[argument.name] = map_aggregate(node.args[i], seen)
            elif argument.name in node.kwargs:
                given[argument.name] = map_aggregate(node.kwargs[argument.name], seen)
            else:
                given[argument.name] = argument.default_value if argument.has_default_value() else None
        return given

    def inputs(self, call: str) -> Sequence[str]:
        return [n.name for n in self.nodes[call].all_input_nodes]

    def users(self, name: str) -> Sequence[str]:
        users = () if name == OUTPUT else self.nodes[name].users
        return [OUTPUT if n.op == "output" else n.name for n in users]

    def used(self, call: str) -> bool:
        return call == OUTPUT or bool(self.nodes[call].users) or self.nodes[call].is_impure()

    def path(self, call: str) -> str:
        return path_of(self.nodes[call])

    def word(self, call: str) -> str:
        node = self._whole(self.nodes[call])
        if node.op != "call_function":
            return str(node.target)
        return str(packet(node.target)).rpartition(".")[2].strip("_")

    def owner(self, call: str) -> str:
        node = self._whole(self.nodes[call])
        weights = [a for a in node.all_input_nodes if a in self.constants]
        owners = [str(a.target).rpartition(".")[0] for a in weights if a.op == "get_attr"]
        source = owners[0] if owners else path_of(self.nodes[call]) or call
        if any(self.constants.requires_grad(a) for a in weights):
            self.training.add(source)
        self.sources.setdefault(source, set()).update(self.constants.read_by(node))
        self.computed.update((a, source) for a in weights if a.op != "get_attr")
        return source

    def _whole(self, node: FxNode) -> FxNode:
        if node.target is not operator.getitem:
            return node
        assert isinstance(node.args[0], FxNode)
        return node.args[0]

    def sized(self, call: str) -> bool:
        return str(self.nodes[call].target) not in _ANY_SIZE

    def pass_on(self, call: str, value: str) -> None:
        """A call that hands its input on (dropout in eval mode, a copy, x + 0) is that input to whoever reads it.

        A functional graph has no aliasing to preserve; only the caller does not get an input or a weight back.
        """
        node, source = self.nodes[call], self.nodes[value]
        returned = any(user.op == "output" for user in node.users)
        if not (returned and source.op in ("placeholder", "get_attr")):
            node.replace_all_uses_with(source)

    # --- written -----------------------------------------------------------------------------------------------------

    def node(self, name: str) -> FxNode:
        return self.nodes[name]

    @contextmanager
    def before(self, call: str) -> Iterator[Aten]:
        at = self.nodes[call]
        with self.graph.inserting_before(at):
            yield Aten(self.written, self.nodes, at.meta["val"], path_of(at), origin(at))

    def bare(self, call: str, replaced: dict[str, Any]) -> FxNode:
        norm = self.nodes[call]
        args, kwargs = list(norm.args), dict(norm.kwargs)
        for i, argument in enumerate(norm.target._schema.arguments):  # type: ignore[union-attr]
            if argument.name in replaced:
                if i < len(args):
                    args[i] = replaced[argument.name]
                else:
                    kwargs.pop(argument.name, None)
        with self.graph.inserting_before(norm):
            new = self.graph.call_function(norm.target, tuple(args), kwargs)  # type: ignore[arg-type]
        new.meta = dict(norm.meta)
        return new

    def replace(self, call: str, new: FxNode) -> None:
        old = self.nodes[call]
        if "val" not in new.meta:  # newly made, not a value that was there already
            new.meta = dict(old.meta)
        old.replace_all_uses_with(new)

    def gone(self, calls: Sequence[str]) -> None:
        self.replaced.update(self.nodes[call] for call in calls)

    def evaluate(self, weight: FxNode) -> str:
        """Put in place of calls on weights alone what they compute; the module that it belongs to."""
        source, like = self.computed[weight], weight.meta["val"]
        with self.graph.inserting_before(weight):
            node = self.written.weight(
                self.constants[weight].to(like.dtype), source, self.constants.requires_grad(weight)
            )
        node.meta = dict(weight.meta)
        weight.replace_all_uses_with(node)
        return source
