"""Is it a model? Asked of the protobuf in Python, before anything is computed or allocated from what it claims."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import onnx
import onnx_ir as ir

from convfold.errors import InvalidInput
from convfold.frontends.onnx.order import is_ordered, named
from convfold.frontends.onnx.protos import garbled, inside, refuse_garbled

#: Of the format itself, and of its operators. Before opset 7 arithmetic broadcast by attributes.
OLDEST_IR, OLDEST_OPSET = 3, 7

#: A tensor that is stored as few numbers, and is many.
SPARSE_LIMIT = 1 << 28

#: What `numpy` takes.
_AXES = 64

_DEFAULT = ("", "ai.onnx")

#: The field of an attribute that holds what its type says.
_CONTENT = {
    onnx.AttributeProto.AttributeType.Value(name): field
    for name, field in {
        "FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "GRAPH": "g", "SPARSE_TENSOR": "sparse_tensor",
        "TYPE_PROTO": "tp", "FLOATS": "floats", "INTS": "ints", "STRINGS": "strings", "TENSORS": "tensors",
        "GRAPHS": "graphs", "SPARSE_TENSORS": "sparse_tensors", "TYPE_PROTOS": "type_protos",
    }.items()
}  # fmt: skip
_CONTENTS = set(_CONTENT.values())
_NUMBERS = {"f", "i", "s", "floats", "ints", "strings"}
_WHOLE = {"t", "g", "sparse_tensor", "tp"}  # none of them has a default

_PACKED = {ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.FLOAT4E2M1, ir.DataType.INT2, ir.DataType.UINT2}

#: Fields that hold numbers one by one: how many a number takes, of which types.
_FIELDS = {
    "float_data": {ir.DataType.FLOAT: 1, ir.DataType.COMPLEX64: 2},
    "double_data": {ir.DataType.DOUBLE: 1, ir.DataType.COMPLEX128: 2},
    "int64_data": {ir.DataType.INT64: 1},
    "uint64_data": {ir.DataType.UINT64: 1, ir.DataType.UINT32: 1},
    "string_data": {ir.DataType.STRING: 1},
}
_NARROW = set(ir.DataType) - {t for types in _FIELDS.values() for t in types} - {ir.DataType.UNDEFINED}


@dataclass
class Seen:
    """What a walk over the whole model has come upon: few have any of it, and who would look for it is spared."""

    outside: list[onnx.TensorProto] = field(default_factory=list)  # tensors that lie in other files
    inner: bool = False  # graphs in calls
    sparse: bool = False  # sparse tensors as attributes
    unsorted: bool = False  # a node before one that it reads


def check(model: onnx.ModelProto) -> list[Seen]:
    """What has been seen in the graph, and in each function.

    Raises:
        InvalidInput: where it is no model of the standard: versions, names, order, types, sizes.
    """
    if not model.HasField("graph"):
        raise InvalidInput("is no ONNX model: there is no graph inside")
    refuse_garbled(garbled(model))
    _versions(model)
    functions = _functions(model)
    graph = model.graph
    imports = {_domain(o.domain) for o in model.opset_import}
    checking = _Checking(imports | {f.domain for f in functions})
    checking.graph(graph, [], main=True)
    in_functions = [_function(f, imports) for f in functions]
    if model.training_info:
        raise InvalidInput(
            "carries training information, which names weights that folding replaces; take it off first: "
            "del model.training_info[:]"
        )
    return [checking.seen, *in_functions]


def _versions(model: onnx.ModelProto) -> None:
    if not model.ir_version:
        raise InvalidInput("is no ONNX model: it names no IR version")
    if model.ir_version < OLDEST_IR:
        raise InvalidInput(f"has IR version {model.ir_version}; those from {OLDEST_IR} on are read. Export it anew.")
    if model.ir_version > onnx.IR_VERSION:
        raise InvalidInput(
            f"has IR version {model.ir_version}; the installed onnx {onnx.__version__} knows those to "
            f"{onnx.IR_VERSION}. Upgrade it: pip install -U onnx"
        )
    if not model.opset_import:
        raise InvalidInput("imports no opset: which version of its operators is meant is unknown. Export it anew.")
    versions: dict[str, int] = {}
    for o in model.opset_import:
        if versions.setdefault(_domain(o.domain), o.version) != o.version:
            raise InvalidInput(f"imports two opsets of the domain {o.domain or 'ai.onnx'!r}; leave one")
    opset = versions.get("")
    if opset is None:
        return
    if opset < OLDEST_OPSET:
        raise InvalidInput(
            f"has opset {opset}; those from {OLDEST_OPSET} on are read. Upgrade it first: "
            "onnx.version_converter.convert_version(model, 13)"
        )
    if opset > (newest := onnx.defs.onnx_opset_version()):
        raise InvalidInput(
            f"has opset {opset}; the installed onnx {onnx.__version__} knows those to {newest}. "
            "Upgrade it: pip install -U onnx"
        )


def _domain(domain: str) -> str:
    return "" if domain in _DEFAULT else domain


def _functions(model: onnx.ModelProto) -> list[onnx.FunctionProto]:
    """Those of the model; no two of one name, none that calls itself."""
    found = {}
    for f in model.functions:
        key = (f.domain, f.name, f.overload)
        if key in found:
            raise InvalidInput(f"has two functions {f.name!r}")
        found[key] = f
    calls = {
        key: [c for n in _nodes(f.node) if (c := (n.domain, n.op_type, n.overload)) in found]
        for key, f in found.items()
    }
    done: set[tuple[str, str, str]] = set()
    for start in found:
        todo = [(start, iter(calls[start]))]
        way = {start}
        while todo:
            key, rest = todo[-1]
            following = next(rest, None)
            if following is None:
                done.add(key)
                way.discard(key)
                todo.pop()
            elif following in way:
                raise InvalidInput(f"has a function {following[1]!r} that calls itself")
            elif following not in done:
                way.add(following)
                todo.append((following, iter(calls[following])))
    return list(found.values())


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """And those of the graphs inside."""
    for node in nodes:
        yield node
        for g in inside(node.attribute):
            yield from _nodes(g.node)


def _function(f: onnx.FunctionProto, imports: set[str]) -> Seen:
    if not f.name or not f.output:
        raise InvalidInput("has a function without a name, or without outputs")
    own = {_domain(o.domain) for o in f.opset_import}
    checking = _Checking(own | imports | {f.domain}, inside_function=True)
    scope: set[str] = set()
    for name in f.input:
        _once(name, scope, f"function {f.name!r}")
    checking.body(f.node, [scope], f"function {f.name!r}")
    for name in f.output:
        if name not in scope:
            raise InvalidInput(f"function {f.name!r}: returns {name!r}, which nothing computes")
    for info in f.value_info:
        checking.type(info.type, info.name)
    for a in f.attribute_proto:
        checking.attribute(a, [scope], f"function {f.name!r}")
    return checking.seen


def _once(name: str, scope: set[str], where: str) -> None:
    if not name:
        raise InvalidInput(f"{where}: a value without a name")
    if name in scope:
        raise InvalidInput(f"{where}: two values are called {name!r}; each needs a name of its own")
    scope.add(name)


class _Checking:
    """Of graphs, with the names that each can see; ``domains`` are those imported."""

    def __init__(self, domains: set[str], inside_function: bool = False) -> None:
        self.domains, self.inside_function = domains, inside_function
        self.seen = Seen()
        self.types: set[bytes] = set()

    def graph(self, graph: onnx.GraphProto, outer: list[set[str]], main: bool = False) -> None:
        where = "the graph" if main else f"the inner graph {graph.name!r}"
        scope: set[str] = set()
        for x in graph.input:
            _once(x.name, scope, where)
        inputs = set(scope)
        stored: set[str] = set()
        for t in (*graph.initializer, *(s.values for s in graph.sparse_initializer)):
            _once(t.name, stored, where)
        scope |= stored
        for t in graph.initializer:
            self.tensor(t)
        for s in graph.sparse_initializer:
            self.sparse(s)
            if s.values.name in inputs:
                raise InvalidInput(f"{where}: sparse initializer {s.values.name!r} is an input too; make it dense")
        for info in (*graph.input, *graph.output, *graph.value_info):
            self.type(info.type, info.name)
        self.body(graph.node, [*outer, scope], where)
        for y in graph.output:
            if y.name not in scope:
                raise InvalidInput(f"{where}: its output {y.name!r} is computed by nothing in it")

    def body(self, nodes: Sequence[onnx.NodeProto], scopes: list[set[str]], where: str) -> None:
        """Adds what the nodes compute to the last scope. Nodes out of order are taken, where there is an order."""
        scope = scopes[-1]
        before, ordered = set(scope), True
        for node in nodes:
            if not node.op_type:
                raise InvalidInput(f"{where}: node {node.name!r} names no operator")
            if (d := _domain(node.domain)) not in self.domains:
                raise InvalidInput(f"{where}: {named(node)} is of the domain {d or 'ai.onnx'!r}, which is not imported")
            for name in filter(None, node.output):
                _once(name, scope, where)
        late = scope - before
        for node in nodes:
            for name in filter(None, node.input):
                if name not in scope and not any(name in s for s in scopes):
                    raise InvalidInput(f"{where}: {named(node)} reads {name!r}, which nothing computes")
                ordered &= name not in late
            late.difference_update(node.output)
            names, call = set(), f"{where}: {named(node)}"
            for a in node.attribute:
                if not a.name or a.name in names:
                    raise InvalidInput(f"{call} has the attribute {a.name!r} twice, or without a name")
                names.add(a.name)
                self.attribute(a, scopes, call)
        if not ordered or self.seen.inner:
            self.seen.unsorted |= not is_ordered(nodes, before, where)

    def attribute(self, a: onnx.AttributeProto, scopes: list[set[str]], where: str) -> None:
        if a.ref_attr_name and not self.inside_function:
            raise InvalidInput(f"{where}: attribute {a.name!r} refers to one of a function, and is in none")
        if a.type == onnx.AttributeProto.UNDEFINED:
            raise InvalidInput(f"{where}: attribute {a.name!r} has no type that onnx {onnx.__version__} knows")
        own = _CONTENT[a.type]
        used = {f.name for f, _ in a.ListFields()} & _CONTENTS
        needed = {own} & _WHOLE
        if used - {own} or (a.ref_attr_name and used) or (not a.ref_attr_name and needed - used):
            found = ", ".join(sorted(used)) or "nothing"
            raise InvalidInput(
                f"{where}: attribute {a.name!r} is said to hold {own!r} and holds {found}; it is damaged"
            )
        if own in _NUMBERS:  # nothing to look into
            return
        for t in (*((a.t,) if a.HasField("t") else ()), *a.tensors):
            self.tensor(t)
        self.seen.sparse |= own in ("sparse_tensor", "sparse_tensors")
        for s in (*((a.sparse_tensor,) if a.HasField("sparse_tensor") else ()), *a.sparse_tensors):
            self.sparse(s)
        for tp in (*((a.tp,) if a.HasField("tp") else ()), *a.type_protos):
            self.type(tp, a.name)
        for g in inside([a]):
            self.seen.inner = True
            self.graph(g, scopes)

    def type(self, t: onnx.TypeProto, name: str) -> None:
        """Of most values it is one that was looked at before."""
        if (text := t.SerializeToString()) in self.types:
            return
        self.types.add(text)
        kind = t.WhichOneof("value")
        if kind in ("sequence_type", "optional_type"):
            self.type(getattr(t, kind).elem_type, name)
        elif kind == "map_type":
            self.type(t.map_type.value_type, name)
        elif kind in ("tensor_type", "sparse_tensor_type"):
            tensor = getattr(t, kind)
            if tensor.elem_type not in ir.DataType._value2member_map_:
                raise InvalidInput(f"{name!r} is of a type, {tensor.elem_type}, that onnx {onnx.__version__} lacks")
            sizes = [d.dim_value for d in tensor.shape.dim if d.HasField("dim_value")]
            if any(n < -1 for n in sizes):  # −1 stands for any
                raise InvalidInput(f"{name!r} has a negative size: {sizes}")
            _countable(sizes, name, len(tensor.shape.dim))

    def tensor(self, t: onnx.TensorProto) -> None:
        """Does what is stored fill the sizes? Of what lies in another file, that is asked there."""
        what = f"tensor {t.name!r}"
        if t.data_type not in ir.DataType._value2member_map_ or t.data_type == ir.DataType.UNDEFINED:
            raise InvalidInput(f"{what} is of a type, {t.data_type}, that onnx {onnx.__version__} lacks")
        if any(n < 0 for n in t.dims):
            raise InvalidInput(f"{what} has a negative size: {list(t.dims)}")
        _countable(t.dims, t.name, len(t.dims))
        if t.HasField("segment"):
            raise InvalidInput(f"{what} is stored in segments, which no runtime reads")
        if t.data_location == onnx.TensorProto.EXTERNAL:
            if t.data_type == ir.DataType.STRING:
                raise InvalidInput(f"{what} is text, which cannot lie in another file")
            self.seen.outside.append(t)
            return
        dtype, n = ir.DataType(t.data_type), prod(t.dims)
        if t.HasField("raw_data"):
            if dtype == ir.DataType.STRING:
                raise InvalidInput(f"{what} is text, stored as numbers")
            have, need, unit = len(t.raw_data), -(-n * dtype.bitwidth // 8), "bytes"
        else:
            have, need, unit = _stored(t, dtype, what), _numbers(dtype, n), "numbers"
        if have != need:
            raise InvalidInput(f"{what} of sizes {list(t.dims)} needs {need} {unit} and has {have}; it is damaged")

    def sparse(self, s: onnx.SparseTensorProto) -> None:
        what = f"sparse tensor {s.values.name!r}"
        self.tensor(s.values)
        self.tensor(s.indices)
        if onnx.TensorProto.EXTERNAL in (s.values.data_location, s.indices.data_location):
            raise InvalidInput(f"{what} lies in another file, which is not read; store it inside")
        if any(n < 0 for n in s.dims):
            raise InvalidInput(f"{what} has a negative size: {list(s.dims)}")
        n, stored = prod(s.dims), list(s.values.dims)
        known = (stored[0], *([len(s.dims)] if len(s.indices.dims) == 2 else [])) if len(stored) == 1 else None
        if s.indices.data_type != onnx.TensorProto.INT64 or known is None or tuple(s.indices.dims) != known:
            raise InvalidInput(f"{what}: its values and indices do not belong together; it is damaged")
        if (
            s.values.data_type == onnx.TensorProto.STRING
            or n * ir.DataType(s.values.data_type).bitwidth // 8 > SPARSE_LIMIT
        ):
            raise InvalidInput(
                f"{what} of sizes {list(s.dims)} is more than {SPARSE_LIMIT >> 20} MB of numbers when dense"
            )
        indices = onnx.numpy_helper.to_array(s.indices)
        ends = s.dims if indices.ndim == 2 else [n]
        if indices.size and ((indices < 0).any() or (indices.reshape(len(indices), -1) >= ends).any()):
            raise InvalidInput(f"{what} of sizes {list(s.dims)} has indices beyond them; it is damaged")


def _countable(sizes: Iterable[int], name: str, axes: int) -> None:
    if prod(n for n in sizes if n > 0) >= 1 << 63:
        raise InvalidInput(f"{name!r} claims more elements than can be counted, sizes {list(sizes)}; it is damaged")
    if axes > _AXES:
        raise InvalidInput(f"{name!r} has {axes} axes; up to {_AXES} can be computed with")


def _stored(t: onnx.TensorProto, dtype: ir.DataType, what: str) -> int:
    """How many numbers are in the one field that is of its type."""
    used = [f for f in (*_FIELDS, "int32_data") if len(getattr(t, f))]
    if not used:
        return 0
    fits = _FIELDS.get(used[0], {}).get(dtype) or (used[0] == "int32_data" and dtype in _NARROW)
    if len(used) > 1 or not fits:
        raise InvalidInput(f"{what} is {dtype.name} and has its numbers in {', '.join(used)}; it is damaged")
    return len(getattr(t, used[0]))


def _numbers(dtype: ir.DataType, n: int) -> int:
    """In fields that hold them one by one; of four bits and fewer several go together."""
    if dtype in _PACKED:
        return -(-n * dtype.bitwidth // 8)
    return n * next((types[dtype] for types in _FIELDS.values() if dtype in types), 1)
