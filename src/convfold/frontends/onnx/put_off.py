"""What a file declares of the values that its calls compute, read when it is asked for.

Of nearly all of them the rules of their operators tell, and most are gone when the model is folded.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

#: Where a model of ours keeps what is not read yet, by the names of values.
KEY = "convfold.declared"

Infos = dict[str, onnx.ValueInfoProto]


def taken_out(graph: onnx.GraphProto, names: set[str]) -> Infos:
    """What is declared of these, which is in the graph no more."""
    found = {info.name: info for info in graph.value_info if info.name in names}
    rest = [info for info in graph.value_info if info.name not in names]
    graph.ClearField("value_info")
    graph.value_info.extend(rest)
    return found


def put_off(model: ir.Model, infos: Infos) -> None:
    """To be read later."""
    if infos:
        model.meta[KEY] = infos


def declare(model: ir.Model, value: ir.Value) -> None:
    """What the file says of it is read."""
    infos, node = model.meta.get(KEY), value.producer()
    if not infos or node is None or node.graph is not model.graph:  # in another a value may be called the same
        return
    info = infos.pop(value.name, None)
    if info is not None:
        ir.serde.deserialize_value_info_proto(info, value)


def declare_all(model: ir.Model) -> None:
    """Of all values that there still are."""
    for node in model.graph if model.meta.get(KEY) else ():
        for y in node.outputs:
            declare(model, y)
    model.meta.pop(KEY, None)
