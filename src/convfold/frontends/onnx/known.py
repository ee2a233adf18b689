"""What is known of every value before the model is run: its type and sizes at given inputs, and constants' content."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from convfold.errors import InvalidInput
from convfold.frontends.onnx.put_off import declare
from convfold.frontends.onnx.rules import POOLS, corrected, misfit, overhangs
from convfold.frontends.onnx.sparse import Sparse

#: Constants of more elements are computed when asked for: sizes, axes and scales have fewer.
SMALL = 1024

#: From which version on the sizes of a pool are what they have always been: a last window that would start behind the
#: signal is none.
_POOLS = dict.fromkeys(POOLS, 22)

#: Layers: of what they give the sizes of their weights tell, whatever these are.
_WEIGHTED = {"BatchNormalization", "Conv", "ConvTranspose", "Gemm", "InstanceNormalization", "MatMul", "PRelu"}

#: What gives another result at every run.
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}

#: Attributes that are compared as they are.
_PLAIN = {
    ir.AttributeType.INT,
    ir.AttributeType.INTS,
    ir.AttributeType.FLOAT,
    ir.AttributeType.FLOATS,
    ir.AttributeType.STRING,
}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Known:
    """Type and sizes, None where only a run tells."""

    dtype: ir.DataType | None
    shape: tuple[int, ...] | None
    held: Any = None  # what a small constant is: an array, or a tensor whose numbers are read when they are asked for
    constant: bool = False  # also where its content is not computed yet

    @property
    def content(self) -> np.ndarray[Any, Any] | None:
        if self.held is not None and not isinstance(self.held, np.ndarray):
            self.held = self.held.numpy()
        return self.held


class Inconsistent(Exception):
    """A model does not run at these sizes."""


class Knowledge:
    """Of all values of a model, inner graphs included, by the graphs' own rules at these sizes of its inputs.

    Where there is no rule, of operators of other domains say, what the file declares is taken.
    """

    def __init__(self, model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> None:
        self.model, self.opsets = model, dict(model.opset_imports)
        self.of: dict[ir.Value, Known] = {}
        self.alike: dict[object, list[Known]] = {}  # of calls that differ in names only, once
        self.overridable = overridable(model)
        self.sizes: dict[str, int] = {}  # of free sizes, by their names
        for x in model.graph.inputs:
            for n, size in zip(x.shape or (), shapes.get(x.name or "", ()), strict=False):
                if isinstance(n, ir.SymbolicDim) and n.value:
                    self.sizes.setdefault(n.value, size)
        self._graph(model.graph, shapes)

    def __getitem__(self, value: ir.Value) -> Known:
        return self.of.get(value) or Known(_dtype(value), None)

    def constant(self, value: ir.Value) -> None:
        """Of an initializer."""
        self.of[value] = _of_tensor(value.const_value)

    def renew(self, graph: ir.Graph) -> None:
        """Of calls in a graph that read constants alone since it was written to."""
        for node in graph:
            given = node.inputs and all(x is None or self[x].constant for x in node.inputs)
            if given and not all(self[y].constant for y in node.outputs):
                self.add(node)

    def _graph(self, graph: ir.Graph, shapes: Mapping[str, Sequence[int]]) -> None:
        for x in graph.inputs:
            given = shapes.get(x.name or "")
            self.of[x] = self._declared(x) if given is None else Known(_dtype(x), tuple(given))
        for value in graph.initializers.values():
            if value not in self.overridable:
                self.constant(value)
        for node in graph:
            self.add(node)

    def add(self, node: ir.Node) -> None:
        """Of what a call computes."""
        for inner in bodies(node):
            try:
                self._graph(inner, {})
            except Inconsistent as e:  # a branch that is not taken at these sizes: little of it is known
                log.debug("inside %s: %s", node.name, e)
        inputs = [None if x is None else self[x] for x in node.inputs]
        key = _key(node, inputs)
        found = self.alike.get(key) if key is not None else None
        if found is None:
            found = self._evaluated(node, inputs)
            if found is None:
                found = self._inferred(node, inputs)
            if key is not None and all(y.shape is not None for y in found):  # what the file declares was not asked
                self.alike[key] = found
        for y, known in zip(node.outputs, found, strict=True):
            self.of[y] = known

    def _evaluated(self, node: ir.Node, inputs: Sequence[Known | None]) -> list[Known] | None:
        """Of a call on constants what it computes, or only that it is one, where that is much."""
        if is_varying(node):
            return None
        if node.op_type == "Constant":
            return [_of_tensor(_constant(node))]
        if node.op_type in ("Shape", "Size") and inputs[0] is not None and inputs[0].shape is not None:
            return [_of_array(np.array(_shape_asked(node, inputs[0].shape), np.int64))]
        inputs = [typed(x) if x is not None and only_typed(node, i) else x for i, x in enumerate(inputs)]
        if not inputs or not all(x is None or x.constant for x in inputs):
            return None
        inferred = self._inferred(node, inputs)
        for y in inferred:
            y.constant = True
        small = all(x is None or x.held is not None for x in inputs)
        if small and all(y.shape is None or prod(y.shape) <= SMALL for y in inferred):
            arrays = [None if x is None else x.content for x in inputs]
            try:
                results = evaluate(node, arrays, self.opsets)
            except Exception as e:  # of whatever kind: the model's own constants do not fit its call
                log.debug("%s of constants: %s", node.op_type, e)
                return inferred
            return [_of_array(np.asarray(r)) for r in results]
        return inferred

    def _inferred(self, node: ir.Node, inputs: Sequence[Known | None]) -> list[Known]:
        declared = [self._declared(y) for y in node.outputs]
        version = self.opsets.get(node.domain)
        if node.op_type == "If" and node.domain == "":
            return [self._of_branches(node, i, known) for i, known in enumerate(declared)]
        if version is None or any(x is not None and x.dtype is None for x in inputs) or bodies(node):
            return declared
        try:
            schema = onnx.defs.get_schema(node.op_type, max(version, _POOLS.get(node.op_type, 0)), node.domain)
        except onnx.defs.SchemaError:
            return declared
        proto = ir.serde.serialize_node(node)
        types, data = {}, {}
        for x, name in zip(inputs, proto.input, strict=True):
            if x is not None:
                assert x.dtype is not None
                types[name] = onnx.helper.make_tensor_type_proto(int(x.dtype), x.shape)
                if node.op_type not in _WEIGHTED and x.content is not None:
                    data[name] = onnx.numpy_helper.from_array(x.content)
        try:
            found = onnx.shape_inference.infer_node_outputs(schema, proto, types, data)
            if node.domain == "":
                found |= corrected(node, inputs)
        except onnx.checker.ValidationError as e:  # a type that the standard does not have there; runtimes may
            log.debug("%s: %s", node.op_type, e)
            return declared
        except onnx.shape_inference.InferenceError as e:
            raise Inconsistent(f"{node.op_type} {node.name or node.outputs[0].name!r}: {e}") from e
        if (why := misfit(node, inputs)) is not None:
            raise Inconsistent(f"{node.op_type} {node.name or node.outputs[0].name!r}: {why}")
        out = []
        for y, known in zip(node.outputs, declared, strict=True):
            t = found.get(y.name or "")
            if t is None or not t.HasField("tensor_type"):
                out.append(known)
                continue
            dims = t.tensor_type.shape.dim if t.tensor_type.HasField("shape") else None
            if node.op_type in _POOLS and overhangs(node, inputs):
                out.append(Known(ir.DataType(t.tensor_type.elem_type), None))
                continue
            if dims is not None and all(d.HasField("dim_value") for d in dims):
                known = Known(ir.DataType(t.tensor_type.elem_type), tuple(d.dim_value for d in dims))
                if any(n < 0 for n in known.shape or ()):
                    raise Inconsistent(f"{node.op_type} {node.name or y.name!r}: its result would be {known.shape}")
            else:
                known = Known(ir.DataType(t.tensor_type.elem_type), known.shape)
            out.append(known)
        return out

    def _declared(self, y: ir.Value) -> Known:
        """As the file says; sizes with a name that an input's have are what that is."""
        declare(self.model, y)
        dtype = _dtype(y)
        if dtype is None or y.shape is None:
            return Known(dtype, None)
        sizes = [n if isinstance(n, int) else self.sizes.get(n.value or "", -1) for n in y.shape]
        return Known(dtype, tuple(sizes) if all(n >= 0 for n in sizes) else None)

    def _of_branches(self, node: ir.Node, i: int, declared: Known) -> Known:
        """Of an output of If: what it is by either branch."""
        found = [self[g.outputs[i]] for g in bodies(node) if i < len(g.outputs)]
        if found and all(
            k.shape is not None and k.shape == found[0].shape and k.dtype == found[0].dtype for k in found
        ):
            return Known(found[0].dtype, found[0].shape)
        return declared


