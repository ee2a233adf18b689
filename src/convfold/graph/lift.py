"""The exported graph → regions of the algebra."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.fx import Graph
from torch.fx import Node as FxNode
from torch.fx.node import map_aggregate

from convfold.algebra.apply import Apply
from convfold.algebra.convolution import Convolution
from convfold.algebra.joins import Concat
from convfold.algebra.layout import Layout, Slice
from convfold.algebra.operation import Operation
from convfold.algebra.realisation import OwnCall, Scale, Transpose
from convfold.algebra.spatial import Spatial
from convfold.errors import InvalidInput, NotFoldable
from convfold.graph.constants import Constants
from convfold.graph.free import is_free
from convfold.layers import ATEN, AnyAxis, Call, Map, Reading, Step, Value
from convfold.plan.recipe import Given, uniform
from convfold.region import Node, Region, Signal

aten = torch.ops.aten

#: Calls that do the same to a part of the signal: none of their arguments is a size.
_ANY_SIZE = {
    aten.pixel_shuffle.default,
    aten.pixel_unshuffle.default,
    aten.channel_shuffle.default,
    aten.constant_pad_nd.default,
    aten.index.Tensor,
    aten.index_select.default,
}


@dataclass
class Lifted:
    """Every affine stretch of a graph, and how its values and the graph's nodes correspond."""

    regions: list[Region]
    nodes: dict[str, FxNode]  # a region value's name → the graph node that computes it
    bare: dict[str, tuple[FxNode, dict[str, Any]]]  # a norm without its affine tail: the norm, arguments to replace
    training: set[str] = field(default_factory=set)  # sources that have a parameter which requires a gradient
    computed: dict[FxNode, str] = field(
        default_factory=dict
    )  # weights of steps that are computed from weights → source
    opaque: dict[str, NotFoldable] = field(default_factory=dict)  # calls that have a reader but are not affine here


def lift(graph: Graph, constants: Constants, sizes: Sizes, excluded: Callable[[str], bool]) -> Lifted:
    """Read every call that a layer file knows; join neighbours into regions."""
    return _Lifting(graph, constants, sizes, excluded).run()


class Sizes:
    """Symbolic sizes in example numbers; one that is only known at run time counts as 1, before and after alike."""

    def __init__(self, example: dict[Any, int]) -> None:
        self.example, self._known = example, {}  # type: ignore[var-annotated]

    def number(self, n: Any) -> int:
        if not is_free(n):
            return int(n)
        expr = n.node.expr
        if expr not in self._known:
            value = expr.subs(self.example)
            if not value.is_number:
                value = 1 if n.node.hint is None else n.node.hint
            self._known[expr] = int(value)
        return self._known[expr]  # type: ignore[no-any-return]

    def are_known(self, shape: Iterable[Any]) -> bool:
        """Are these sizes numbers at the example, or found out at run time (rows selected by a mask)?"""
        return all(not is_free(n) or n.node.expr.subs(self.example).is_number or n.node.hint is not None for n in shape)


def symbol(n: Any) -> Hashable:
    """A size as something to compare: a number, or an expression in the free sizes."""
    return n.node.expr if is_free(n) else int(n)


