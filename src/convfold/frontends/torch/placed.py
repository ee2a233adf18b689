"""Parts of a signal written anew, as runtimes have it: added where they belong, or laid end to end with the rest.

What a border is mended by is written into a part of a signal in place. Functional, that is a ``slice_scatter``, which
exporters turn into indices for every position and a ScatterND.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

from convfold.frontends.torch.free import is_free

aten = torch.ops.aten

END = 2**63 - 1


def place(program: ExportedProgram) -> None:
    """Rewrite the program's graph."""
    graph = program.graph
    for node in list(graph.nodes):
        if node.target is aten.index_select.default and (span := _ordered(node.args[2])) is not None:
            node.target, node.args = aten.slice.Tensor, (*node.args[:2], *span)
        if node.target is aten.slice_scatter.default:
            with graph.inserting_before(node):
                new = _placed(graph, node)
            if new is not None:
                new.meta = {**node.meta, "val": new.meta.get("val", node.meta["val"])}
                node.replace_all_uses_with(new)
                for spec in program.graph_signature.output_specs:
                    if getattr(spec.arg, "name", None) == node.name:
                        spec.arg.name = new.name
                graph.erase_node(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()


def _ordered(index: Any) -> tuple[Any, Any] | None:
    """From where to where an index goes up one by one; None where it does not."""
    if not isinstance(index, Node) or index.target not in (aten.arange.start, aten.arange.start_step):
        return None
    first, last, *step = index.args
    return (first, last) if step in ([], [1]) else None


def outputs_of(program: ExportedProgram) -> list[str]:
    """What the model's own code calls what it returns: keys and fields; of a tuple by number; one alone is "output"."""
    spec = program.call_spec.out_spec
    assert spec is not None
    paths, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten([0] * spec.num_leaves, spec))
    words = ["_".join(re.findall(r"\w+", pytree.keystr(path))) for path, _ in paths]
    if words == [""] or words == ["0"]:
        return ["output"]
    taken = {n.name for n in program.graph.nodes if n.op == "placeholder"}
    named = [f"output_{word}" if not word or word[0].isdigit() or word in taken else word for word in words]
    return named


def _placed(graph: Graph, node: Node) -> Node | None:
    given: list[Any] = list(node.args)
    y, part, axis, start, stop, step = given + [0, None, None, 1][len(given) - 2 :]
    if step != 1 or not isinstance(y, Node) or not isinstance(part, Node):
        return None
    assert isinstance(axis, int)
    axis %= y.meta["val"].dim()
    start, stop = 0 if start is None else start, END if stop is None else stop
    if (more := _added(part, y, axis, start, stop)) is not None and (span := _span(y, axis, start, stop)) is not None:
        return _call(graph, aten.add.Tensor, y, _padded(graph, more, y, axis, *span))
    pieces = [] if start == 0 else [_call(graph, aten.slice.Tensor, y, axis, 0, start)]
    pieces.append(part)
    if stop != END:
        pieces.append(_call(graph, aten.slice.Tensor, y, axis, stop, END))
    return _call(graph, aten.cat.default, pieces, axis)


def _added(part: Node, y: Node, axis: int, start: Any, stop: Any) -> Node | None:
    """What is added to a part of y that is put back where it came from."""
    if part.target is not aten.add.Tensor or part.kwargs or not all(isinstance(a, Node) for a in part.args):
        return None
    own, more = part.args
    assert isinstance(own, Node)
    if own.target is not aten.slice.Tensor or len(own.args) > 4:
        return None
    given: list[Any] = list(own.args)
    source, of, first, last = given + [0, None, None][len(given) - 1 :]
    same = source is y and isinstance(of, int) and of % y.meta["val"].dim() == axis
    return more if same and (first or 0, END if last is None else last) == (start, stop) else None  # type: ignore[return-value]


def _span(y: Node, axis: int, start: Any, stop: Any) -> tuple[int, int] | None:
    """From which position to which, counted from the ends: zeros before and behind; None where sizes are free."""
    n = y.meta["val"].shape[axis]
    if is_free(n) or not isinstance(start, int) or not isinstance(stop, int):
        return None
    first, last, _ = slice(start, stop).indices(int(n))
    return first, int(n) - last


def _padded(graph: Graph, part: Node, y: Node, axis: int, before: int, behind: int) -> Node:
    shape, n = part.meta["val"].shape, int(y.meta["val"].shape[axis])
    at = axis - y.meta["val"].dim()  # from the end: the part may have fewer axes
    if len(shape) < -at:
        part = _call(graph, aten.reshape.default, part, [1] * (-at - len(shape)) + [int(m) for m in shape])
        shape = part.meta["val"].shape
    if shape[at] != n - before - behind:  # one position for all
        sizes = [-1] * len(shape)
        sizes[at] = n - before - behind
        part = _call(graph, aten.expand.default, part, sizes)
    return _call(graph, aten.constant_pad_nd.default, part, [0, 0] * (-at - 1) + [before, behind])


def _call(graph: Graph, target: Any, *args: Any) -> Node:
    node = graph.call_function(target, args)
    given = torch.fx.node.map_arg(args, lambda n: n.meta["val"])
    value = target(*given)
    assert isinstance(value, Tensor)
    node.meta["val"] = value
    return node
