"""IN on the command line: a .pt2 file, or ``package.module:factory`` → a model with the inputs it is called with."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from convfold.arguments import BadUsage, Free, Shape
from convfold.errors import InvalidInput
from convfold.graph.archive import load
from convfold.graph.read import refuse_training

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Model:
    """What IN named. ``example`` is None where neither it nor the options say what to call it with."""

    word: str
    value: nn.Module | ExportedProgram
    example: Inputs | None

    @property
    def module(self) -> nn.Module:
        return self.value if isinstance(self.value, nn.Module) else self.value.module(check_guards=False)

    @property
    def inputs(self) -> Inputs:
        if self.example is None:
            raise BadUsage(f"{self.word} comes without example inputs: give --input name:1,3,224,224")
        return self.example

    def dynamic_shapes(self, free: Sequence[Free]) -> Any:
        """What `convfold.fold` takes: None for the batch, "static", or the free dimensions of each argument."""
        if not free:
            return None
        if isinstance(self.value, ExportedProgram):
            raise BadUsage("--dynamic: a .pt2 file says itself which sizes are free; choose them when exporting it")
        words = [f.word for f in free]
        if len(free) > 1 and {"batch", "all", "none"} & set(words):
            raise BadUsage("--dynamic: batch, all and none stand alone")
        if words in (["batch"], ["none"]):
            return None if words == ["batch"] else "static"
        args, kwargs = self.inputs
        names = [*_parameters(self.value, len(args))[0][: len(args)], *kwargs]
        if unknown := [w for w in words if w not in names and words != ["all"]]:
            raise BadUsage(f"--dynamic: no input is called {unknown[0]!r}; the inputs are {', '.join(names)}")
        dims = {f.word: f.dims for f in free}
        values = zip(names, (*args, *kwargs.values()), strict=True)
        return tuple(_freed(name, value, None if words == ["all"] else dims.get(name, ())) for name, value in values)


def find(word: str, shapes: Sequence[Shape] = ()) -> Model:
    """The model IN names, with the inputs ``shapes`` describe, or else those it comes with.

    Raises:
        InvalidInput: there is no such model, it is not one, or its batch norms are in training mode.
        BadUsage: the shapes do not fit its inputs.
    """
    if os.path.exists(word) or Path(word).suffix in (".pt2", ".onnx"):
        program = load(Path(word))
        example = program.example_inputs
        return Model(word, program, _program_inputs(program, example, shapes) if shapes else example)
    if not all(word.partition(":")):
        raise InvalidInput(f"{word}: no such file; give a .pt2 file, or package.module:factory")
    made = _made(word)
    module, args, kwargs = (*(made if isinstance(made, tuple) else (made,)), None, None)[:3]
    if not isinstance(module, nn.Module):
        raise InvalidInput(f"{word} gives {type(made).__name__}, not an nn.Module or (module, args)")
    if not isinstance(args, Tensor | tuple | list | None) or not isinstance(kwargs, dict | None):
        raise InvalidInput(f"{word} gives (module, args) with args {type(args).__name__}, not a tuple of inputs")
    refuse_training(module)
    if shapes:
        return Model(word, module, _module_inputs(module, shapes))
    args = (args,) if isinstance(args, Tensor) else args
    return Model(word, module, None if args is None else (tuple(args), dict(kwargs or {})))


def _made(word: str) -> Any:
    """Import and call; what the user's code prints goes to standard error, for standard output is for data."""
    module_name, _, path = word.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with redirect_stdout(sys.stderr):
        with _raising(f"{word}: importing {module_name}"):
            try:
                module = importlib.import_module(module_name)
            except ModuleNotFoundError as e:
                raise InvalidInput(f"{word}: no module {e.name!r}, neither here nor installed") from e
        try:
            factory = attrgetter(path)(module)
        except AttributeError as e:
            raise InvalidInput(f"{word}: {module_name} has no {path!r}") from e
        if isinstance(factory, nn.Module) or not callable(factory):
            return factory
        with _raising(word):
            return factory()


@contextmanager
def _raising(what: str) -> Iterator[None]:
    """Whatever the user's code raises, an exit included, becomes one line that says so."""
    try:
        yield
    except InvalidInput:
        raise
    except (Exception, SystemExit) as e:
        text = str(e).strip().partition("\n")[0]
        raise InvalidInput(f"{what} raised {type(e).__name__}{': ' + text if text else ''}") from e


def _module_inputs(module: nn.Module, shapes: Sequence[Shape]) -> Inputs:
    """Bound to the parameters of ``forward``: positional as far as they follow one another, by name from there."""
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    positional, by_name = _parameters(module, len(shapes))
    given = _named(shapes, positional + by_name)
    args = []
    for name in positional:
        if name not in given:
            break
        args.append(given.pop(name).draw(dtype))
    return tuple(args), {name: shape.draw(dtype) for name, shape in given.items()}


def _program_inputs(program: ExportedProgram, example: Inputs | None, shapes: Sequence[Shape]) -> Inputs:
    """In place of the program's own, by the names of its graph."""
    wanted = set(program.graph_signature.user_inputs)
    values = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted}
    given = _named(shapes, list(values))
    old = dict(zip(values, pytree.tree_leaves(example), strict=True)) if example else {}
    if missing := [name for name in values if name not in given and name not in old]:
        raise BadUsage(f"--input is missing for {', '.join(missing)}")
    leaves = [
        given[name].draw(value.dtype if isinstance(value, Tensor) else torch.float32) if name in given else old[name]
        for name, value in values.items()
    ]
    args, kwargs = pytree.tree_unflatten(leaves, program.call_spec.in_spec)
    return tuple(args), dict(kwargs)


def _named(shapes: Sequence[Shape], names: Sequence[str]) -> dict[str, Shape]:
    """Each shape under the name of its input; those without a name take the names left over, in order."""
    given: dict[str, Shape] = {}
    for shape in sorted(shapes, key=lambda s: s.name is None):
        name = shape.name or next((n for n in names if n not in given), None)
        if name is None or name not in names:
            raise BadUsage(
                f"--input: the model has no input {shape.name or len(given) + 1!r}; it has {', '.join(names) or 'none'}"
            )
        if name in given:
            raise BadUsage(f"--input: {name} is given twice")
        given[name] = shape
    return given


def _parameters(module: nn.Module, extra: int) -> tuple[list[str], list[str]]:
    """The names of forward's positional and keyword-only parameters; ``*args`` counts for ``extra`` of them."""
    positional, by_name = [], []
    for p in inspect.signature(module.forward).parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            positional += [f"{p.name}_{i}" for i in range(extra)]
        elif p.kind is p.KEYWORD_ONLY:
            by_name.append(p.name)
        elif p.kind is not p.VAR_KEYWORD:
            positional.append(p.name)
    return positional, by_name


def _freed(name: str, value: Any, dims: Sequence[int] | None) -> Any:
    """Dim.AUTO for these dimensions of every tensor in ``value``, for each dimension where None."""

    def spec(x: Any) -> Mapping[int, Any] | None:
        if not isinstance(x, Tensor):
            return None
        if dims and max(dims) >= x.dim():
            raise BadUsage(f"--dynamic: input {name!r} has {x.dim()} dimensions; they count from 0")
        return {d: Dim.AUTO for d in (range(x.dim()) if dims is None else dims)}

    return pytree.tree_map(spec, value)