def path_of(node: FxNode) -> str:
    """The module path of a node, '' at the root."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for key, entry in stack.items() if "_empty_nn_module_stack" not in key]
    return paths[-1] if paths else ""


class Reader:
    """One call at a time: what the layer files make of it."""

    def __init__(self, constants: Constants, sizes: Sizes) -> None:
        self.constants, self.sizes = constants, sizes
        self.values: dict[FxNode, Value] = {}

    def __call__(self, node: FxNode) -> Reading | None:
        """The reading of a call; None if it has none to give. Raises NotFoldable with the reason."""
        if node.target not in ATEN:
            return None
        self._check_shapes(node)
        out = self.value(node) or self._first_output(node)
        if out is None or not out.dtype.is_floating_point:
            return None
        call = Call(node.name, self._arguments(node), out, node.target, self.sizes.number)  # type: ignore[arg-type]
        reading = ATEN[node.target](call)
        if not isinstance(reading, Value):
            for step in reading if isinstance(reading, list) else [reading]:
                if step is not None and any(v.dtype != out.dtype for v in _leaves(step)):
                    raise NotFoldable("not-affine", "input and output differ in type")
                if step is not None and not _is_finite(step):
                    self._refuse_infinite(node)
        return reading

    def _check_shapes(self, node: FxNode) -> None:
        """Of a signal without elements no axis holds channels; of one whose size is not known yet none is fixed."""
        for t in (n.meta.get("val") for n in (node, *node.all_input_nodes)):
            if isinstance(t, Tensor) and not self.sizes.are_known(t.shape):
                raise NotFoldable("not-affine", "a size is known at run time only")
            if isinstance(t, Tensor) and any(self.sizes.number(n) == 0 for n in t.shape):
                raise NotFoldable("not-affine", "a signal without elements")

    def _refuse_infinite(self, node: FxNode) -> NoReturn:
        """A weight that is NaN or infinite is a mistake; another constant (a mask of −inf) may be meant, and stays."""
        found = {name: t for name, t in self.constants.read_by(node).items() if not _all_finite(t)}
        for name, t in found.items():
            if isinstance(t, nn.Parameter) or "batch_norm" in str(node.target):
                what = "NaN" if bool(t.isnan().any()) else "infinity"
                raise InvalidInput(
                    f"weight {name!r} contains {what}; nothing computed with it can be checked. Fix the weights."
                )
        raise NotFoldable("not-affine", f"{next(iter(found), 'a constant')} is infinite or not a number")

    def value(self, node: FxNode) -> Value | None:
        """The tensor a graph node computes; None if it is not one tensor."""
        if node not in self.values:
            t = node.meta.get("val")
            if not isinstance(t, Tensor):
                return None
            shape = tuple(self.sizes.number(n) for n in t.shape)
            free = frozenset(i for i, n in enumerate(t.shape) if is_free(n))
            content = (lambda: self.constants[node]) if node in self.constants else None
            signal = Signal(shape, free, t.element_size())
            self.values[node] = Value(node.name, signal, tuple(map(symbol, t.shape)), t.dtype, content)
        return self.values[node]

    def _first_output(self, node: FxNode) -> Value | None:
        """For calls that return several tensors: the first that is used."""
        return next((self.value(user) for user in node.users if user.target is operator.getitem), None)

    def _arguments(self, node: FxNode) -> dict[str, Any]:
        """Arguments by the schema's names, defaults filled in, nodes as values (or numbers, where symbolic)."""

        def seen(a: Any) -> Any:
            if not isinstance(a, FxNode):
                return a
            v = a.meta.get("val")
            return self.value(a) if isinstance(v, Tensor) else v

        given = {}
        for i, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
            if i < len(node.args):
                given[argument.name] = map_aggregate(node.args[i], seen)
            elif argument.name in node.kwargs:
                given[argument.name] = map_aggregate(node.kwargs[argument.name], seen)
            else:
                given[argument.name] = argument.default_value if argument.has_default_value() else None
        return given


