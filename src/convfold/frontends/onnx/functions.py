"""Functions of a model's own, written out where they are called: what is in them is folded with what is around."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as passes

from convfold.frontends.onnx.known import bodies


def inline(model: ir.Model) -> None:
    """All but those whose meaning would change or that onnx_ir does not take; they are left alone.

    A model in which nothing folds is written as it was read, its functions with it.
    """
    if not model.functions:
        return
    left = {key for key, f in model.functions.items() if not _can(f, model)}
    for node in (*model.graph.all_nodes(), *(n for f in model.functions.values() for n in f.all_nodes())):
        f = model.functions.get(node.op_identifier())
        if f is None:
            continue
        if bodies(node) or len(node.inputs) > len(f.inputs) or len(node.outputs) != len(f.outputs):
            left.add(f.identifier())
    passes.InlinePass(lambda f: f.identifier() not in left)(model)
    passes.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]


def _can(f: ir.Function, model: ir.Model) -> bool:
    """Are its operators the model's, and its outputs, each, computed in it?"""
    same = all(model.opset_imports.get(domain, version) == version for domain, version in f.opset_imports.items())
    own = {id(y) for y in f.outputs} - {id(x) for x in f.inputs}
    return same and len(own) == len(f.outputs)
