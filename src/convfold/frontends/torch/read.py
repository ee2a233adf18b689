"""Whatever the user has (nn.Module, ExportedProgram, .pt2 file) → one exported graph; no code of a file is run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from convfold.errors import InvalidInput
from convfold.frontends.torch.archive import load
from convfold.frontends.torch.containers import opened, register, registered
from convfold.frontends.torch.free import is_free
from convfold.frontends.torch.functionalise import functional
from convfold.frontends.torch.guard import InputCheck
from convfold.frontends.torch.quiet import quiet
from convfold.frontends.torch.running.state import untouched
from convfold.frontends.torch.traced import traced
from convfold.frontends.torch.untraceable import refuse_unexportable, untraceable

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """An exported program, functional and free of training-mode statistics, with the inputs it is measured at."""

    program: ExportedProgram
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    free: tuple[str, ...]  # which input dimensions may change, as "x[0]"

    def shapes(self) -> dict[str, tuple[int | None, ...] | None]:
        """Each input's shape, None where free; None for inputs that are not tensors."""
        return {
            name: tuple(None if is_free(n) else int(n) for n in x.shape) if isinstance(x, Tensor) else None
            for name, x in _inputs(self.program).items()
        }

    def guard(self, module: nn.Module) -> None:
        """Make the module refuse inputs of other sizes than those it was exported for."""
        check = self.check(inspect.signature(module.forward).parameters)
        module.register_forward_pre_hook(check, with_kwargs=True)

    def check(self, parameters: Iterable[str]) -> InputCheck:
        """What inputs it was exported for; ``parameters``: of the forward that is called, in order."""
        shapes = self.shapes()
        values = (None if isinstance(x, Tensor) else x for x in pytree.tree_leaves((self.args, self.kwargs)))
        return InputCheck(tuple(shapes), tuple(shapes.values()), tuple(values), tuple(parameters))

    def dynamic_shapes(self) -> Any:
        """The same freedom, in the form ``torch.export`` takes."""
        shapes: Iterator[Any] = iter(self.shapes().values())

        def spec(x: Any) -> Any:
            shape = next(shapes)
            return {i: Dim.AUTO for i, n in enumerate(shape) if n is None} if shape else None

        args, kwargs = pytree.tree_map(spec, opened((self.args, self.kwargs)))
        return (*args, *kwargs.values()) if any(n is None for s in self.shapes().values() for n in s or ()) else None

    def traceable(self) -> Inputs:
        """The example with every free size at least 2: export takes 0 and 1 for constants."""
        shapes: Iterator[Any] = iter(self.shapes().values())

        def grown(x: Any) -> Any:
            for dim, n in enumerate(next(shapes) or ()):
                if n is None and x.shape[dim] < 2:
                    x = x.repeat_interleave(2, dim)
            return x

        return pytree.tree_map(grown, (self.args, self.kwargs))  # type: ignore[no-any-return]

    def bounds(self) -> Iterator[tuple[list[tuple[int, int]], Any]]:
        """Of each free symbol the (input, dimension) pairs it sizes, and the range that the program holds for."""
        expressions = {str(e): bounds for e, bounds in self.program.range_constraints.items()}
        for name, places in self.free_places()[0].items():
            if name in expressions:
                yield places, expressions[name]

    def free_places(self) -> tuple[dict[str, list[tuple[int, int]]], dict[str, int]]:
        """Which (input, dimension) pairs each free symbol sizes, and the least value it may take."""
        places: dict[str, list[tuple[int, int]]] = {}
        lowest: dict[str, int] = {}
        for i, x in enumerate(_inputs(self.program).values()):
            for dim, n in enumerate(x.shape if isinstance(x, Tensor) else ()):
                if is_free(n) and n.node.expr.is_symbol:
                    places.setdefault(str(n), []).append((i, dim))
                    bounds = self.program.range_constraints.get(n.node.expr)
                    least = int(bounds.lower) if bounds is not None and bounds.lower.is_number else 1
                    lowest[str(n)] = 1 if least == 2 else least  # export never traces 1, yet a graph free at 2 takes 1
        return places, lowest


@quiet()
def read(
    model: object, args: Any = None, kwargs: Any = None, dynamic_shapes: Any = None, training: bool = False
) -> Source:
    """Export (a module), load (a path) or take (a program) the model; ``training``: as it is, norms and all.

    Raises:
        InvalidInput: one line saying what was found and what to do.
    """
    if isinstance(model, str | Path):
        model = load(Path(model))
    if isinstance(model, ExportedProgram):
        program = model
        if args is None and model.example_inputs is not None:
            args, kwargs = model.example_inputs
    elif isinstance(model, nn.Module):
        args, kwargs = _arguments(args, kwargs)
        refuse_unexportable(model, (args, kwargs))
        register((args, kwargs), "input")
        args, kwargs = _apart((args, kwargs))
        kwargs = _in_order(model, kwargs)
        if not training:
            refuse_training(model)
        with untouched(model):
            program = export(model, args, kwargs, dynamic_shapes)
    else:
        raise InvalidInput(
            f"cannot fold a {type(model).__name__}; give an nn.Module, an ExportedProgram, or a path to a .pt2 file"
        )
    args, kwargs = _arguments(args, kwargs)
    program = functional(program)
    return Source(program, args, kwargs, free_dimensions(program))


