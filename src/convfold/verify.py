"""Is the folded model the same function? Both are run in their own type and measured against float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from convfold.errors import InvalidInput
from convfold.precision import run_in

Inputs = tuple[tuple[Any, ...], dict[str, Any]]

#: What a model raises on inputs too small or of the wrong shape for it.
ILLEGAL_SIZE = (RuntimeError, ValueError, IndexError, AssertionError, TypeError)


#: A float64 model has no wider type to be judged in: what the order of its own sums may add to the bound.
SUMMATION = 10


@dataclass(frozen=True)
class Verdict:
    """Relative errors ‖y − y64‖ / ‖y64‖ against the first model run in float64; the worst over all inputs tried.

    The second model is the same function if, computed in float64 too, it differs by at most twice the rounding error
    the first makes in its own type, plus one unit in the last place: all that is left then is its weights having been
    rounded once. What its own arithmetic adds is reported, not judged: it depends on the order of the sums (one
    convolution that has absorbed an identity branch adds small products to a large one) and, where a model picks the
    best of nearly equal scores, on luck.
    """

    passed: bool
    error: float  # of the second model in its own type
    own_error: float  # of the first in its own type
    exactness: float  # of the second computed in float64: its weights' rounding, and any difference of function
    allowed: float  # for exactness: 2 · own_error + one ulp
    interior: float  # the second's error on the interior of maps
    ring: float  # and on their border
    tried: tuple[str, ...] = field(default=())

    @property
    def ratio(self) -> float:
        """error / own_error (1 where both are exact)."""
        return self.error / self.own_error if self.own_error else float(self.error > 0) * inf or 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{'same' if self.passed else 'DIFFERENT'}: off by {self.exactness:.1e} in float64 (allowed "
            f"{self.allowed:.1e}), by {self.error:.1e} in its own type (the original by {self.own_error:.1e}); "
            f"interior {self.interior:.1e}, ring {self.ring:.1e}; at {', '.join(self.tried)}"
        )


def verify(
    model_a: nn.Module | ExportedProgram,
    model_b: nn.Module | ExportedProgram,
    args: Any,
    kwargs: dict[str, Any] | None = None,
    *,
    more: Sequence[tuple[str, Inputs]] = (),
    seed: int = 0,
) -> Verdict:
    """Compare two models that should compute the same, on the example and on random inputs of its size.

    Args:
        model_a: the reference; it is run in float64 without being changed.
        model_b: the one to judge.
        args, kwargs: example inputs.
        more: further inputs (at other sizes), each with a name for the report; sizes model_a refuses are passed over.
        seed: of the random inputs.

    Raises:
        InvalidInput: the inputs do not fit, or the outputs have different structure.
    """
    a, b = _callable(model_a), _callable(model_b)
    args = (args,) if isinstance(args, Tensor) else args
    if not isinstance(args, tuple | list):
        raise InvalidInput(f"args must be a tuple of the models' inputs, got {type(args).__name__}")
    args = tuple(args)
    example: Inputs = (args, dict(kwargs or {}))
    generator = torch.Generator().manual_seed(seed)
    trials = [("example", example, True), ("random", randomised(example, generator), True)]
    trials += [(name, randomised(inputs, generator), False) for name, inputs in more]
    results = []
    for name, inputs, must_run in trials:
        with torch.no_grad():
            try:
                own = _outputs(a, inputs)
                exact = _tensors(run_in(torch.float64, a, *_copied(inputs)))
                rounding = _rounding_of_double(a, inputs, own, exact)
            except ILLEGAL_SIZE as e:
                if must_run:
                    raise InvalidInput(f"the model does not run on its example inputs: {_line(e)}") from e
                continue
            try:
                got = _outputs(b, inputs)
                wide = _tensors(run_in(torch.float64, b, *_copied(inputs)))
            except ILLEGAL_SIZE as e:
                raise InvalidInput(f"the second model does not run at {name}: {_line(e)}") from e
        results.append((name, _compare(exact, own, got, wide, rounding)))
    worst = max((r for _, r in results), key=lambda r: (not r.passed, r.exactness - r.allowed))
    return Verdict(
        passed=all(r.passed for _, r in results),
        error=worst.error,
        own_error=worst.own_error,
        exactness=worst.exactness,
        allowed=worst.allowed,
        interior=max(r.interior for _, r in results),
        ring=max(r.ring for _, r in results),
        tried=tuple(name for name, _ in results),
    )


def _callable(model: object) -> nn.Module:
    if isinstance(model, ExportedProgram):
        return model.module()
    if isinstance(model, nn.Module):
        return model
    raise InvalidInput(f"cannot verify a {type(model).__name__}; give an nn.Module or an ExportedProgram")


def _outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    args, kwargs = _copied(inputs)
    return _tensors(model(*args, **kwargs))


def _copied(inputs: Inputs) -> Inputs:
    """A model may write into its inputs."""
    return pytree.tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, inputs)  # type: ignore[no-any-return]


def _tensors(outputs: Any) -> list[Tensor]:
    return [y for y in pytree.tree_leaves(outputs) if isinstance(y, Tensor)]


def randomised(inputs: Inputs, generator: torch.Generator) -> Inputs:
    """The same shapes and types with normal noise of the example's mean and spread; other types stay as they are."""

    def noise(x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.numel() == 0:
            return x
        spread = x.double().std(unbiased=False).clamp_min(1e-3) if x.numel() > 1 else x.double().abs().clamp_min(1.0)
        drawn = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
        return (drawn * spread + x.double().mean()).to(x.dtype)

    return pytree.tree_map(noise, inputs)  # type: ignore[no-any-return]


def _rounding_of_double(model: nn.Module, inputs: Inputs, own: list[Tensor], exact: list[Tensor]) -> list[float]:
    """A float64 model is its own reference; its rounding error is its float32 error, scaled by the units' ratio."""
    if not any(y.dtype == torch.float64 for y in own):
        return [0.0] * len(own)
    ratio = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
    single = _tensors(run_in(torch.float32, model, *_copied(inputs)))
    return [
        ratio * _relative(s.double() - e, e, e.isfinite() & s.isfinite()) if s.is_floating_point() else 0.0
        for s, e in zip(single, exact, strict=True)
    ]


def _compare(
    exact: list[Tensor], own: list[Tensor], got: list[Tensor], wide: list[Tensor], rounding: list[float]
) -> Verdict:
    kinds = [_kind(y) for y in own], [_kind(y) for y in got]
    if kinds[0] != kinds[1]:
        raise InvalidInput(
            f"the models return different outputs: {', '.join(kinds[0]) or 'none'} and {', '.join(kinds[1]) or 'none'}"
        )
    verdicts = [
        _compare_one(e, o, g, w, r) if o.is_floating_point() else _compare_discrete(e, o, g, w)
        for e, o, g, w, r in zip(_real(exact), _real(own), _real(got), _real(wide), rounding, strict=True)
        if o.numel() > 0
    ]
    if not verdicts:
        return Verdict(True, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return max(verdicts, key=lambda v: (not v.passed, v.exactness - v.allowed))


def _kind(y: Tensor) -> str:
    return f"{str(y.dtype).removeprefix('torch.')} {tuple(y.shape)}"


def _real(outputs: list[Tensor]) -> list[Tensor]:
    return [torch.view_as_real(y) if y.is_complex() else y for y in outputs]


def _compare_discrete(exact: Tensor, own: Tensor, got: Tensor, wide: Tensor) -> Verdict:
    """Whole numbers and truth values: the share that differs, where the first's own rounding may flip some too."""
    error, own_error, exactness = (float((y != exact).double().mean()) for y in (got, own, wide))
    return Verdict(exactness <= 2 * own_error, error, own_error, exactness, 2 * own_error, error, error)


def _compare_one(exact: Tensor, own: Tensor, got: Tensor, wide: Tensor, rounding: float) -> Verdict:
    finite = exact.isfinite()
    if not torch.equal(own.isfinite(), got.isfinite()):
        return Verdict(False, inf, 0.0, inf, 0.0, inf, inf)
    error, own_error, exactness = (_relative(y.double() - exact, exact, finite) for y in (got, own, wide))
    own_error = max(own_error, rounding)
    allowed = 2 * own_error + torch.finfo(own.dtype).eps
    if own.dtype == torch.float64:  # its own arithmetic cannot be told from a wider one's
        allowed *= SUMMATION
    interior, ring = _by_place(got.double() - exact, exact, finite)
    return Verdict(exactness <= allowed, error, own_error, exactness, allowed, interior, ring)


def _norm(x: Tensor, where: Tensor) -> float:
    return float(torch.where(where, x, 0.0).norm())


def _relative(x: Tensor, to: Tensor, where: Tensor) -> float:
    """‖x‖ / ‖to‖, and ‖x‖ itself where there is nothing to relate it to."""
    return _norm(x, where) / (_norm(to, where) or 1.0)


def _by_place(difference: Tensor, exact: Tensor, finite: Tensor) -> tuple[float, float]:
    """Relative error on the interior and on the border ring (an eighth of the size, at least 1) of (N, C, *space)."""
    if exact.dim() < 3:
        whole = _relative(difference, exact, finite)
        return whole, whole
    inside = torch.ones_like(finite)
    for axis in range(2, exact.dim()):
        n = exact.shape[axis]
        width = max(1, min(16, n // 8))
        position = torch.arange(n, device=exact.device)
        keep = (position >= width) & (position < n - width)
        inside &= keep.reshape(-1, *(1,) * (exact.dim() - 1 - axis))

    return _relative(difference, exact, finite & inside), _relative(difference, exact, finite & ~inside)


def other_sizes(
    inputs: Inputs, free: dict[str, list[tuple[int, int]]], lowest: dict[str, int]
) -> Iterator[tuple[str, Inputs]]:
    """The example at an odd and at the smallest size of its free dimensions.

    ``free`` maps a symbol to the (input, dimension) pairs it sizes, ``lowest`` to the least value it may take.
    """
    if not free:
        return
    leaves, spec = pytree.tree_flatten(inputs)
    for label in ("odd", "smallest"):
        new = list(leaves)
        for symbol, places in free.items():
            n = int(leaves[places[0][0]].shape[places[0][1]])
            m = max(lowest.get(symbol, 1), 1) if label == "smallest" else n + 1 + n % 2
            for leaf, dim in places:
                new[leaf] = _resized(new[leaf], dim, m)
        shapes = " ".join("x".join(map(str, x.shape)) for x in new if isinstance(x, Tensor))
        yield f"{label} {shapes}", pytree.tree_unflatten(new, spec)


def _resized(x: Tensor, dim: int, n: int) -> Tensor:
    """Cut or repeated to length n: the values are replaced by noise, their kind (and integers' range) matters."""
    index = torch.arange(n, device=x.device) % x.shape[dim]
    return x.index_select(dim, index)


def _line(e: BaseException) -> str:
    text = str(e).strip()
    return text.splitlines()[0][:300] if text else type(e).__name__
