"""Whatever the user has (path, ModelProto, onnx_ir.Model) → one model of our own, and what is known of its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from convfold.errors import InvalidInput
from convfold.frontends.onnx.files import load, taken
from convfold.frontends.onnx.functions import inline
from convfold.frontends.onnx.known import Inconsistent, Knowledge
from convfold.frontends.onnx.put_off import declare_all
from convfold.frontends.onnx.rules import settle
from convfold.frontends.onnx.sweep import sweep

Shapes = dict[str, tuple[int, ...]]

#: What a size that is not given is tried as: of a batch 1, of space the first that the model runs at.
SPACES = (224, 256, 640, 64, 32, 48, 128, 320, 16)

#: Models that halve maps k times run at multiples of 2^k.
MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128)

#: How much larger than the example's, each the first that it runs at: tables of positions end somewhere.
NEAR, FAR = 4, 512
BEYOND = ((0,), (FAR, NEAR))

#: The smallest sizes, of the steps a model's sizes come in.
LEAST = (1, 2, 3, 4, 8, 16, 32)


@dataclass(frozen=True)
class Source:
    """A model that is ours to change, and as it came; at the example's sizes and at others."""

    model: ir.Model
    original: Any  # as it was given, a path or the user's own model; with sizes made free, a model like that
    example: Shapes
    free: tuple[str, ...]
    trials: tuple[Knowledge, ...]
    tried: tuple[Shapes, ...]
    path: Path | None = None


def read(model: Any, args: Any = None, kwargs: Any = None, dynamic_shapes: Any = None) -> Source:
    """
    Raises:
        InvalidInput: it is no model, is damaged, or runs at no size that was tried.
    """
    path = Path(model) if isinstance(model, str | Path) else None
    original: Any = model if path is None else path
    ours = opened(model, declared=False)
    given = _given(ours, args, kwargs)
    if dynamic_shapes not in (None, "static"):
        _set_free(ours, dynamic_shapes, given)
        original = ours.clone()
    inline(ours)
    settle(ours)
    sweep(ours)
    free = {} if dynamic_shapes == "static" else free_places(ours)
    example, first = _example(ours, given)
    if dynamic_shapes == "static":
        for x in inputs(ours):
            x.shape = ir.Shape(example[x.name or ""])
    trials, tried = [first], [example]
    for shapes, known in _others(ours, example, free):
        trials.append(known)
        tried.append(shapes)
    names = tuple(f"{name}[{axis}]" for at in free.values() for name, axis in at)
    return Source(ours, original, example, names, tuple(trials), tuple(tried), path)


def opened(model: Any, *, declared: bool = True) -> ir.Model:
    """One that nobody else has; ``declared``: see `kept.deserialized`."""
    if isinstance(model, str | Path):
        return load(Path(model), declared=declared)
    if isinstance(model, onnx.ModelProto):
        return taken(model, declared=declared)
    if isinstance(model, ir.Model):
        return model.clone()
    raise InvalidInput(f"cannot read a {type(model).__name__} as an ONNX model")


def inputs(model: ir.Model) -> list[ir.Value]:
    """What a caller has to give: initializers that are inputs too have a value."""
    return [x for x in model.graph.inputs if not x.is_initializer()]


def interface(model: ir.Model) -> str:
    """What others call its inputs and outputs, and their types, in order."""
    said = [
        ", ".join(f"{x.name} {x.dtype.name if x.dtype is not None else x.type}" for x in values)
        for values in (inputs(model), model.graph.outputs)
    ]
    return " → ".join(said)


def _given(model: ir.Model, args: Any, kwargs: Any) -> Shapes:
    """Sizes of the inputs that examples, or mere shapes, are given for: in order, or by name."""
    known = [x.name or "" for x in inputs(model)]
    found: dict[str, Any] = {}
    args = () if args is None else args if isinstance(args, tuple | list) else (args,)
    if len(args) > len(known):
        raise InvalidInput(f"the model takes {len(known)} inputs, got {len(args)}")
    found.update(zip(known, args, strict=False))
    for name, x in dict(kwargs or {}).items():
        if name not in known:
            raise InvalidInput(f"the model has no input {name!r}; its inputs: {', '.join(known)}")
        found[name] = x
    return {name: tuple(map(int, getattr(x, "shape", x))) for name, x in found.items() if x is not None}