@quiet()
def export(model: nn.Module, args: Any, kwargs: Any, dynamic_shapes: Any) -> ExportedProgram:
    """``torch.export`` with the batch left free where the model allows it.

    ``dynamic_shapes``: None frees dimension 0 of every tensor input, "static" none; anything else is torch.export's.
    Export takes sizes 0 and 1 for constants, so an example of size 1 where it is to stay free is exported at size 2.
    """
    static = isinstance(dynamic_shapes, str)
    if static and dynamic_shapes != "static":
        raise InvalidInput(
            f"dynamic_shapes={dynamic_shapes!r} is not known; give None, 'static', or what torch.export takes"
        )
    shapes = _batch_free(model, args, kwargs) if dynamic_shapes is None else None if static else dynamic_shapes
    larger = _grown((args, kwargs), shapes)
    with registered(model, (args, kwargs)):
        if shapes is not None:
            try:
                program = traced(model, *larger, shapes)
            except _EXPORT_ERRORS:
                pass  # the model wants the sizes it was given: export those, below
            else:
                if _grown_are_free(program, (args, kwargs), larger):
                    return program
        try:
            return traced(model, args, kwargs, None if dynamic_shapes is None else shapes)
        except _EXPORT_ERRORS as e:
            raise untraceable(model, e) from e


# What torch.export and the model itself raise on shapes that do not fit; anything else is a bug and passes through.
_EXPORT_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    IndexError,
    KeyError,
    AttributeError,
    NotImplementedError,
)


def _batch_free(model: nn.Module, args: Any, kwargs: Any) -> Any:
    """Dim.AUTO for dimension 0 of every tensor, in the form torch.export wants: one entry a parameter of `forward`."""

    def spec(x: Any) -> Any:
        return {0: Dim.AUTO} if isinstance(x, Tensor) and x.dim() > 0 else None

    try:
        given = tuple(inspect.signature(model.forward).bind(*args, **kwargs).arguments.values())
    except TypeError:  # the call does not fit: export says how
        given = (*args, *kwargs.values())
    return pytree.tree_map(spec, opened(given))


def _grown(inputs: Inputs, shapes: Any) -> Inputs:
    """The inputs, repeated to size 2 where ``shapes`` (in the form of `_batch_free`) frees a size of 1."""
    leaves, spec = pytree.tree_flatten(inputs)
    wanted = pytree.tree_leaves(shapes, is_leaf=lambda s: isinstance(s, dict) and all(isinstance(k, int) for k in s))
    if isinstance(shapes, dict) or len(wanted) != len(leaves):
        return inputs
    for i, dims in enumerate(wanted):
        for dim, size in dims.items() if isinstance(dims, dict) else ():
            if size is Dim.AUTO and leaves[i].shape[dim] == 1:
                leaves[i] = leaves[i].repeat_interleave(2, dim)
    return pytree.tree_unflatten(leaves, spec)  # type: ignore[no-any-return]


def _grown_are_free(program: ExportedProgram, inputs: Inputs, larger: Inputs) -> bool:
    """Did every size that was grown stay free? If the model fixed it, it was fixed at the wrong number."""
    triples = zip(_inputs(program).values(), pytree.tree_leaves(inputs), pytree.tree_leaves(larger), strict=True)
    return all(
        is_free(n)
        for val, x, y in triples if isinstance(x, Tensor)
        for n, before, after in zip(val.shape, x.shape, y.shape, strict=True) if before != after
    )  # fmt: skip


def free_dimensions(program: ExportedProgram) -> tuple[str, ...]:
    return tuple(
        f"{name}[{i}]"
        for name, x in _inputs(program).items()
        if isinstance(x, Tensor)
        for i, d in enumerate(x.shape)
        if is_free(d)
    )


def _inputs(program: ExportedProgram) -> dict[str, Any]:
    specs = program.graph_signature.input_specs
    names = {s.arg.name for s in specs if s.kind is InputKind.USER_INPUT}  # numbers and flags too, unlike user_inputs
    return {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder" and n.name in names}


def refuse_training(model: nn.Module) -> None:
    """A batch norm in training mode normalises with the batch's own statistics: folding it would change the model."""
    for name, m in model.named_modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training and m.track_running_stats:
            raise InvalidInput(
                f"batch norm {name or type(m).__name__!r} is in training mode; its statistics change with the batch. "
                "Call model.eval() first."
            )


def _arguments(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args is None:
        raise InvalidInput("no example inputs: pass args, a tuple of tensors the model is called with")
    if isinstance(args, Tensor):
        args = (args,)
    if not isinstance(args, tuple | list):
        raise InvalidInput(f"args must be a tuple of the model's inputs, got {type(args).__name__}")
    return tuple(args), dict(kwargs or {})


def _apart(inputs: Inputs) -> Inputs:
    """A tensor given twice as two: a model that asks whether they are one would be exported for that case alone."""
    seen: set[int] = set()

    def one(x: Any) -> Any:
        if not isinstance(x, Tensor) or id(x) not in seen:
            seen.add(id(x))
            return x
        return x.detach().clone().requires_grad_(x.requires_grad)

    return pytree.tree_map(one, inputs)  # type: ignore[no-any-return]


def _in_order(model: nn.Module, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword inputs in the order of `forward`'s parameters, which is the order export keeps them in."""
    names = list(inspect.signature(model.forward).parameters)
    return dict(sorted(kwargs.items(), key=lambda item: names.index(item[0]) if item[0] in names else len(names)))
