"""IN on the command line: a .pt2 file, or ``package.module:factory`` → a model with the inputs it is called with."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from convfold.arguments import BadUsage, Free, Origin, Shape, short
from convfold.bench import Entrant
from convfold.errors import InvalidInput
from convfold.files import is_onnx
from convfold.frontends.torch.archive import load
from convfold.frontends.torch.read import refuse_training
from convfold.inputs import Inputs, batch_of_program, freed, of_module, of_program


@dataclass(frozen=True)
class Model:
    """What IN named. ``example`` is None where neither it nor the options say what to call it with."""

    word: str
    value: nn.Module | ExportedProgram | Path
    example: Inputs | None

    @property
    def is_onnx(self) -> bool:
        return isinstance(self.value, Path)

    @property
    def suffix(self) -> str:
        """Of a file that it is written to where no name is given."""
        return ".onnx" if self.is_onnx else ".pt2"

    @property
    def module(self) -> Any:
        """What can be run."""
        if isinstance(self.value, ExportedProgram):
            return self.value.module(check_guards=False)
        return self.value

    @property
    def entrant(self) -> Entrant:
        """In a comparison of times."""
        return Entrant(self.word, self.value, None if self.is_onnx else self.module)

    @property
    def fixed_batch(self) -> int | None:
        """Dimension 0 of the first input that has one, where a file fixes it."""
        if isinstance(self.value, ExportedProgram):
            return batch_of_program(self.value)
        if not isinstance(self.value, Path):
            return None
        from convfold.frontends.onnx.source import inputs, opened

        shapes = (x.shape for x in inputs(opened(self.value)))
        first = next((shape[0] for shape in shapes if shape), None)
        return first if isinstance(first, int) and first > 0 else None

    def drawn(self) -> Inputs:
        """Those it comes with or that were described; of ONNX drawn from what it declares."""
        if not isinstance(self.value, Path):
            return self.inputs
        from convfold.frontends.onnx.source import drawn, read

        source = read(self.value, *self.inputs)
        found = drawn(source.model, source.example, 0)
        return tuple(map(torch.from_numpy, found.values())), {}

    def lifted(self, opset: int | None) -> Any:
        """What is folded: of ONNX in another opset, where one is asked for."""
        if opset is None:
            return self.value
        if not isinstance(self.value, Path):
            raise BadUsage(f"--opset: {self.word} is no ONNX file")
        from convfold.frontends.onnx.opsets import lifted

        return lifted(self.value, opset)

    @property
    def inputs(self) -> Inputs:
        if self.example is None:
            raise BadUsage(f"{self.word} comes without example inputs: give --input name:1,3,224,224")
        return self.example

    def dynamic_shapes(self, free: Sequence[Free]) -> Any:
        """What `convfold.fold` takes: None for the batch, "static", or the free dimensions of each argument."""
        if not free:
            return None
        if isinstance(self.value, Path):
            if free[0].of_all:
                return "static" if free[0].word == "none" else free[0].word
            return {f.word: f.dims for f in free}
        if isinstance(self.value, ExportedProgram):
            raise BadUsage("--dynamic: a .pt2 file says itself which sizes are free; choose them when exporting it")
        if free[0].of_all and free[0].word != "all":
            return None if free[0].word == "batch" else "static"
        return freed(self.value, self.inputs, None if free[0].of_all else {f.word: f.dims for f in free})


def find(origin: Origin, shapes: Sequence[Shape] = ()) -> Model:
    """The model IN names, with the inputs ``shapes`` describe, or else those it comes with.

    Raises:
        InvalidInput: there is no such model, it is not one, or its batch norms are in training mode.
        BadUsage: the shapes do not fit its inputs.
    """
    word = origin.word
    if origin.path is not None and is_onnx(origin.path):
        named = {shape.name: shape.sizes for shape in shapes if shape.name}
        return Model(word, origin.path, (tuple(s.sizes for s in shapes if not s.name), named))
    if origin.path is not None:
        program = load(origin.path)
        example = program.example_inputs
        return Model(word, program, of_program(program, example, shapes) if shapes else example)
    made = _made(word)
    module, args, kwargs = (*(made if isinstance(made, tuple) and len(made) < 4 else (made,)), None, None, None)[:3]
    if not isinstance(module, nn.Module):
        raise InvalidInput(f"{word} gives {type(made).__name__}, not an nn.Module or (module, args)")
    if not isinstance(args, Tensor | tuple | list | None) or not isinstance(kwargs, dict | None):
        what = type(args).__name__ if kwargs is None else f"{type(args).__name__} and kwargs {type(kwargs).__name__}"
        raise InvalidInput(f"{word} gives (module, args) with args {what}, not a tuple of inputs")
    refuse_training(module)
    if shapes:
        return Model(word, module, of_module(module, shapes))
    args = (args,) if isinstance(args, Tensor) else args
    return Model(word, module, None if args is None else (tuple(args), dict(kwargs or {})))


def _made(word: str) -> Any:
    """Import and call."""
    module_name, _, path = word.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with _raising(f"{word}: importing {module_name}"):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as e:
            raise InvalidInput(f"{word}: no module {e.name!r}, neither here nor installed") from e
    with _raising(word):
        try:
            factory = attrgetter(path)(module)
        except AttributeError as e:
            raise InvalidInput(f"{word}: {module_name} has no {path!r}") from e
        return factory if isinstance(factory, nn.Module) or not callable(factory) else factory()


@contextmanager
def _raising(what: str) -> Iterator[None]:
    """Whatever the user's code raises, an exit included, becomes one line that says so."""
    try:
        yield
    except (InvalidInput, KeyboardInterrupt):
        raise
    except BaseException as e:
        text = str(e).strip().partition("\n")[0]
        raise InvalidInput(f"{what} raised {type(e).__name__}{': ' + short(text, 300) if text else ''}") from e