class _Lifting:
    def __init__(self, graph: Graph, constants: Constants, sizes: Sizes, excluded: Callable[[str], bool]) -> None:
        self.graph, self.constants, self.excluded = graph, constants, excluded
        self.reader = Reader(constants, sizes)
        self.steps: dict[FxNode, Step] = {}
        self.parts: dict[FxNode, list[Step | None]] = {}
        self.out = Lifted([], {}, {})

    def run(self) -> Lifted:
        for node in self.graph.nodes:
            if node.op != "call_function" or node in self.constants:
                continue
            if node.target is operator.getitem:
                parts, i = self.parts.get(node.args[0], ()), node.args[1]
                if i < len(parts) and (part := parts[i]) is not None and 0 not in self._signal(node).shape:
                    self.steps[node] = part
            elif node.target in ATEN:
                path = path_of(node)
                if self.excluded(path):
                    self.out.opaque[path] = NotFoldable("excluded", where=path)  # once a module
                else:
                    self._read(node)
        self._join()
        return self.out

    def value(self, node: FxNode) -> Value | None:
        return self.reader.value(node)

    def _read(self, node: FxNode) -> None:
        try:
            reading = self.reader(node)
        except NotFoldable as refusal:
            refusal.where = path_of(node) or node.name
            self.out.opaque[node.name] = refusal
            return
        if reading is None:
            return
        if isinstance(reading, Value):
            self._pass_on(node, reading)
        elif isinstance(reading, list):
            self.parts[node] = reading
        else:
            self.steps[node] = reading

    def _pass_on(self, node: FxNode, value: Value) -> None:
        """A call that hands its input on (dropout in eval mode, a copy, x + 0) is that input to whoever reads it.

        A functional graph has no aliasing to preserve; only the caller does not get an input or a weight back.
        """
        source = next(a for a in node.all_input_nodes if a.name == value.name)
        returned = any(user.op == "output" for user in node.users)
        if not (returned and source.op in ("placeholder", "get_attr")):
            node.replace_all_uses_with(source)

    def _join(self) -> None:
        """Give every step its axis and its place in a region."""
        axes = self._axes()
        built: dict[str, Node] = {}
        order: list[str] = []

        def add(name: str, step: Step, value: Value, node: FxNode) -> None:
            inputs = []
            for i, x in enumerate(step.inputs):
                if isinstance(x, Step):
                    inner = f"{name}.in{i}"
                    add(inner, x, _before(step.operation, value), node)
                    inputs.append(inner)
                elif x.bare is not None:
                    inner = f"{x.name}.bare"
                    built[inner] = Node(inner, None, (), x.signal)
                    order.append(inner)
                    self.out.bare[inner] = (node, x.bare)
                    inputs.append(inner)
                else:
                    inputs.append(x.name)
            operation = self._operation(step.operation, axes[node], value, node)
            built[name] = Node(name, operation, tuple(inputs), value.signal, name)
            order.append(name)

        for node, step in self.steps.items():
            value = self.value(node)
            assert value is not None
            add(node.name, step, value, node)
            self.out.nodes[node.name] = node
        by_name = {n.name: n for n in self.graph.nodes}
        for name in list(built):
            for i in built[name].inputs:
                if i not in built:
                    v = self.value(by_name[i])
                    assert v is not None
                    built[i] = Node(i, None, (), v.signal)
                    self.out.nodes[i] = by_name[i]
        self._split(built, order, by_name)

    def _operation(self, kind: Any, axis: int, value: Value, node: FxNode) -> Operation:
        if isinstance(kind, Map):
            op = kind.operator
            call = node.name if isinstance(kind.how, OwnCall) else None
            sized = node.target not in _ANY_SIZE
            dims = len(value.shape)
            place = kind.axis % dims, dims
            given = Given(op.geometry, op, self._source(node), call, sized, isinstance(kind.how, Transpose), place)
            return Apply(given, place[0], kind.how)
        if isinstance(kind, AnyAxis):
            return Apply(uniform(value.shape[axis], kind.factor, kind.shift, self._source(node)), axis, Scale())
        if isinstance(kind, Layout):
            return replace(kind, origin=node.name)
        if isinstance(kind, Spatial) and isinstance(value_of := kind.convolution, Convolution):
            sized = node.target not in _ANY_SIZE
            place = kind.axis, len(value.shape)
            given = Given(value_of.geometry, value_of, self._source(node), node.name, sized, place=place)
            return replace(kind, convolution=given)
        return kind  # type: ignore[no-any-return]

    def _source(self, node: FxNode) -> str:
        """What the parameters of a step are called after: the module that owns its weights, else the one it runs in."""
        call = node.args[0] if node.target is operator.getitem else node
        assert isinstance(call, FxNode)
        weights = [a for a in call.all_input_nodes if a in self.constants]
        owners = [str(a.target).rpartition(".")[0] for a in weights if a.op == "get_attr"]
        source = owners[0] if owners else path_of(node) or node.name
        if any(self.constants.requires_grad(a) for a in weights):
            self.out.training.add(source)
        self.out.computed.update((a, source) for a in weights if a.op != "get_attr")
        return source

    def _axes(self) -> dict[FxNode, int]:
        """The channel axis of steps that do not care: that of a neighbour, else axis 1 of maps and the last of tokens.

        Neighbours are asked from inputs to outputs, then back. An axis whose length is free holds no channels; steps
        left with none (a loss, one number an item) are no steps.
        """
        axes: dict[FxNode, int] = {}
        for node, step in self.steps.items():
            match step.operation:
                case Map(axis=axis) | Concat(axis=axis) | Spatial(axis=axis):
                    axes[node] = axis % self._signal(node).dim
        rest = [n for n in self.steps if n not in axes]
        for node in rest:
            self._inherit(axes, node, ((m, self.steps[node]) for m in node.all_input_nodes))
        for node in reversed(rest):
            self._inherit(axes, node, ((m, self.steps[m]) for m in node.users if m in self.steps))
        for node in rest:
            value = self._signal(node)
            usual = 1 if value.dim in (4, 5) else value.dim - 1
            fixed = [axis for axis in (axes.get(node, usual), *reversed(range(value.dim))) if value.is_fixed(axis)]
            if fixed:
                axes[node] = fixed[0]
            else:
                del self.steps[node]
        return axes

    def _signal(self, node: FxNode) -> Value:
        value = self.value(node)
        assert value is not None
        return value

    def _inherit(self, axes: dict[FxNode, int], node: FxNode, edges: Iterable[tuple[FxNode, Step]]) -> None:
        """The axis of the first neighbour that has one, seen across the step between them."""
        for m, step in edges:
            if node in axes or m not in axes:
                continue
            if isinstance(step.operation, Layout | Slice | Spatial):
                across = step.operation.forward if self.steps.get(node) is step else step.operation.traced
                axis = across(axes[m])
            else:
                axis = axes[m] if self._signal(m).dim == self._signal(node).dim else None
            if axis is not None:
                axes[node] = axis

    def _split(self, built: dict[str, Node], order: list[str], by_name: dict[str, FxNode]) -> None:
        """Connected stretches, each a region; what an opaque call or the output reads is a region's output."""
        parent = {name: name for name in built}

        def find(a: str) -> str:
            while parent[a] != a:
                parent[a] = a = parent[parent[a]]
            return a

        for n in built.values():
            for i in n.inputs:
                if built[i].operation is not None or i.endswith(".bare"):
                    parent[find(i)] = find(n.name)
        # Operators that read one outside value in one way may be computed together: they share a region too.
        first_alike: dict[object, str] = {}
        for n in built.values():
            if isinstance(n.operation, Apply):
                g = n.operation.operator.geometry
                alike = first_alike.setdefault((n.inputs, n.operation.axis, g.windows, g.groups), n.name)
                if g.groups == 1:
                    parent[find(alike)] = find(n.name)
        groups: dict[str, list[str]] = {}
        for name in order:
            groups.setdefault(find(name), []).append(name)
        for names in groups.values():
            inside = set(names)
            inputs = dict.fromkeys(i for name in names for i in built[name].inputs if i not in inside)
            nodes = [built[i] for i in inputs] + [built[name] for name in names]
            outputs = tuple(name for name in names if name in by_name and self._read_outside(by_name[name], inside))
            region = Region(tuple(nodes), outputs)
            region.check()
            self.out.regions.append(region)

    def _read_outside(self, node: FxNode, inside: set[str]) -> bool:
        return any(
            user not in self.steps
            or user.name not in inside
            or any(v.bare is not None for v in _leaves(self.steps[user]))  # its norm reads, of which the tail is a step
            for user in self._readers(node)
        )

    def _readers(self, node: FxNode) -> Iterable[FxNode]:
        """Users that are used; a split's own users stand for it."""
        for user in node.users:
            if user in self.parts:
                yield from user.users
            elif user.users or user.op == "output" or user.is_impure():
                yield user


