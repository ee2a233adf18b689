"""What is inside a protobuf: the graphs in a node, the tensors in a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


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


def garbled(message: Message) -> bytes | None:
    """A name, or another text, that is none: the bytes in its place."""
    if isinstance(message, onnx.TensorProto):  # whose numbers would be copied
        own: list[Any] = [message.name, message.doc_string]
        return next((t for t in own if isinstance(t, bytes)), None) or _first(
            (*message.external_data, *message.metadata_props)
        )
    for field, value in message.ListFields():  # few objects and calls: models have tens of thousands of messages
        if field.type == FieldDescriptor.TYPE_STRING:
            found = next((v for v in ((value,) if isinstance(value, str | bytes) else value) if type(v) is bytes), None)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            found = garbled(value) if isinstance(value, Message) else _first(value)
        else:
            continue
        if found is not None:
            return found
    return None


def _first(messages: Iterable[Message]) -> bytes | None:
    for m in messages:
        if (found := garbled(m)) is not None:
            return found
    return None
