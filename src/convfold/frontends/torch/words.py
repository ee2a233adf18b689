"""Which strings may a serialised program hold? Loading it makes Python code, look-ups and imports of them."""

from __future__ import annotations

import ast
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from functools import reduce
from typing import Any

import sympy
import torch
from torch._export.serde.serialize import _SYM_OPS
from torch._functorch import predispatch
from torch._ops import HigherOrderOperator, OpOverload
from torch.utils import _pytree as pytree
from torch.utils._sympy import functions as symbolic

from convfold.frontends.torch.pickled import allowed

#: What is wrong with a string, or None.
Rule = Callable[[str], str | None]


def _word(text: str) -> str | None:
    return None if re.fullmatch(r"[^\W\d]\w*|", text, re.ASCII) else "which is no name"


def _path(text: str) -> str | None:
    """Of a module or weight: anything ``add_module`` takes and the generated source can quote."""
    harmless = text.isprintable() and not set(text) & set("\"'\\")
    magic = any(part.startswith("__") and part.endswith("__") for part in text.split("."))
    return None if harmless and not magic else "which is no path of a weight"


def _operator(text: str) -> str | None:
    if text in _FUNCTIONS:
        return None
    unknown = "an operator that is not known here; import what registers it first"
    if not re.fullmatch(r"torch\.ops(\.[^\W\d]\w*){2,3}", text, re.ASCII):
        return unknown
    try:
        found = reduce(getattr, text.split(".")[2:], torch.ops)
    except AttributeError:
        return unknown
    if isinstance(found, HigherOrderOperator):
        return None if found._name in _HIGHER else "an operator whose operands may be code"
    if not isinstance(found, OpOverload):
        return unknown
    words = {a.name for a in found._schema.arguments if "str" in str(a.type)}
    opens = words & {"filename", "file", "path"} or found.namespace == "debugprims"
    return "an operator that opens files" if opens else None


def _expression(text: str) -> str | None:
    """Of sizes: sympy evaluates it as Python."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval"))) if text.isascii() else [None]
    except (SyntaxError, ValueError):
        nodes = [None]
    return None if all(map(_arithmetic, nodes)) else "which is no expression of sizes"


def _arithmetic(node: ast.AST | None) -> bool:
    match node:
        case ast.Call(func=ast.Name(name)):
            return name in _SYMBOLIC or name.startswith("OpaqueUnaryFn_")
        case ast.Constant(str(text)):
            return bool(re.fullmatch(r"[A-Za-z_]\w*|-?[\d.]+([eE][+-]?\d+)?", text, re.ASCII))
        case ast.Constant(value):
            return isinstance(value, int | float | None)
        case ast.keyword(arg=name):
            return name is not None
    kinds = (ast.Expression, ast.Name, ast.BinOp, ast.UnaryOp, ast.Compare)
    return isinstance(node, (*kinds, ast.operator, ast.unaryop, ast.cmpop, ast.Load))


def _tree(text: str) -> str | None:
    """Of containers: their classes must be registered, and nothing is imported for them."""
    for node in _nodes(json.loads(text)[1]):
        if node["type"] not in pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE:
            return f"a container {node['type']} that is not registered here; register it before loading"
        if name := next((name for name in _named(node["context"]) if name), None):
            return f"which asks for {name}"
    return None


def _inputs(text: str) -> str | None:
    """The tree of all arguments; the names of those given by name become parameters of ``forward``."""
    match json.loads(text)[1]:
        case {"type": "builtins.tuple", "children_spec": [_, {"type": "builtins.dict", "context": str(names)}]}:
            if any(_word(name) or not name for name in json.loads(names)):
                return "which names an argument as none is called"
    return _tree(text)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if tree["type"] is not None:
        yield tree
    for child in tree["children_spec"]:
        yield from _nodes(child)


def _named(context: Any) -> Iterator[str | None]:
    """What a container's context names that is neither an Enum imported already nor a class of plain values."""
    match context:
        case str():
            try:
                yield from _named(json.loads(context))
            except ValueError:
                return  # words of a serialiser of the container's own
        case {"__enum__": _, "fqn": str(fqn)}:
            module, _, path = fqn.partition(":")
            found = reduce(lambda at, part: vars(at).get(part, type), path.split("."), sys.modules.get(module, type))
            yield None if isinstance(found, type) and issubclass(found, Enum) else fqn
        case {"default_factory_module": module, "default_factory_name": name}:
            yield None if f"{module}.{name}" in allowed() else f"{module}.{name}"
    if isinstance(context, dict | list):
        for part in context.values() if isinstance(context, dict) else context:
            yield from _named(part)


#: By the field's name.
RULES: dict[str, Rule] = {
    **dict.fromkeys(("name", "as_name", "forward_arg_names", "user_input_name"), _word),
    **dict.fromkeys(("parameter_name", "buffer_name", "tensor_constant_name", "custom_obj_name", "class_fqn"), _path),
    **dict.fromkeys(("target", "as_operator"), _operator),
    "expr_str": _expression,
    "in_spec": _inputs,
    "out_spec": _tree,
}
#: The same for the keys of a dictionary.
KEYS: dict[str, Rule] = {"PayloadConfig.config": _path}

#: Functions that are no operators, as torch spells them: arithmetic of sizes, and what `vmap` and `jvp` leave behind.
_FUNCTIONS = {
    f"{f.__module__}.{f.__name__}"
    for f in (*_SYM_OPS, *vars(math).values(), *vars(predispatch).values())
    if callable(f) and f.__module__ in ("_operator", "torch", "math", predispatch.__name__)
}
_HIGHER = {
    "associative_scan", "auto_functionalized", "auto_functionalized_v2", "autograd_function_apply", "cond",
    "flex_attention", "foreach_map", "hints_wrapper", "invoke_subgraph", "map_impl", "out_dtype", "run_const_graph",
    "scan", "strict_mode", "tag_activation_checkpoint", "while_loop", "while_loop_stack_output", "with_effects",
    "wrap", "wrap_activation_checkpoint", "wrap_with_autocast", "wrap_with_set_grad_enabled",
}  # fmt: skip
_SYMBOLIC = {
    "Abs", "Add", "And", "Eq", "Equality", "ExprCondPair", "Float", "Ge", "GreaterThan", "Gt", "ITE", "Integer", "Le",
    "LessThan", "Lt", "Max", "Min", "Mod", "Mul", "Ne", "Not", "Or", "Piecewise", "Pow", "Rational",
    "StrictGreaterThan", "StrictLessThan", "Symbol", "Unequality", "Xor", "ceiling", "floor", "log", "sqrt",
    *(name for name, f in vars(symbolic).items() if isinstance(f, type) and issubclass(f, sympy.Basic)),
}  # fmt: skip
