"""What a model on the command line is called with: inputs drawn at random, and which of their sizes may change."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from convfold import memory
from convfold.arguments import BadUsage, Shape
from convfold.errors import InvalidInput

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def of_module(module: nn.Module, shapes: Sequence[Shape]) -> Inputs:
    """Bound to the parameters of ``forward``: positional as far as they follow one another, by name from there.

    Raises:
        BadUsage: the names do not fit.
        InvalidInput: they are larger than a quarter of the memory there is.
    """
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    positional, by_name = _parameters(module, len(shapes))
    given = _drawn({name: (shape, dtype) for name, shape in _named(shapes, positional + by_name).items()})
    args = []
    for name in positional:
        if name not in given:
            break
        args.append(given.pop(name))
    return tuple(args), given


def of_program(program: ExportedProgram, example: Inputs | None, shapes: Sequence[Shape]) -> Inputs:
    """In place of the program's own, by the names of its graph."""
    wanted = set(program.graph_signature.user_inputs)
    values = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted}
    dtypes = {name: value.dtype if isinstance(value, Tensor) else torch.float32 for name, value in values.items()}
    given = _named(shapes, list(values))
    old = dict(zip(values, pytree.tree_leaves(example), strict=True)) if example else {}
    if missing := [name for name in values if name not in given and name not in old]:
        raise BadUsage(f"--input is missing for {', '.join(missing)}")
    new = _drawn({name: (shape, dtypes[name]) for name, shape in given.items()})
    args, kwargs = pytree.tree_unflatten([new.get(name, old.get(name)) for name in values], program.call_spec.in_spec)
    return tuple(args), dict(kwargs)


def batch_of_program(program: ExportedProgram) -> int | None:
    """Dimension 0 of the first input that has one; None where it is free."""
    wanted = set(program.graph_signature.user_inputs)
    values = (n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted)
    first = next((x.shape[0] for x in values if isinstance(x, Tensor) and x.dim()), None)
    return first if isinstance(first, int) else None


def at_batch(inputs: Inputs, n: int) -> Inputs:
    """The same for ``n`` samples, those there are in turn: dimension 0 of the first tensor that has one, and of all
    that are as large as it there.

    Raises:
        InvalidInput: there is no such tensor, or they are larger than a quarter of the memory there is.
    """
    found = [x for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor) and x.dim()]
    if not found or not found[0].shape[0]:
        raise InvalidInput(f"--batch {n}: no input has a dimension 0 with samples to repeat")
    now = found[0].shape[0]
    taken = sum(x.numel() * x.element_size() // now * n for x in found if x.shape[0] == now)
    there = memory.available()
    if taken > there / 4:
        raise InvalidInput(
            f"--batch {n}: inputs of {memory.in_words(taken)} where {memory.in_words(there)} are free: not enough "
            "memory to compute with them. Give a smaller one."
        )

    def resized(x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.dim() or x.shape[0] != now:
            return x
        return x.detach()[torch.arange(n, device=x.device) % now]

    args, kwargs = pytree.tree_map(resized, inputs)
    return args, kwargs


def freed(module: nn.Module, inputs: Inputs, dims: Mapping[str, Sequence[int]] | None) -> Any:
    """What ``torch.export`` takes for ``dynamic_shapes``: these dimensions of each input free; None frees all of them.

    Raises:
        BadUsage: there is no such input, or no such dimension.
    """
    args, kwargs = inputs
    names = [*_parameters(module, len(args))[0][: len(args)], *kwargs]
    if unknown := [name for name in dims or () if name not in names]:
        raise BadUsage(f"--dynamic: no input is called {unknown[0]!r}; the inputs are {', '.join(names)}")
    values = zip(names, (*args, *kwargs.values()), strict=True)
    return tuple(_freed(name, value, None if dims is None else dims.get(name, ())) for name, value in values)


def _freed(name: str, value: Any, dims: Sequence[int] | None) -> Any:
    """Dim.AUTO for these dimensions of every tensor in ``value``, for each dimension where None."""
    if dims and not any(isinstance(x, Tensor) for x in pytree.tree_leaves(value)):
        raise BadUsage(f"--dynamic: input {name!r} is no tensor")

    def spec(x: Any) -> Mapping[int, Any] | None:
        if not isinstance(x, Tensor):
            return None
        if dims and max(dims) >= x.dim():
            raise BadUsage(f"--dynamic: input {name!r} has {x.dim()} dimensions; they count from 0")
        return {d: Dim.AUTO for d in (range(x.dim()) if dims is None else dims)}

    return pytree.tree_map(spec, value)


def _drawn(wanted: Mapping[str, tuple[Shape, torch.dtype]]) -> dict[str, Tensor]:
    """Each of the type its shape says, or else of the given one."""
    typed = {name: (s.sizes, getattr(torch, s.dtype) if s.dtype else dtype) for name, (s, dtype) in wanted.items()}
    taken = sum(torch.Size(sizes).numel() * dtype.itemsize for sizes, dtype in typed.values())
    there = memory.available()
    if taken > there / 4:  # verifying holds them, a copy the model may write into, and one in float64
        shapes = ", ".join(f"{name} {shape}" for name, (shape, _) in wanted.items())
        raise InvalidInput(
            f"--input: {shapes} takes {memory.in_words(taken)} where {memory.in_words(there)} are free: not enough "
            "memory to compute with it. Give a smaller one."
        )
    return {name: draw(sizes, dtype) for name, (sizes, dtype) in typed.items()}


def draw(sizes: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Standard normal; integers are 0 or 1, which any embedding takes. The same at every call."""
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point and dtype.itemsize == 1:  # torch draws nothing this small
        return torch.randn(sizes, generator=generator).to(dtype)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(sizes, generator=generator, dtype=dtype)
    return torch.randint(0, 2, sizes, generator=generator, dtype=dtype)


def _named(shapes: Sequence[Shape], names: Sequence[str]) -> dict[str, Shape]:
    """Each shape under the name of its input; those without a name take the names left over, in order."""
    given: dict[str, Shape] = {}
    for shape in sorted(shapes, key=lambda s: s.name is None):
        name = shape.name or next((n for n in names if n not in given), None)
        if name is None or name not in names:
            raise BadUsage(
                f"--input: the model has no input {shape.name or len(given) + 1!r}; it has {', '.join(names) or 'none'}"
            )
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
