"""At which inputs and sizes are two models compared? Few and small ones, each of which can show what others cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Inputs = tuple[tuple[Any, ...], dict[str, Any]]

#: Which (input, dimension) pairs a free symbol sizes.
Places = Mapping[str, Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class Trial:
    """One call of both models. ``exact``: against float64; else against each other, and float64 only if in doubt.

    ``part``: the same inputs with the first items of a batch only; float64 runs on those.
    ``spare``: needed only if the others could not be compared.
    """

    name: str
    inputs: Inputs
    exact: bool = True
    part: Inputs | None = None
    spare: bool = False


def at_example(inputs: Inputs, seed: int = 0) -> list[Trial]:
    """The example, and random values of its shapes."""
    return [Trial("example", inputs), Trial("random", randomised(inputs, torch.Generator().manual_seed(seed)))]


def at_sizes(inputs: Inputs, places: Places, lowest: Mapping[str, int], seed: int = 0) -> list[Trial]:
    """At the example's size, at an odd and at the smallest of its free dimensions; few runs, and fewer in float64.

    With nothing free, or a batch of one, float64 runs at the example's size. The second item of a batch of two is the
    example then, the first is random. With larger batches it runs at the smallest, which is no other model for it;
    where sizes of maps are free, at the smallest and at about half the example's size.

    ``lowest`` maps a symbol to the least value it may take.
    """
    generator = torch.Generator().manual_seed(seed)
    random = randomised(inputs, generator)
    leaves = pytree.tree_leaves(inputs)
    sizes = {s: int(leaves[at[0][0]].shape[at[0][1]]) for s, at in places.items()}
    least = {s: max(lowest.get(s, 1), 1) for s in sizes}
    if not sizes:
        example = Trial("example", inputs, exact=False)
        return [Trial("random", random), example] if not _same(random, inputs) else [example]
    if sizes == least:
        sized = {i for at in places.values() for i, _ in at}
        part = _each(lambda i, x, y: y if i in sized else x, inputs, random)
        dims = {i: min(dim for at in places.values() for j, dim in at if j == i) for i in sized}
        both = _each(lambda i, x, y: torch.cat([y, x], dims[i]) if i in sized else x, inputs, random)
        name = f"random {_shapes(part)}, with the example {_shapes(both)}"
        return [Trial(name, both, part=part), Trial("example", inputs, spare=True)]
    batches = {s for s, at in places.items() if all(dim == 0 for _, dim in at)}
    odd = _odd(sizes, least, batches)
    tried = [("odd", odd, True), ("example", sizes, False), ("smallest", least, True)]
    if len(batches) == len(sizes):
        tried = [("smallest", least, True), ("example", sizes, False), ("odd", odd, False)]
    return [
        Trial(f"{name} {_shapes(x)}", x, exact)
        for name, at, exact in tried
        for x in [inputs if name == "example" else randomised(_resized(inputs, places, at), generator)]
    ]


def randomised(inputs: Inputs, generator: torch.Generator) -> Inputs:
    """The same shapes and types with values drawn from the example's own; from a normal distribution if it is constant.

    Where other values may not be legitimate they stay: whole numbers (also as floating-point numbers: masks, indices),
    infinities, single numbers.
    """

    def drawn(x: Any) -> Any:
        if not isinstance(x, Tensor) or not (x.is_floating_point() or x.is_complex()):
            return x
        if x.numel() < 2 or x.device.type == "meta":
            return x
        values = x.detach().flatten()
        if not bool(values.isfinite().all()):
            return x
        if bool((values == values[0]).all()):
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
            return (values[0] + noise * max(abs(values[0].item()), 1.0)).to(x.dtype)
        if not x.is_complex() and bool((values == values.round()).all()):
            return x
        return values[torch.randint(len(values), x.shape, generator=generator).to(x.device)]

    return pytree.tree_map(drawn, inputs)  # type: ignore[no-any-return]


def _odd(sizes: Mapping[str, int], least: Mapping[str, int], batches: set[str]) -> dict[str, int]:
    """Another size of each: about half of a map's, odd; a larger batch, no larger than what the maps leave room for."""
    odd = {s: max(n // 2 | 1, least[s]) for s, n in sizes.items() if s not in batches}
    room = prod(sizes[s] / n for s, n in odd.items()) if odd else 2.0
    for s in batches:
        n = sizes[s]
        odd[s] = max(n + 1 + n % 2 if (n + 1 + n % 2) / n <= room else n + 1 if (n + 1) / n <= room else n, least[s])
    return odd


def _resized(inputs: Inputs, places: Places, sizes: Mapping[str, int]) -> Inputs:
    """Cut or repeated: the values will be others, their kind (and the range of whole numbers) matters."""
    leaves, spec = pytree.tree_flatten(inputs)
    for symbol, at in places.items():
        for i, dim in at:
            index = torch.arange(sizes[symbol], device=leaves[i].device) % leaves[i].shape[dim]
            leaves[i] = leaves[i].index_select(dim, index)
    return pytree.tree_unflatten(leaves, spec)  # type: ignore[no-any-return]


def _each(pick: Any, inputs: Inputs, other: Inputs) -> Inputs:
    (xs, spec), ys = pytree.tree_flatten(inputs), pytree.tree_leaves(other)
    return pytree.tree_unflatten([pick(i, x, y) for i, (x, y) in enumerate(zip(xs, ys, strict=True))], spec)  # type: ignore[no-any-return]


def _same(inputs: Inputs, other: Inputs) -> bool:
    return all(x is y for x, y in zip(pytree.tree_leaves(inputs), pytree.tree_leaves(other), strict=True))


def _shapes(inputs: Inputs) -> str:
    return " ".join("x".join(map(str, x.shape)) for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor))
