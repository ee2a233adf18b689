"""What is inside a protobuf: the graphs in a node, the tensors in a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from convfold.errors import InvalidInput

#: Attributes with nothing in them but numbers.
_NUMBERS = {
    onnx.AttributeProto.FLOAT,
    onnx.AttributeProto.INT,
    onnx.AttributeProto.FLOATS,
    onnx.AttributeProto.INTS,
}


def inside(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.GraphProto]:
    """Branches, and bodies of loops; of attributes that hold what they are said to."""
    for a in attributes:
        if a.type == onnx.AttributeProto.GRAPH:
            yield a.g
        elif a.type == onnx.AttributeProto.GRAPHS:
            yield from a.graphs


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Wherever they are, but in sparse ones, whose parts stay inside."""
    yield from _of_graph(model.graph)
    for f in model.functions:
        for node in f.node:
            yield from _of_attributes(node.attribute)
        yield from _of_attributes(f.attribute_proto)


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _of_attributes(node.attribute)


def _of_attributes(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.TensorProto]:
    for a in attributes:
        if a.HasField("t"):
            yield a.t
        yield from a.tensors
    for g in inside(attributes):
        yield from _of_graph(g)


def garbled(message: Message, seen: set[bytes] | None = None) -> bytes | None:
    """A name, or another text, that is none: the bytes in its place; but of calls' metadata, which are much text.

    ``seen``: types that have none.
    """
    seen = set() if seen is None else seen
    if isinstance(message, onnx.TensorProto):  # whose numbers would be copied
        own: list[Any] = [message.name, message.doc_string]
        return next((t for t in own if isinstance(t, bytes)), None) or _first(
            (*message.external_data, *message.metadata_props), seen
        )
    if isinstance(message, onnx.TypeProto):  # half of all messages lie in one, and most are alike
        if (text := message.SerializeToString()) in seen:
            return None
        seen.add(text)
    if isinstance(message, onnx.AttributeProto) and message.type in _NUMBERS:
        texts: list[Any] = [message.name, message.doc_string, message.ref_attr_name]
        return next((t for t in texts if type(t) is bytes), None)
    is_call = isinstance(message, onnx.NodeProto)
    for field, value in message.ListFields():  # few objects and calls: models have tens of thousands of messages
        found, kind = None, field.type
        if kind == FieldDescriptor.TYPE_STRING:
            if type(value) is not str:
                found = value if type(value) is bytes else next((t for t in value if type(t) is bytes), None)
        elif kind == FieldDescriptor.TYPE_MESSAGE and not (is_call and field.name == "metadata_props"):
            found = garbled(value, seen) if isinstance(value, Message) else _first(value, seen)
        if found is not None:
            return found
    return None


def refuse_garbled(text: bytes | None) -> None:
    if text is not None:
        raise InvalidInput(f"is damaged: a name in it is no text: {text[:40]!r}")


def _first(messages: Sequence[Message], seen: set[bytes]) -> bytes | None:
    if messages and isinstance(messages[0], onnx.StringStringEntryProto):
        return next((t for m in messages for t in (m.key, m.value) if type(t) is bytes), None)
    for m in messages:
        if (found := garbled(m, seen)) is not None:
            return found
    return None