def _set_free(model: ir.Model, wanted: Any, given: Shapes) -> None:
    """Sizes that the file fixes become free: "batch", "all", or axes of each input by name; they keep an example."""
    known = {x.name or "": x for x in inputs(model)}
    if isinstance(wanted, str) and wanted not in ("batch", "all"):
        raise InvalidInput(f"dynamic_shapes={wanted!r} is not known; give None, 'static', 'batch', 'all' or axes")
    for name in wanted if isinstance(wanted, dict) else ():
        if name not in known:
            raise InvalidInput(f"the model has no input {name!r}; its inputs: {', '.join(known)}")
    for name, x in known.items():
        sizes = list(x.shape or ())
        axes = (
            wanted.get(name, ()) if isinstance(wanted, dict) else range(len(sizes))[: 1 if wanted == "batch" else None]
        )
        if any(axis >= len(sizes) for axis in axes):
            raise InvalidInput(f"input {name!r} has {len(sizes)} axes; they count from 0")
        fixed = {axis: n for axis in axes if isinstance(n := sizes[axis], int) and n >= 0}
        if fixed:
            given.setdefault(name, tuple(n if isinstance(n, int) else 1 for n in sizes))
            batch = wanted == "batch"
            named = [
                ir.SymbolicDim("batch" if batch else f"{name}_{i}") if i in fixed else n for i, n in enumerate(sizes)
            ]
            x.shape = ir.Shape(named)
    declare_all(model)
    for value in (y for graph in model.graphs() for node in graph for y in node.outputs):
        value.shape = None  # they were of the sizes that were fixed
    for y in model.graph.outputs:
        y.shape = None


def free_places(model: ir.Model) -> dict[str, list[tuple[str, int]]]:
    """Places of every size that may change, by its name; those without one by their place."""
    found: dict[str, list[tuple[str, int]]] = {}
    for x in inputs(model):
        for axis, n in enumerate(x.shape or ()):
            if not isinstance(n, int) or n < 0:
                named = "" if isinstance(n, int) else n.value or ""
                nameless = not named or named == "?"  # as old exporters write it
                found.setdefault(f"{x.name}[{axis}]" if nameless else named, []).append((x.name or "", axis))
    return found


def _example(model: ir.Model, given: Shapes) -> tuple[Shapes, Knowledge]:
    declared: dict[str, list[int | None]] = {}
    named: dict[str, int] = {}
    for x in inputs(model):
        name = x.name or ""
        if x.shape is None:
            if name not in given and x.dtype is not None:
                raise InvalidInput(f"input {name!r} declares no shape; give one, as --input {name}:1,3,224,224")
            declared[name] = list(given.get(name, ()))
            continue
        sizes = [n if isinstance(n, int) and n >= 0 else None for n in x.shape]
        if name in given:
            wanted = given[name]
            if len(wanted) != len(sizes) or any(a not in (None, b) for a, b in zip(sizes, wanted, strict=True)):
                said = ", ".join("any" if n is None else str(n) for n in sizes)
                raise InvalidInput(f"input {name!r}: expected shape ({said}), got {wanted}")
            for n, m in zip(x.shape, wanted, strict=True):
                if not isinstance(n, int) and n.value not in (None, "", "?"):
                    named.setdefault(n.value, m)
            sizes = list(wanted)
        declared[name] = sizes
    refused: Inconsistent | None = None
    for space in SPACES:
        shapes: Shapes = {}
        for x in inputs(model):
            name = x.name or ""
            symbols = [n.value if isinstance(n, ir.SymbolicDim) else None for n in x.shape or declared[name]]
            shapes[name] = tuple(
                n if n is not None else named.get(s or "", 1 if axis == 0 else space)
                for axis, (n, s) in enumerate(zip(declared[name], symbols, strict=True))
            )
        try:
            return shapes, Knowledge(model, shapes)
        except Inconsistent as e:
            refused = refused or e
        if all(None not in sizes for sizes in declared.values()):
            break
    raise InvalidInput(
        f"the model does not run at {_words(shapes)}: {refused}; give its inputs' sizes, as --input name:1,3,224,224"
    )