def _key(node: ir.Node, inputs: Sequence[Known | None]) -> object:
    """What a call is but for names; None where that is more than a few numbers."""
    attributes = []
    for name, a in sorted(node.attributes.data.items()):
        if a.is_ref() or a.type not in _PLAIN:
            return None
        attributes.append((name, tuple(a.value) if isinstance(a.value, list | tuple) else a.value))
    if any(x is not None and x.shape is None for x in inputs):
        return None
    sized = node.op_type in _WEIGHTED and not all(x is None or x.constant for x in inputs)
    given = [None if x is None else (x.dtype, x.shape, x.constant, sized or _bytes(x.content)) for x in inputs]
    return node.domain, node.op_type, tuple(attributes), tuple(given), tuple(bool(y.name) for y in node.outputs)


def _bytes(content: np.ndarray[Any, Any] | None) -> bytes | None:
    return None if content is None else content.tobytes()


def evaluate(node: ir.Node, arrays: Sequence[Any], opsets: Mapping[str, int]) -> list[Any]:
    """What a call computes, by the standard's own reference."""
    proto = ir.serde.serialize_node(node)
    names = [name for name, x in zip(proto.input, arrays, strict=True) if x is not None]
    given = {name: x for name, x in zip(proto.input, arrays, strict=True) if x is not None}
    inputs = [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in dict.fromkeys(names)]
    outputs = [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in proto.output if name]
    graph = onnx.helper.make_graph([proto], "one", inputs, outputs)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = onnx.helper.make_model(graph, opset_imports=imports)
    return list(ReferenceEvaluator(model).run(None, given))


