"""A stretch of a graph as a model of its own: what its plans are timed by."""

from __future__ import annotations

from collections.abc import Container, Sequence

import onnx_ir as ir
import torch
from torch import Tensor

from convfold.frontends.onnx.known import Knowledge
from convfold.frontends.onnx.tensors import DTYPES


def alone(
    model: ir.Model, outputs: Sequence[ir.Value], given: Container[ir.Value], known: Knowledge
) -> tuple[ir.Model, list[Tensor]] | None:
    """What computes ``outputs`` from values that are ``given``, and normal numbers for those, at the example's sizes.

    What is known of a given value, its size say, is a constant. None where one is given whose numbers mean something,
    indices say, or the stretch is not of one graph.
    """
    graph = outputs[0].graph
    inputs, seen, todo = list[ir.Value](), set[ir.Value](), list(outputs)
    while todo:
        x = todo.pop()
        if x in seen:
            continue
        seen.add(x)
        if x.graph is not graph:
            return None
        maker = x.producer()
        if x in given or (maker is None and not x.is_initializer()):
            inputs.append(x)
        elif maker is not None:
            todo += [i for i in maker.inputs if i is not None]
    if graph is None or any(y in inputs for y in outputs):
        return None
    cut = ir.convenience.extract(graph, inputs, outputs)
    numbers = []
    for x, old in zip(list(cut.inputs), inputs, strict=True):
        it = known[old]
        if it.content is not None:
            cut.inputs.remove(x)
            x.const_value = ir.tensor(it.content, name=x.name)
            cut.register_initializer(x)
        elif it.shape is None or it.dtype not in DTYPES or not DTYPES[it.dtype].is_floating_point:
            return None
        else:
            x.shape, x.dtype = ir.Shape(it.shape), it.dtype
            numbers.append(torch.randn(it.shape).to(DTYPES[it.dtype]))
    for y, old in zip(cut.outputs, outputs, strict=True):
        it = known[old]
        y.shape = None if it.shape is None else ir.Shape(it.shape)
        if it.dtype is not None:
            y.dtype = it.dtype
    cut.opset_imports.update(model.opset_imports)
    made = ir.Model(cut, ir_version=model.ir_version)
    ir.external_data.load_to_model(made)
    return made, numbers