def _others(
    model: ir.Model, example: Shapes, free: Mapping[str, Sequence[tuple[str, int]]]
) -> Iterator[tuple[Shapes, Knowledge]]:
    """Other sets of sizes: of primes times the smallest power of two that the model runs at, a little larger and much
    larger, and the smallest. What is the same at all of them is taken to be the same at every size: a map that has been
    halved five times is as large at two sizes that are near each other.
    """
    if not free:
        return
    refused: Inconsistent | None = None
    for multiple in MULTIPLES:
        found: list[tuple[Shapes, Knowledge]] = []
        taken: set[int] = set()
        for ways in BEYOND:
            for beyond in ways:
                primes = _primes(example, free, multiple, beyond, taken)
                shapes = {name: list(sizes) for name, sizes in example.items()}
                for symbol, at in free.items():
                    for name, axis in at:
                        shapes[name][axis] = primes[symbol]
                fixed = {name: tuple(sizes) for name, sizes in shapes.items()}
                try:
                    found.append((fixed, Knowledge(model, fixed)))
                    break
                except Inconsistent as e:
                    refused = refused or e
            else:
                break
        if len(found) == len(BEYOND):
            yield from found
            yield from _least(model, example, free)
            return
    raise InvalidInput(
        f"the model declares sizes as free ({', '.join(free)}) but runs at none of those tried beside "
        f"{_words(example)}: {refused}; fix them with dynamic_shapes='static' (--dynamic none)"
    )


def _least(
    model: ir.Model, example: Shapes, free: Mapping[str, Sequence[tuple[str, int]]]
) -> Iterator[tuple[Shapes, Knowledge]]:
    """The smallest maps that the model runs at and computes something of: a cut may be longer than they are."""
    if all(axis == 0 for at in free.values() for _, axis in at):
        return
    for least in LEAST:
        shapes = {name: list(sizes) for name, sizes in example.items()}
        for at in free.values():
            for name, axis in at:
                shapes[name][axis] = least if axis else 1
        fixed = {name: tuple(sizes) for name, sizes in shapes.items()}
        try:
            known = Knowledge(model, fixed)
        except Inconsistent:
            continue
        if not any(0 in k.shape for k in known.of.values() if k.shape is not None):
            yield fixed, known
            return


def _primes(
    example: Shapes, free: Mapping[str, Sequence[tuple[str, int]]], multiple: int, beyond: int, taken: set[int]
) -> dict[str, int]:
    """For every free size a prime of its own, larger than the example's by so much, times the multiple; a batch is not
    padded, nor made much larger.
    """
    out = {}
    for symbol, at in free.items():
        name, axis = at[0]
        m = multiple if axis else 1
        p = max(example[name][axis] // m, 2) + 1 + (beyond // m if axis else min(beyond, NEAR))
        while p in taken or any(p % d == 0 for d in range(2, int(p**0.5) + 1)):
            p += 1
        taken.add(p)
        out[symbol] = p * m
    return out


def _words(shapes: Shapes) -> str:
    return ", ".join(f"{name} {'×'.join(map(str, sizes)) or 'scalar'}" for name, sizes in shapes.items())


def drawn(model: ir.Model, shapes: Shapes, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Random inputs of the declared types: numbers from a normal distribution, whole ones small."""
    generator = np.random.default_rng(seed)
    found = {}
    for x in inputs(model):
        dtype = (x.dtype or ir.DataType.FLOAT).numpy()
        shape = shapes[x.name or ""]
        if np.dtype(dtype).kind in "iu":
            found[x.name or ""] = generator.integers(0, 3, shape).astype(dtype)
        elif np.dtype(dtype) == np.bool_:
            found[x.name or ""] = generator.random(shape) < 0.5
        else:
            found[x.name or ""] = generator.standard_normal(shape).astype(dtype)
    return found
