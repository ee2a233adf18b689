"""Why a model could not be exported: in one line, with the line of the model's own code at fault."""

from __future__ import annotations

import dis
import linecache
import os
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree

from convfold.errors import InvalidInput
from convfold.layers.known import refuse_uninitialised

#: What is not the model's own code, beside Python's.
_NOT_THE_MODEL = ("torch", "convfold", "sympy", "mpmath")

_LONGEST = 120


def untraceable(model: nn.Module, e: BaseException) -> InvalidInput:
    """What ``torch.export`` raised of this model, in words a user can act on."""
    name, at = type(model).__name__, _of_the_model(e)
    where = f"{_short(at)}: `{_source(at)[:_LONGEST]}`" if at is not None else ""
    reason = next((x for x in _chain(e) if isinstance(x, _ONLY_AT_RUN_TIME)), None)
    if reason is None:
        return InvalidInput(f"{name} cannot be exported with these inputs: {_first_line(e)}{where and f' ({where})'}")
    what, instead = _what(reason, at)
    return InvalidInput(
        f"{name} cannot be exported: it {what} that is only known when it runs, at {where or 'a place unknown'}; "
        f"{instead}, or fold the modules before and after it one by one"
    )


def refuse_unexportable(model: nn.Module, inputs: Any) -> None:
    """What no export could make sense of, before it is tried.

    Raises:
        InvalidInput: TorchScript, weights without a shape, or without numbers where the inputs have them.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise InvalidInput(
            "cannot fold TorchScript, which torch.export does not take; give the module it was made from"
        )
    refuse_uninitialised(model)
    given = [x for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)]
    bare = next((name for name, p in model.named_parameters() if p.is_meta), None)
    if bare is not None and given and not any(x.is_meta for x in given):
        raise InvalidInput(
            f"weight {bare!r} is on the meta device and has no numbers, and the inputs are on {given[0].device}: load "
            "the weights first, or give inputs on the meta device"
        )


_ONLY_AT_RUN_TIME = (GuardOnDataDependentSymNode, DataDependentOutputException)


def _what(reason: BaseException, at: TracebackType | None) -> tuple[str, str]:
    """What the model does there, and what to do instead."""
    step = _step(at)
    if "JUMP" in step or step in ("TO_BOOL", "UNARY_NOT") or (at is not None and "bool(" in _source(at)):
        return "branches on a value", "use torch.where or torch.cond there"
    if "Size-like symbols: none" in str(reason) or isinstance(reason, DataDependentOutputException):
        return "makes a Python number of a value", "keep it a tensor there"
    return "needs a size", "keep the size (torch.where in place of a selection)"


def _step(at: TracebackType | None) -> str:
    """What Python was doing: the name of the instruction."""
    if at is None:
        return ""
    steps = dis.get_instructions(at.tb_frame.f_code)
    return next((s.opname for s in steps if s.offset == at.tb_lasti), "")


def _of_the_model(e: BaseException) -> TracebackType | None:
    """The deepest call of the model's own code, as far as its source is at hand."""
    found = None
    for error in _chain(e):
        at = error.__traceback__
        while at is not None:
            package = str(at.tb_frame.f_globals.get("__name__")).partition(".")[0]
            if package not in _NOT_THE_MODEL and package not in sys.stdlib_module_names and _source(at):
                found = at
            at = at.tb_next
    return found


def _chain(e: BaseException | None) -> Iterator[BaseException]:
    while e is not None:
        yield e
        e = e.__cause__ or (None if e.__suppress_context__ else e.__context__)


def _source(at: TracebackType) -> str:
    frame = at.tb_frame
    return linecache.getline(frame.f_code.co_filename, at.tb_lineno, frame.f_globals).strip()


def _short(at: TracebackType) -> str:
    """As short as the file can be named from here."""
    path = at.tb_frame.f_code.co_filename
    return f"{path.removeprefix(os.getcwd() + os.sep)}:{at.tb_lineno}"


def _first_line(e: BaseException) -> str:
    text = str(e).strip()
    return text.splitlines()[0][:300] if text else type(e).__name__