def is_varying(node: ir.Node) -> bool:
    """May what it computes of constants be another number each time, or is not known here?"""
    return node.domain not in ("", "ai.onnx") or bool(bodies(node)) or node.op_type in _RANDOM


def only_typed(node: ir.Node, i: int) -> bool:
    """Does a call read this input for its type alone?"""
    return node.op_type == "CastLike" and i == 1


def typed(x: Known) -> Known:
    """A constant without elements in its place."""
    return Known(x.dtype, (0,), None if x.dtype is None else np.empty(0, x.dtype.numpy()), x.dtype is not None)


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The graphs inside a call: branches, and bodies of loops."""
    found: list[ir.Graph] = []
    for a in node.attributes.data.values():  # a view of a UserDict calls back for every item
        if a.type is ir.AttributeType.GRAPH and not a.is_ref():
            found.append(a.as_graph())
        elif a.type is ir.AttributeType.GRAPHS and not a.is_ref():
            found += a.as_graphs()
    return found


def _shape_asked(node: ir.Node, shape: tuple[int, ...]) -> Any:
    if node.op_type == "Size":
        return prod(shape)
    start, end = node.attributes.get("start"), node.attributes.get("end")
    return shape[start.as_int() if start else 0 : end.as_int() if end else None]


def _constant(node: ir.Node) -> Any:
    """The tensor of a Constant call, in whichever of its attributes it is."""
    tensor = constant_tensor(node.outputs[0])
    if tensor is None:
        raise InvalidInput(f"Constant {node.outputs[0].name!r} has no value that can be read")
    return tensor


def constant_tensor(value: ir.Value) -> Any:
    """What is stored of an initializer, or of a Constant in whichever attribute; None where nothing is."""
    node = value.producer()
    if value.const_value is not None or node is None:
        return value.const_value
    if (sparse := node.attributes.get("sparse_value")) is not None and not sparse.is_ref():
        return Sparse(sparse.value)
    if node.op_type == "Constant" and any(k.startswith("value_string") for k in node.attributes):
        text = next(iter(node.attributes.values())).value
        array = np.array(text, dtype=object)
        return ir.StringTensor([str(s).encode() for s in array.reshape(-1)], shape=ir.Shape(array.shape))
    try:
        return ir.convenience.get_const_tensor(value)
    except ValueError as e:  # more than one attribute, or another
        raise InvalidInput(str(e)) from e


def overridable(model: ir.Model) -> set[ir.Value]:
    """Initializers that a caller may give another value. Before IR version 4 all were inputs too, and constants."""
    return {x for x in model.graph.inputs if x.is_initializer()} if model.ir_version >= 4 else set()


def _dtype(value: ir.Value) -> ir.DataType | None:
    """Of a tensor; what holds tensors is none."""
    return value.dtype if value.type is None or isinstance(value.type, ir.TensorType) else None


def _of_tensor(tensor: Any) -> Known:
    if tensor is None:
        return Known(None, None)
    shape = tuple(int(n) for n in tensor.shape)
    small = prod(shape) <= SMALL and tensor.dtype != ir.DataType.STRING
    return Known(tensor.dtype, shape, tensor if small else None, True)


def _of_array(array: np.ndarray[Any, Any]) -> Known:
    return Known(ir.DataType.from_numpy(array.dtype), array.shape, array, True)
