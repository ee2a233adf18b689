"""What onnx_ir has no place for: taken out of a model's protobuf before it reads it, and put back behind it.

Sparse tensors, types that are no tensors' (maps), and what is declared of initializers, which say themselves what they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from convfold.frontends.onnx.known import bodies
from convfold.frontends.onnx.protos import inside, refuse_garbled
from convfold.frontends.onnx.put_off import put_off, taken_out
from convfold.frontends.onnx.sparse import Sparse

#: Where a model of ours keeps it.
KEY = "convfold"


@dataclass
class Kept:
    #: The file as it was; None where it is not any more.
    original: Callable[[], bytes | None] = lambda: None
    beside: bool = False  # had it weights in other files?
    inner: bool = True  # may there be graphs in calls?
    annotated: bool = True  # and quantisation annotations?
    types: dict[str, onnx.TypeProto] = field(default_factory=dict)  # of inputs and outputs
    infos: dict[str, onnx.ValueInfoProto] = field(default_factory=dict)  # of initializers of the main graph


def deserialized(proto: onnx.ModelProto, *, inner: bool, sparse: bool, declared: bool) -> ir.Model:
    """The protobuf is ours: what onnx_ir cannot read is taken out of it.

    ``inner``, ``sparse``: are there graphs in calls, and sparse tensors among their attributes? ``declared``: is what
    the file declares of values to be read at once, or when it is asked for (`put_off`)?
    """
    annotated = inner or bool(proto.graph.quantization_annotation)
    kept = Kept(inner=inner, annotated=annotated)
    for info in (*proto.graph.input, *proto.graph.output):
        if not _has_place(info.type):
            kept.types[info.name] = onnx.TypeProto()
            kept.types[info.name].CopyFrom(info.type)
    stored: dict[int, list[onnx.SparseTensorProto]] = {}
    attributes: dict[int, list[onnx.AttributeProto]] = {}
    for i, graph in enumerate(_graphs(proto) if inner else [proto.graph]):
        for info in (*graph.input, *graph.output, *graph.value_info):
            if not _has_place(info.type):
                info.ClearField("type")
        if graph.sparse_initializer:
            stored[i] = list(graph.sparse_initializer)
            for s in stored[i]:  # declared, so that who reads it finds it
                graph.initializer.add(name=s.values.name, data_type=s.values.data_type, dims=s.dims)
            graph.ClearField("sparse_initializer")
    for i, node in enumerate(_nodes(proto) if sparse else ()):
        if own := [a for a in node.attribute if _is_sparse(a)]:
            attributes[i] = own
            rest = [a for a in node.attribute if not _is_sparse(a)]
            node.ClearField("attribute")
            node.attribute.extend(rest)
    kept.infos = taken_out(proto.graph, {t.name for t in proto.graph.initializer})
    infos = {} if declared else taken_out(proto.graph, {y for node in proto.graph.node for y in node.output})
    model = ir.serde.deserialize_model(proto)
    put_off(model, infos)
    for i, read in enumerate(_ir_graphs(model)) if stored else ():
        for s in stored.get(i, ()):
            read.initializers[s.values.name].const_value = Sparse(s)
    for i, call in enumerate(_ir_nodes(model)) if attributes else ():
        for a in attributes.get(i, ()):
            content = a.sparse_tensor if a.type == onnx.AttributeProto.SPARSE_TENSOR else list(a.sparse_tensors)
            call.attributes[a.name] = ir.Attr(a.name, ir.AttributeType(a.type), content)
    model.meta[KEY] = kept
    calls = _ir_nodes(model) if inner else (n for g in (model.graph, *model.functions.values()) for n in g)
    for call in calls:
        said: Any = call.metadata_props
        if bytes in map(type, said) or bytes in map(type, said.values()):
            refuse_garbled(next(t for item in said.items() for t in item if isinstance(t, bytes)))
    return model


def serialized(model: ir.Model) -> onnx.ModelProto:
    """With what had been taken out."""
    kept = of(model)
    graphs, nodes = list(_ir_graphs(model)), list(_ir_nodes(model))
    stored = [(v, v.const_value) for g in graphs for v in g.initializers.values() if isinstance(v.const_value, Sparse)]
    attributes = [(n, a) for n in nodes for a in n.attributes.values() if a.type in _SPARSE and not a.is_ref()]
    try:
        for value, tensor in stored:
            assert tensor is not None
            value.const_value = ir.tensor(np.zeros(0, np.float32))
        for node, a in attributes:
            node.attributes.pop(a.name)
        proto = ir.serde.serialize_model(model)
    finally:
        for value, tensor in stored:
            value.const_value = tensor
        for node, a in attributes:
            node.attributes[a.name] = a
    for graph, written in zip(graphs, _graphs(proto), strict=True) if stored else ():
        names = {v.name: t.proto for v, t in stored if v.name and graph.initializers.get(v.name) is v}
        rest = [t for t in written.initializer if t.name not in names]
        written.ClearField("initializer")
        written.initializer.extend(rest)
        for name, s in names.items():
            written.sparse_initializer.add().CopyFrom(s)
            written.sparse_initializer[-1].values.name = name
    if attributes:
        at = {id(node): p for node, p in zip(nodes, _nodes(proto), strict=True)}
        for node, a in attributes:
            own = at[id(node)].attribute.add(name=a.name, type=int(a.type))
            if a.type == ir.AttributeType.SPARSE_TENSOR:
                own.sparse_tensor.CopyFrom(a.value)
            else:
                own.sparse_tensors.extend(a.value)
    for info in (*proto.graph.input, *proto.graph.output):
        if info.name in kept.types:
            info.type.CopyFrom(kept.types[info.name])
    _declare(proto.graph, kept.infos)
    return proto


def of(model: ir.Model) -> Kept:
    kept = model.meta.get(KEY)
    return kept if isinstance(kept, Kept) else Kept()


def graphs(model: ir.Model) -> Iterable[ir.Graph]:
    """That of the model and those inside; where none is in another, no call is looked into."""
    return model.graphs() if of(model).inner else [model.graph]


_SPARSE = (ir.AttributeType.SPARSE_TENSOR, ir.AttributeType.SPARSE_TENSORS)


def _is_sparse(a: onnx.AttributeProto) -> bool:
    return not a.ref_attr_name and ir.AttributeType(a.type) in _SPARSE


def _has_place(t: onnx.TypeProto) -> bool:
    """Tensors, and sequences and optionals of them."""
    kind = t.WhichOneof("value")
    if kind in ("sequence_type", "optional_type"):
        return getattr(t, kind).HasField("elem_type") and _has_place(getattr(t, kind).elem_type)
    return kind in ("tensor_type", "sparse_tensor_type", None)


def _declare(graph: onnx.GraphProto, infos: dict[str, onnx.ValueInfoProto]) -> None:
    """Of initializers what was declared: onnx_ir writes down the type of each."""
    own = {t.name: (t.data_type, t.dims) for t in graph.initializer}
    own |= {s.values.name: (s.values.data_type, s.dims) for s in graph.sparse_initializer}
    said = [info for name, info in infos.items() if name in own and _says(info, *own[name])]
    rest = [info for info in graph.value_info if info.name not in own]
    graph.ClearField("value_info")
    graph.value_info.extend([*said, *rest])


def _says(info: onnx.ValueInfoProto, dtype: int, sizes: Sequence[int]) -> bool:
    """Is it of such a tensor? Another may be called like this by now."""
    declared = info.type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else None for d in declared.shape.dim]
    return declared.elem_type == dtype and (
        not declared.HasField("shape")
        or (len(dims) == len(sizes) and all(d in (None, n) for d, n in zip(dims, sizes, strict=True)))
    )


# Both walk alike: a graph, then of each of its nodes the graphs inside; functions' at the end.


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    def walk(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
        for node in nodes:
            for inner in inside(a for a in node.attribute if not a.ref_attr_name):
                yield inner
                yield from walk(inner.node)

    yield model.graph
    yield from walk(model.graph.node)
    for f in model.functions:
        yield from walk(f.node)


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in _graphs(model):
        yield from graph.node
    for f in model.functions:
        yield from f.node


def _ir_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    def walk(graph: Any) -> Iterator[ir.Graph]:
        for node in graph:
            for inner in bodies(node):
                yield inner
                yield from walk(inner)

    yield model.graph
    yield from walk(model.graph)
    for f in model.functions.values():
        yield from walk(f)


def _ir_nodes(model: ir.Model) -> Iterator[ir.Node]:
    for graph in _ir_graphs(model):
        yield from graph
    for f in model.functions.values():
        yield from f
