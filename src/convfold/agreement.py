"""Does a module compute what others do in turn? Tried in float64 on random inputs, at few sizes, border included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convfold.algebra.window import Window
from convfold.errors import ConvfoldError, VerificationFailed
from convfold.frontends.torch.running.precision import run_in
from convfold.frontends.torch.running.state import State
from convfold.layers.known import reader
from convfold.layers.links import flattened

#: What a module raises on inputs too small or of the wrong shape for it.
ILLEGAL_SIZE = (RuntimeError, ValueError, LookupError, AssertionError, TypeError, AttributeError, ConvfoldError)

#: How far two ways of summing in float64 may part, relative to the largest output; and, of two sums that nearly
#: cancel, so many times what float32's rounding, scaled to float64's, says they do.
TOLERANCE, ROUNDING = 1e-9, 1e3

#: So many sizes in a row are tried for one that is legal: a pixel unshuffle takes every fourth, say.
TRIED = 32


@dataclass(frozen=True)
class Difference:
    """The largest difference of two outputs, at an input of this shape, and what would have been allowed."""

    shape: tuple[int, ...]
    found: float
    allowed: float

    def __str__(self) -> str:
        shape = "×".join(map(str, self.shape))
        return f"by {self.found:.1e} at {shape} (allowed {self.allowed:.1e})"


class Trial:
    """Modules run in turn in float64, none of them changed by it."""

    def __init__(self, modules: Sequence[nn.Module], channels: int, like: Tensor) -> None:
        self.modules, self.channels, self.like = _InTurn(modules), channels, like
        self.generator, self.refused = torch.Generator().manual_seed(0), "nothing is left of it"

    def noise(self, space: Sequence[int], batch: int = 1) -> Tensor:
        """(batch, channels, *space)"""
        x = torch.randn(batch, self.channels, *space, generator=self.generator, dtype=torch.float64)
        return x.to(self.like.device)

    def run(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor | None:
        """What they make of an input, by default in their own type; None where they refuse it, or nothing is left."""

        def call() -> Any:
            with torch.no_grad(), parametrize.cached():
                return self.modules(x.to(self.like)) if dtype is None else self._run_in(dtype, x)

        try:
            y = State(self.modules).run(call)
        except ILLEGAL_SIZE as e:
            self.refused = line(e)
            return None
        return y if isinstance(y, Tensor) and y.numel() else None

    def _run_in(self, dtype: torch.dtype, x: Tensor) -> Any:
        """Layers that we know on weights of that type, blocks with every call cast, which takes a while to import.

        Weights that a known layer computes from others are read as it computes them, in its own type.
        """
        layers = list(flattened(self.modules.steps))
        computed = [m for m in layers if parametrize.is_parametrized(m)]
        if not computed and all(reader(m) is not None for m in layers):
            for m in self.modules.modules():
                tables: tuple[dict[str, Any], ...] = (m._parameters, m._buffers, vars(m))
                for table in tables:
                    weights = {k: t for k, t in table.items() if isinstance(t, Tensor) and t.is_floating_point()}
                    table.update({k: t.to(dtype) for k, t in weights.items()})
            return self.modules(x.to(dtype))
        for m in computed:
            if reader(m) is not None and isinstance(m.parametrizations, nn.ModuleDict):
                for name in m.parametrizations:
                    getattr(m, name)
        return run_in(dtype, self.modules, (x.clone(),), {})

    def spaces(self, inside: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Sizes at which they run: the smallest, and two with an interior (from ``inside`` on), one of them odd."""
        large = self._legal(inside)
        if not large:
            yield from () if large is None else ((),)
            return
        small = list(large)
        for i, n in enumerate(large):
            alone = (k for k in range(1, n) if self.run(self.noise((*large[:i], k, *large[i + 1 :]))) is not None)
            small[i] = next(alone, n)
        yield tuple(small)
        yield large
        if (longer := self._legal([n + 1 for n in large])) is not None:
            yield longer

    def _legal(self, start: Sequence[int]) -> tuple[int, ...] | None:
        """The first sizes from these on at which they run, of different lengths where they can be."""
        if not start:
            return () if self.run(self.noise(())) is not None else None
        for more in range(TRIED):
            for skew in (1, 2, 4, 0) if len(start) > 1 else (0,):
                sizes = tuple(n + more + skew * i for i, n in enumerate(start))
                if self.run(self.noise(sizes)) is not None:
                    return sizes
        return None

    def difference(self, value: nn.Module, spaces: Iterable[tuple[int, ...]], inside: Any = ...) -> Difference | None:
        """Where a module in float64 first differs from them, at some sizes; of its output, the part ``inside``.

        Raises:
            VerificationFailed: there was nothing to compare.
        """
        compared, reason = False, ""
        for i, space in enumerate(spaces):
            x = self.noise(space, batch=2 if i == 0 else 1)
            want = self.run(x, torch.float64)
            if want is None:
                continue
            if not bool(want.isfinite().all()):
                reason = "what the modules compute is not finite"
                continue
            compared, got = True, _tried(value, x)
            if got is None or got.shape != want.shape:
                return Difference(tuple(x.shape), float("inf"), 0.0)
            found, allowed = _largest((got - want)[inside]), TOLERANCE * _largest(want)
            if found <= allowed:
                continue
            single = self.run(x, torch.float32)
            if single is not None and bool(single.isfinite().all()):
                ratio = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
                allowed += ROUNDING * ratio * _largest(single.double() - want)
            if not found <= allowed:
                return Difference(tuple(x.shape), found, allowed)
        if not compared:
            reason = reason or f"no input of {self.channels} channels that was tried runs through it ({self.refused})"
            raise VerificationFailed(f"nothing to compare the result by: {reason}; merge(…, check=False) does not look")
        return None


class _InTurn(nn.Module):
    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


def _tried(value: nn.Module, x: Tensor) -> Tensor | None:
    with torch.no_grad():
        try:
            return value(x)  # type: ignore[no-any-return]
        except ILLEGAL_SIZE:
            return None


def line(e: BaseException) -> str:
    """An exception in one line."""
    return f"{type(e).__name__}: {(str(e).strip() or 'no reason given').splitlines()[0][:200]}"


def _largest(x: Tensor) -> float:
    return float(x.abs().max()) if x.numel() else 0.0


def inside(w: Window) -> int:
    """So many inputs that some outputs read no padding, and the two ends do not know of each other."""
    return (w.reach + max(w.lo, 0) + max(w.hi, 0)) // w.upsample + w.stride + 1
