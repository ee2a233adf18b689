"""An ONNX graph, and those inside it, as what `lift` reads and `lower` writes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import onnx
import onnx_ir as ir
import torch

from convfold.algebra.spatial import Spatial
from convfold.errors import InvalidInput, NotFoldable
from convfold.frontends.onnx.known import Knowledge, bodies, constant_tensor, evaluate, only_typed, overridable, typed
from convfold.frontends.onnx.operators import Onnx, Written
from convfold.frontends.onnx.sizes import Free
from convfold.frontends.onnx.tensors import DTYPES, from_torch, to_torch
from convfold.layers import ONNX, Call, Convolved, Reading, Step, Value
from convfold.program import OUTPUT
from convfold.region import Signal

#: Calls that do the same to a part of the signal: none of their arguments is a size.
_ANY_SIZE = {"DepthToSpace", "SpaceToDepth", "Pad", "Gather"}

#: What a call that takes others' words for its own uses instead of its scale and shift, where those are taken away.
_ONES = {"Scale", "scale"}

#: Types without a width.
_TEXT = {ir.DataType.STRING, ir.DataType.UNDEFINED}


class OnnxProgram:
    """A `Program` whose values are those of the graphs, by their names; inner graphs see outer values by aliases."""

    def __init__(self, model: ir.Model, trials: Sequence[Knowledge]) -> None:
        self.model, self.trials = model, trials
        self.written = Written(model, trials)
        self.values: dict[str, ir.Value] = {}
        self.names: dict[tuple[ir.Value, ir.Graph | None], str] = {}
        self.aliases: dict[ir.Value, list[str]] = {}
        self.nodes: dict[str, ir.Node] = {}  # by the name of their call
        self.call_of: dict[ir.Node, str] = {}
        self.parts: dict[str, tuple[str, int]] = {}
        self.readers: dict[str, list[str]] = {}
        self.owners: dict[ir.Graph, ir.Node] = {}  # of inner graphs
        self.calls: list[str] = []
        self.asking: set[ir.Node] = set()  # calls on signals whose result is known
        self.placed: dict[str, int] = {}
        self._values: dict[str, Value] = {}
        self._contents: dict[ir.Value, np.ndarray[Any, Any]] = {}
        self._quantised: dict[ir.Value, str | None] = {}
        self.overridable = overridable(model)
        self.versions = dict(model.opset_imports)
        self._index(model.graph, "")

    # --- names -------------------------------------------------------------------------------------------------------

    def _index(self, graph: ir.Graph, path: str) -> None:
        for value in (*graph.inputs, *graph.initializers.values()):
            self._call(value, graph, f"{path}{value.name}")
        for node in graph:
            for i, inner in enumerate(bodies(node)):
                self.owners[inner] = node
                self._index(inner, f"{path}{node.name or node.outputs[0].name}[{i}].")
            self._index_node(node, graph, path)
        for value in graph.outputs:
            self.readers.setdefault(self.name(value, graph), []).append(OUTPUT)

    def _index_node(self, node: ir.Node, graph: ir.Graph, path: str) -> None:
        outputs = [y for y in node.outputs if y.name]
        names = [f"{path}{y.name}" for y in outputs] or [f"{path}{node.name}!{len(self.nodes)}"]  # it only acts
        several = len(node.outputs) > 1 and bool(outputs)
        call = f"{path}{node.name or names[0]}()" if several else names[0]
        while several and call in self.values:
            call += "'"
        self.nodes[call], self.call_of[node] = node, call
        known = bool(outputs) and all(self._constant(y) and not y.is_graph_output() for y in outputs)
        for x in dict.fromkeys(x for x in node.inputs if x is not None):
            if known and not self._constant(x):  # it asks for sizes or the type, which are known: nothing is computed
                self.asking.add(node)
            else:
                self.readers.setdefault(self.name(x, graph), []).append(call)
        for value, owner in self._outer(node, graph):
            self.readers.setdefault(self.name(value, owner), []).append(call)
        is_read = bool(outputs) and node.domain == "" and node.op_type in ONNX and not self._constant(node.outputs[0])
        if several:
            self.values[call] = outputs[0]
            self.readers[call] = names
        if is_read:
            self.calls.append(call)
        for y, name in zip(outputs, names, strict=False):
            self._call(y, graph, name)
            self.nodes.setdefault(name, node)
            if several:
                self.parts[name] = (call, list(node.outputs).index(y))
                if is_read:
                    self.calls.append(name)

    def _call(self, value: ir.Value, graph: ir.Graph, name: str) -> None:
        self.values[name] = value
        self.names[value, graph] = name

    def name(self, value: ir.Value, graph: ir.Graph) -> str:
        """What a value is called in a graph; one of an outer graph by an alias: nothing is moved into the inner one."""
        if (value, graph) not in self.names:
            owner = self.owners[graph]
            outer = self.name(value, self._graph(owner))
            branch = list(bodies(owner)).index(graph)  # another alias in each: none may use what another computes
            alias = f"{outer}@{self.call_of.get(owner, owner.outputs[0].name)}[{branch}]"
            self._call(value, graph, alias)
            self.aliases.setdefault(value, []).append(alias)
        return self.names[value, graph]

    def _outer(self, node: ir.Node, graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.Graph]]:
        """Values of this graph and of those around it that the graphs inside a call read."""
        for inner in bodies(node):
            read = {x for n in inner.all_nodes() for x in n.inputs if x is not None} | set(inner.outputs)
            for value in read:
                if (value, graph) in self.names:
                    yield value, graph

    # --- read --------------------------------------------------------------------------------------------------------

    @cached_property
    def listed(self) -> list[str]:
        """Constants that are no more than that are none."""
        return [call for call, node in self.nodes.items() if node.op_type != "Constant"]

    def is_constant(self, name: str) -> bool:
        return self._constant(self.values[name])

    def has(self, name: str) -> bool:
        return name in self.values

    @property
    def given(self) -> list[str]:
        """The model's inputs."""
        return [x.name or "" for x in self.model.graph.inputs]

    @property
    def returned(self) -> list[str]:
        """The model's outputs."""
        return [y.name or "" for y in self.model.graph.outputs]

    def part_of(self, call: str) -> tuple[str, int] | None:
        return self.parts.get(call)

    def read(self, call: str) -> Reading | None:
        node = self.nodes[call]
        graph = self._graph(node)
        self._refuse_overridable(node)
        tensors = [x for x in (*node.inputs, *node.outputs[:1]) if x is not None and x.name]
        if any(self.written.sizes(x) is None for x in tensors):
            raise NotFoldable("not-affine", "a size is known at run time only")
        out = self.value(call)
        if not out.dtype.is_floating_point:
            return None
        signals = [x for x in (*node.inputs, *node.outputs) if x is not None and x.name and not self._constant(x)]
        if any(0 in s for x in signals for t in self.trials if (s := t[x].shape) is not None):
            raise NotFoldable("not-affine", "a signal without elements")
        reading = ONNX[node.op_type](Call(call, self._arguments(node, graph), out, int, node.op_type))
        if out.dtype is torch.float64 and not self._convolves:
            reading = (
                [s and _no_convolution(s) for s in reading] if isinstance(reading, list) else _no_convolution(reading)
            )
        if len(node.outputs) > 1 and isinstance(reading, Step):  # others of its outputs are its own affair
            return [reading]
        return reading

    @cached_property
    def _convolves(self) -> bool:
        """Is there a convolution? Then whatever runs the model has it in its type."""
        return any(node.op_type in ("Conv", "ConvTranspose") for graph in self.model.graphs() for node in graph)

    def _refuse_overridable(self, node: ir.Node) -> None:
        for x in node.inputs:
            if x in self.overridable:
                raise NotFoldable(
                    "not-affine", f"{x.name} is an input of the model too, and callers may give it another value"
                )

    def _refuse_quantised(self, x: ir.Value) -> None:
        """A weight stored in eight bits and widened where it is used: composed with others it would be stored wide."""
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
            more = [i for i in inputs if i is not None and i not in seen and self._constant(i)]
            seen.update(more)
            todo.extend(more)
        return None

    def _graph(self, node: ir.Node) -> ir.Graph:
        assert isinstance(node.graph, ir.Graph)
        return node.graph

    def _arguments(self, node: ir.Node, graph: ir.Graph) -> dict[str, Any]:
        """Inputs and attributes by the schema's names; an input that is left out is None."""
        schema = onnx.defs.get_schema(node.op_type, self.versions[""], "")
        given: dict[str, Any] = {}
        formal = list(schema.inputs)
        variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
        for i, parameter in enumerate(formal):
            if parameter.option == variadic:
                given[parameter.name] = [self._argument(x, graph) for x in node.inputs[i:]]
            else:
                given[parameter.name] = self._argument(node.inputs[i], graph) if i < len(node.inputs) else None
        for name, attribute in schema.attributes.items():
            own = node.attributes.get(name)
            if own is not None:
                given[name] = own.value if not own.is_ref() else None
            elif attribute.default_value.name:
                given[name] = onnx.helper.get_attribute_value(attribute.default_value)
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in given.items()}

    def _argument(self, x: ir.Value | None, graph: ir.Graph) -> Value | None:
        return None if x is None else self.value(self.name(x, graph))

    def refuse_infinite(self, call: str) -> NoReturn:
        """A weight of a layer that is NaN or infinite is a mistake; another constant (a mask of −inf) may be meant."""
        node = self.nodes[call]
        for x in node.inputs:
            if x is not None and self._constant(x) and not bool(to_torch(self._content(x)).isfinite().all()):
                if node.op_type in ("Conv", "ConvTranspose", "Gemm", "BatchNormalization"):
                    what = "NaN" if bool(to_torch(self._content(x)).isnan().any()) else "infinity"
                    raise InvalidInput(
                        f"weight {x.name!r} contains {what}; nothing computed with it can be checked. Fix the weights."
                    )
                raise NotFoldable("not-affine", f"{x.name} is infinite or not a number")
        raise NotFoldable("not-affine", "a constant is infinite or not a number")

    def value(self, name: str) -> Value:
        if name not in self._values:
            x = self.values[name]
            known = self.trials[0][x]
            symbols = self.written.sizes(x) or ()
            shape = known.shape or ()
            free = frozenset(i for i, n in enumerate(symbols) if isinstance(n, Free))
            dtype = DTYPES.get(known.dtype) if known.dtype is not None else None
            whole = torch.int64 if dtype is None else dtype
            content = (lambda: self._numbers(x)) if self._constant(x) else None
            self._values[name] = Value(name, Signal(shape, free, whole.itemsize), symbols, whole, content)
        return self._values[name]

    def _constant(self, x: ir.Value) -> bool:
        """In all trials, and of one shape and content; what a caller may give another value is none."""
        known = [trial[x] for trial in self.trials]
        if not all(k.constant for k in known):
            return False
        first = known[0]
        return all(k.shape == first.shape and _same(k.content, first.content) for k in known[1:])

    def _numbers(self, x: ir.Value) -> torch.Tensor:
        if self.trials[0][x].dtype in DTYPES:
            self._refuse_quantised(x)
        return to_torch(self._content(x))

    def _content(self, x: ir.Value) -> Any:
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
                None
                if x is None or k is None
                else typed(k).content
                if only_typed(node, i)
                else _array(self._content(x))
                for i, (x, k) in enumerate(zip(node.inputs, known, strict=True))
            ]
            for y, array in zip(node.outputs, evaluate(node, arrays, self.versions), strict=True):
                self._contents[y] = array
        return self._contents[x]

    def inputs(self, call: str) -> Sequence[str]:
        node = self.nodes[call]
        if call in self.parts:
            return [self.parts[call][0]]
        return [self.name(x, self._graph(node)) for x in dict.fromkeys(node.inputs) if x is not None]

    def users(self, name: str) -> Sequence[str]:
        return self.readers.get(name, [])

    def used(self, call: str) -> bool:
        return (
            call == OUTPUT or bool(self.readers.get(call)) or any(bodies(self.nodes[call])) or call not in self.values
        )

    def path(self, call: str) -> str:
        """Where exporters put the module: a name with slashes is one; else there is none."""
        node = self.nodes.get(call)
        name = (node.name or "") if node is not None else ""
        return name.strip("/").rpartition("/")[0].replace("/", ".")

    def word(self, call: str) -> str:
        return self.nodes[call].op_type

    def owner(self, call: str) -> str:
        node = self.nodes[call]
        weights = [x.name for x in node.inputs if x is not None and x.name and self._constant(x)]
        return weights[0].removesuffix(".weight") if weights else call

    def sized(self, call: str) -> bool:
        return self.nodes[call].op_type not in _ANY_SIZE

    def pass_on(self, call: str, value: str) -> None:
        self._replace(self.values[call], self.values[value], call, value)
        first = self._first(call)
        users = self.readers.get(first, [])
        kept, others = [u for u in users if u == OUTPUT], [u for u in users if u != OUTPUT]
        before = [u for u in self.readers.get(value, []) if kept or u != call]  # what is returned is a call still
        self.readers[value], self.readers[first] = [*before, *others], kept

    def _first(self, call: str) -> str:
        """What a call's first output is called: as the call is, or as a part of it."""
        return next((name for name, (whole, i) in self.parts.items() if whole == call and i == 0), call)

    # --- written -----------------------------------------------------------------------------------------------------

    def node(self, name: str) -> ir.Value:
        return self.values[name]

    @contextmanager
    def before(self, call: str) -> Iterator[Onnx]:
        node = self.nodes[call]
        dtype = self.value(call).dtype
        prefix = self.values[call].name or call
        yield Onnx(self.written, node, self._graph(node), torch.empty(0, dtype=dtype), prefix, self._again)

    def _again(self, ops: Onnx, call: str, x: ir.Value, shape: Sequence[int] | None) -> ir.Value:
        """The call on another signal, of another number of channels perhaps; ``shape``: what it is to give."""
        from convfold.frontends.onnx.again import again

        return again(ops, self.nodes[call], self.values[call], x, shape)

    def bare(self, call: str, replaced: dict[str, Any]) -> ir.Value:
        """A norm before its scale and shift: with ones and without, or zeros where it has to have one."""
        node = self.nodes[call]
        schema = onnx.defs.get_schema(node.op_type, self.versions[""], "")
        names = [p.name for p in schema.inputs]
        with self.before(call) as ops:
            inputs = list(node.inputs)
            for i, name in enumerate(names[: len(inputs)]):
                if name in replaced and (x := inputs[i]) is not None:
                    like = to_torch(self._content(x))
                    fill = torch.ones_like if name in _ONES else torch.zeros_like
                    inputs[i] = ops.initializer(f"{x.name}_folded", from_torch(fill(like)))
            attributes = dict(node.attributes)
            return ops.insert(ir.Node("", node.op_type, inputs, attributes.values(), num_outputs=1))[0]

    def replace(self, call: str, new: ir.Value) -> None:
        old = self.values[call]
        self._replace(old, new, call, None)
        for alias in self.aliases.get(old, ()):
            self.values[alias] = new

    def _replace(self, old: ir.Value, new: ir.Value, call: str, name: str | None) -> None:
        """Who reads the one reads the other, which gets its name if it is new; outputs of a graph keep theirs."""
        if old is new:
            return
        graph, maker = self._graph(self.nodes[call]), new.producer()
        if old.is_graph_output():
            if maker is not None and maker.graph is graph and not new.is_graph_output():
                self._rename(old, new)
                return
            if name is None:  # what was computed is there already: handed on by a call of its own
                copy = ir.node("Identity", [new])
                graph.insert_before(self.nodes[call], copy)
                self._rename(old, copy.outputs[0])
                return
            for use in list(old.uses()):
                use.node.replace_input_with(use.idx, new)
            return
        fresh = name is None and maker is not None and "_folded" in (new.name or "")
        ir.convenience.replace_all_uses_with(old, new)
        if fresh:
            old.name, new.name = new.name, old.name

    def _rename(self, old: ir.Value, new: ir.Value) -> None:
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        old.name, new.name = self.written.name(f"{old.name}_before"), old.name
        new.type, new.shape = old.type, old.shape
        new.metadata_props.update(old.metadata_props)

    def gone(self, calls: Sequence[str]) -> None:
        """The sweep finds them where nothing reads them; who asks them for sizes gets an answer in their place."""
        for call in calls:
            for user in dict.fromkeys(use.node for use in self.values[call].uses()):
                for y in user.outputs if user in self.asking else ():
                    answer = ir.Value(name=self.written.name(f"{y.name}_folded"), const_value=_tensor(self._content(y)))
                    assert answer.const_value is not None
                    answer.type, answer.shape = ir.TensorType(answer.const_value.dtype), y.shape
                    answer.const_value.name = answer.name
                    self._graph(user).register_initializer(answer)
                    for trial in self.trials:
                        trial.constant(answer)
                    ir.convenience.replace_all_uses_with(y, answer)


def _same(a: Any, b: Any) -> bool:
    """Two contents, each perhaps not computed yet."""
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _tensor(x: Any) -> Any:
    return ir.tensor(x) if isinstance(x, np.ndarray) else ir.tensor(x.numpy())


def _no_convolution(reading: Any) -> Any:
    """In float64, for which runtimes have none: maps of space stay what they are."""
    if not isinstance(reading, Step):
        return reading
    operation = reading.operation
    if isinstance(operation, Convolved) and operation.operator.dims:
        raise NotFoldable("not-affine", "runtimes have no convolution of float64 that it could become")
    if isinstance(operation, Spatial):
        operation = replace(operation, convolution=None)
    return replace(reading, operation=operation, inputs=tuple(map(_no_convolution, reading.inputs)))


def _array(x: Any) -> np.ndarray[Any, Any]:
    return x if isinstance(x, np.ndarray) else x.numpy()
