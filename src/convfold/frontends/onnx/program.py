"""An ONNX graph, and those inside it, as what `lift` reads and `lower` writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, cached_property
from typing import Any, NoReturn

import onnx
import onnx_ir as ir
import torch

from convfold.algebra.spatial import Spatial
from convfold.errors import InvalidInput, NotFoldable
from convfold.frontends.onnx import kept
from convfold.frontends.onnx.again import again, along
from convfold.frontends.onnx.constants import Constants
from convfold.frontends.onnx.index import Index, graph_of
from convfold.frontends.onnx.known import Knowledge, bodies, overridable
from convfold.frontends.onnx.operators import Onnx
from convfold.frontends.onnx.sizes import Free, empty
from convfold.frontends.onnx.tensors import DTYPES, from_torch, to_torch
from convfold.frontends.onnx.written import Written
from convfold.layers import ONNX, Call, Convolved, Reading, Step, Value
from convfold.program import OUTPUT
from convfold.region import Signal

#: Calls that do the same to a part of the signal: none of their arguments is a size.
_ANY_SIZE = {"DepthToSpace", "SpaceToDepth", "Pad", "Gather"}

#: Calls behind which a bias may repeat from position to position.
_PHASES = {"ConvTranspose", "DepthToSpace"}

#: What a call that takes others' words for its own uses instead of its scale and shift, where those are taken away.
_ONES = {"Scale", "scale"}


class OnnxProgram:
    """A `Program` whose values are those of the graphs, by their names; inner graphs see outer values by aliases."""

    def __init__(self, model: ir.Model, trials: Sequence[Knowledge]) -> None:
        self.model, self.trials = model, trials
        self.written, self.constants = Written(model, trials), Constants(model, trials)
        self.index = Index(model, self.constants)
        self.calls, self.nodes, self.values = self.index.calls, self.index.nodes, self.index.values
        self.overridable = overridable(model)
        self.versions = dict(model.opset_imports)
        self._values: dict[str, Value] = {}

    # --- read --------------------------------------------------------------------------------------------------------

    @cached_property
    def listed(self) -> list[str]:
        """Constants that are no more than that are none."""
        return [call for call, node in self.nodes.items() if node.op_type != "Constant"]

    def is_constant(self, name: str) -> bool:
        return self.values[name] in self.constants

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
        return self.index.parts.get(call)

    def read(self, call: str) -> Reading | None:
        node = self.nodes[call]
        graph = graph_of(node)
        self._refuse_overridable(node)
        tensors = [x for x in (*node.inputs, *node.outputs) if x is not None and x.name]
        sizes = {x: self.written.sizes(x) for x in tensors}
        if any(found is None for x, found in sizes.items() if x not in node.outputs[1:]):
            raise NotFoldable("not-affine", "a size is known at run time only")
        out = self.value(call)
        if not out.dtype.is_floating_point or out.constant:
            return None
        if any(empty(found) and x not in self.constants for x, found in sizes.items()):
            raise NotFoldable("not-affine", "a signal without elements")
        if self.versions[""] < 10 and node.op_type in _PHASES and any(isinstance(n, Free) for n in out.symbols[2:]):
            raise NotFoldable("not-affine", "before opset 10 nothing counts positions along a size that is free")
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
        return any(node.op_type in ("Conv", "ConvTranspose") for graph in kept.graphs(self.model) for node in graph)

    def _refuse_overridable(self, node: ir.Node) -> None:
        for x in node.inputs:
            if x in self.overridable:
                raise NotFoldable(
                    "not-affine", f"{x.name} is an input of the model too, and callers may give it another value"
                )

    def _arguments(self, node: ir.Node, graph: ir.Graph) -> dict[str, Any]:
        """Inputs and attributes by the schema's names; an input that is left out is None."""
        inputs, attributes, defaults = _schema(node.op_type, self.versions[""])
        given: dict[str, Any] = {}
        for i, (name, variadic) in enumerate(inputs):
            if variadic:
                given[name] = [self._argument(x, graph) for x in node.inputs[i:]]
            else:
                given[name] = self._argument(node.inputs[i], graph) if i < len(node.inputs) else None
        given |= defaults
        given |= {k: None if a.is_ref() else a.value for k, a in node.attributes.data.items() if k in attributes}
        return given

    def _argument(self, x: ir.Value | None, graph: ir.Graph) -> Value | None:
        return None if x is None else self.value(self.index.name(x, graph))

    def refuse_infinite(self, call: str) -> NoReturn:
        """A weight of a layer that is NaN or infinite is a mistake; another constant (a mask of −inf) may be meant."""
        node = self.nodes[call]
        for x in node.inputs:
            if x is not None and x in self.constants and not bool(to_torch(self.constants.content(x)).isfinite().all()):
                if node.op_type in ("Conv", "ConvTranspose", "Gemm", "BatchNormalization"):
                    what = "NaN" if bool(to_torch(self.constants.content(x)).isnan().any()) else "infinity"
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
            content = self.constants.broadcast(x) if whole.is_floating_point or x in self.constants else None
            self._values[name] = Value(name, Signal(shape, free, whole.itemsize), symbols, whole, content)
        return self._values[name]

    def inputs(self, call: str) -> Sequence[str]:
        node = self.nodes[call]
        if call in self.index.parts:
            return [self.index.parts[call][0]]
        return [self.index.name(x, graph_of(node)) for x in dict.fromkeys(node.inputs) if x is not None]

    def users(self, name: str) -> Sequence[str]:
        return self.index.readers.get(name, [])

    def used(self, call: str) -> bool:
        if call == OUTPUT or call not in self.values:  # it only acts
            return True
        return bool(self.index.readers.get(call)) or bool(bodies(self.nodes[call]))

    def path(self, call: str) -> str:
        """Where exporters put the module: a name with slashes is one; else there is none."""
        node = self.nodes.get(call)
        name = (node.name or "") if node is not None else ""
        return name.strip("/").rpartition("/")[0].replace("/", ".")

    def word(self, call: str) -> str:
        return self.nodes[call].op_type

    def owner(self, call: str) -> str:
        node = self.nodes[call]
        weights = [x.name for x in node.inputs if x is not None and x.name and x in self.constants]
        return weights[0].removesuffix(".weight") if weights else call

    def sized(self, call: str) -> bool:
        return self.nodes[call].op_type not in _ANY_SIZE

    def pass_on(self, call: str, value: str) -> None:
        self._replace(self.values[call], self.values[value], call, value)
        self.index.pass_on(call, value)

    # --- written -----------------------------------------------------------------------------------------------------

    def node(self, name: str) -> ir.Value:
        return self.values[name]

    @contextmanager
    def before(self, call: str) -> Iterator[Onnx]:
        node = self.nodes[call]
        dtype = self.value(call).dtype
        prefix = self.values[call].name or call
        yield Onnx(self.written, node, graph_of(node), torch.empty(0, dtype=dtype), prefix, self._again, self._along)

    def _again(self, ops: Onnx, call: str, x: ir.Value, shape: Sequence[int] | None, at: int) -> ir.Value:
        """The call on another signal, of another number of channels perhaps; ``shape``: what it is to give."""
        return again(ops, self.nodes[call], self.values[call], x, shape, at)

    def _along(self, ops: Onnx, call: str, x: ir.Value, axis: int) -> ir.Value:
        return along(ops, self.nodes[call], x, axis)

    def bare(self, call: str, replaced: dict[str, Any]) -> ir.Value:
        """A norm before its scale and shift: with ones and without, or zeros where it has to have one."""
        node = self.nodes[call]
        names = [name for name, _ in _schema(node.op_type, self.versions[""])[0]]
        with self.before(call) as ops:
            inputs = list(node.inputs)
            for i, name in enumerate(names[: len(inputs)]):
                if name in replaced and (x := inputs[i]) is not None:
                    like = to_torch(self.constants.content(x))
                    fill = torch.ones_like if name in _ONES else torch.zeros_like
                    inputs[i] = ops.initializer(f"{x.name}_folded", from_torch(fill(like)))
            attributes = dict(node.attributes)
            return ops.insert(ir.Node("", node.op_type, inputs, attributes.values(), num_outputs=1))[0]

    def replace(self, call: str, new: ir.Value) -> None:
        old = self.values[call]
        self._replace(old, new, call, None)
        for alias in self.index.aliases.get(old, ()):
            self.values[alias] = new

    def _replace(self, old: ir.Value, new: ir.Value, call: str, name: str | None) -> None:
        """Who reads the one reads the other, which gets its name if it is new; outputs of a graph keep theirs."""
        if old is new:
            return
        graph, maker = graph_of(self.nodes[call]), new.producer()
        if old.is_graph_output():
            if maker is not None and maker.graph is graph and not new.is_graph_output():
                self._rename(old, new)
                return
            if name is None:  # what was computed is there already: handed on by a call of its own
                copy = ir.node("Identity", [new])
                graph.insert_before(self.nodes[call], copy)
                for trial in self.trials:
                    trial.add(copy)
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
                for y in user.outputs if user in self.index.asking else ():
                    answer = self.constants.tensor(y)
                    answer = self.written.initializer(graph_of(user), f"{y.name}_folded", answer)
                    ir.convenience.replace_all_uses_with(y, answer)


@cache
def _schema(kind: str, version: int) -> tuple[list[tuple[str, bool]], set[str], dict[str, Any]]:
    """Inputs of an operator of the standard, whether each is any number of them; its attributes, and their defaults."""
    schema = onnx.defs.get_schema(kind, version, "")
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    inputs = [(p.name, p.option == variadic) for p in schema.inputs]
    values = {k: a.default_value for k, a in schema.attributes.items() if a.default_value.name}
    defaults = {k: onnx.helper.get_attribute_value(v) for k, v in values.items()}
    plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in defaults.items()}
    return inputs, set(schema.attributes), plain


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