def _before(operation: Any, value: Value) -> Value:
    """What an unnamed step inside a call computes: of the call's shape, or of that before the call permutes it."""
    if not isinstance(operation, Layout) or operation.order is None:
        return value
    signal, back = value.signal, [operation.order.index(i) for i in range(value.dim)]
    free = frozenset(operation.order[i] for i in signal.free)
    return replace(value, signal=Signal(tuple(signal.shape[i] for i in back), free, signal.itemsize))


def _is_finite(step: Step) -> bool:
    """Are the numbers of its operators? One that is not makes NaN of every zero it is composed with."""
    match step.operation:
        case Map(operator=op):
            finite = _all_finite(op.kernel) and (op.bias is None or _all_finite(op.bias))
        case AnyAxis(factor=factor, shift=shift):
            finite = all(_all_finite(torch.as_tensor(n)) for n in (factor, shift))
        case _:
            finite = True
    return finite and all(_is_finite(x) for x in step.inputs if isinstance(x, Step))


def _all_finite(t: Tensor) -> bool:
    # A sum is finite only if every number is, and takes one pass; it may overflow where none of them does.
    return t.is_meta or bool(t.sum().isfinite()) or bool(t.isfinite().all())


def _leaves(step: Step) -> Iterable[Value]:
    for x in step.inputs:
        if isinstance(x, Step):
            yield from _leaves(x)
        else:
            yield x
