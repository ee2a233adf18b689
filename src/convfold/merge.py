"""merge(): modules in series → one module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from warnings import warn

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convfold.agreement import Trial, inside
from convfold.algebra import series
from convfold.algebra.convolution import Convolution
from convfold.algebra.numbers import has_numbers
from convfold.algebra.untraced import untraced
from convfold.errors import GHOSTS, BorderChanged, InvalidInput, NotFoldable, VerificationFailed, check_border
from convfold.layers import copying
from convfold.layers.bordered import Bordered, ends
from convfold.layers.links import Link, links

Modules = nn.Module | Iterable["Modules"]


@untraced
def merge(*modules: Modules, attached: bool | None = None, border: str = "exact", check: bool = True) -> nn.Module:
    """Fold modules that follow one another into one module that computes the same at every input size.

    ``merge(conv1, bn1, conv2)(x) == conv2(bn1(conv1(x)))``: kernel K[o, i, ·] = Σ_m (W2[o, m] * W1[m, i])(·), the full
    convolution of the two, of size k1 + k2 − 1 where strides and dilations are 1; bias b2 + Σ_{m,t} W2[·, m, t]·b1[m].
    Composed in float64 and cast once, to the first module's dtype and device.

    Args:
        modules: affine modules in eval mode, first applied first; lists of them too. What they compute is read, as by
            :meth:`Convolution.of`: a block with a forward of its own is exported and folded.
        attached: keep the result connected to the weights it was computed from, so that gradients flow back through
            it: weight and bias are then attributes with a history, not parameters. Default: only where a given weight
            is itself not a parameter but a tensor with a gradient (``torch.func.functional_call``, parametrisations).
        border: what to do where a module reads, as zeros, what lies beyond the ends of the one before it, and one
            convolution has something else there. "exact": one layer for the interior and the given ones, on strips,
            for the border (:class:`Bordered`); "refuse"; or "hoist": all padding moves to the first module. That
            changes the outermost outputs, and a :class:`BorderChanged` warning says by how much.
        check: compare the result, before it is cast, with the modules run in turn in float64, on random inputs at a few
            sizes, border included. Left out where there are no numbers (meta, fake and traced tensors), and where
            every call is intercepted (a dispatch mode, which may compute in another type than is asked for).

    Raises:
        NotFoldable: with a reason code, where no single convolution computes the same (e.g. ``stride-upsample``).
        InvalidInput: no modules, something that is not a module, or an unknown ``border``.
        VerificationFailed: the result does not compute what the modules do.
    """
    given = list(_flat(modules))
    if not given:
        raise InvalidInput("merge() got no modules; give it those to merge, first applied first")
    check_border(border)
    tensors = [t for m in given for t in _tensors(m)]
    if attached is None:
        attached = any(t.requires_grad and not isinstance(t, nn.Parameter) for t in tensors) or any(map(_learns, given))
    like = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
    with nullcontext() if attached else torch.no_grad():
        merged = _composed([link.to(torch.float64, like.device) for link in links(given)], border)
        if check and all(map(has_numbers, tensors)) and not torch._C._len_torch_dispatch_stack():
            with torch.no_grad():
                _check(given, merged, like)
        module = merged.module(like.dtype, attached)
    if not attached:
        for p in module.parameters():
            p.requires_grad_(any(t.requires_grad for t in tensors))
        _keep_memory_format(module, tensors)
    if border == "hoist" and merged.steps:
        warn(_changed(merged), stacklevel=2)
    return module.eval() if not any(m.training for m in given) else module


def _flat(modules: Iterable[Any]) -> Iterator[nn.Module]:
    """Modules, and those in lists of them."""
    for m in modules:
        if isinstance(m, nn.Module) and not isinstance(m, nn.ModuleList | nn.ModuleDict):
            yield m
        elif isinstance(m, Iterable) and not isinstance(m, str | bytes | Tensor | dict | nn.ModuleDict):
            yield from _flat(m)
        else:
            raise InvalidInput(f"merge() takes torch.nn modules, or lists of them, got {type(m).__name__}")


@dataclass(frozen=True, eq=False)
class _Merged:
    """The one convolution, in float64; behind a pad of this ``mode``; with the border of ``steps``, if they differ."""

    whole: Convolution
    mode: str | None = None
    steps: tuple[Link, ...] = ()
    mended: bool = False

    def module(self, dtype: torch.dtype, attached: bool) -> nn.Module:
        whole = self.whole.to(dtype)
        if self.mode is not None:
            return copying.to_module(whole, self.mode, attached)
        if self.mended:
            return Bordered(whole, [step.to(dtype) for step in self.steps], attached)
        return whole.to_module(attached)


def _composed(chain: Sequence[Link], border: str) -> _Merged:
    if not chain:
        raise NotFoldable("channels-differ", "an empty Sequential does not say how many channels it has")
    steps = [step for link in chain for step in _apart(link)]
    if any(step.mode is not None for step in steps):
        values, mode = copying.joined([step.value() for step in steps], [step.mode for step in steps])
        return _Merged(series.chain(values, endless=True), mode)  # behind its pad the chain has no end
    try:
        return _Merged(series.chain([step.value() for step in steps]))
    except NotFoldable as e:
        if border == "refuse" or e.code not in GHOSTS:
            raise
    whole = series.chain([step.value(endless=True) for step in steps], endless=True)
    return _Merged(whole, None, tuple(step.lifted(whole.dims) for step in _joined(steps)), border == "exact")


def _apart(link: Link) -> list[Link]:
    """A link of a single path as one for each of its steps."""
    if len(link.paths) > 1:
        return [link]
    return [Link(((value,),), link.mode if i == 0 else None) for i, value in enumerate(link.paths[0])]


def _joined(steps: Sequence[Link]) -> list[Link]:
    """The chain in as few steps as are exact at the border."""
    found: list[Link] = []
    for step in steps:
        if found:
            try:
                found[-1] = Link(((step.value() @ found[-1].value(),),))
                continue
            except NotFoldable:
                pass
        found.append(step)
    return found


def _check(given: Sequence[nn.Module], merged: _Merged, like: Tensor) -> None:
    """Raise unless it computes what the modules do; of a border that was to change, only what lies within it."""
    whole = merged.whole
    compared: tuple[Any, ...] = (...,)
    if merged.steps and not merged.mended:
        compared = (..., *(slice(end.lo, -end.hi or None) for end in ends(merged.steps)))
    trial = Trial(given, whole.c_in, like)
    spaces = trial.spaces([inside(w) for w in whole.windows])
    difference = trial.difference(merged.module(torch.float64, False), spaces, compared)
    if difference is not None:
        names = ", ".join(type(m).__name__ for m in given)
        raise VerificationFailed(
            f"merge({names}) differs from the modules run in turn {difference}. If they always compute the same, this "
            "is a bug in convfold; please report it with the modules. merge(…, check=False) does not look."
        )


def _changed(merged: _Merged) -> BorderChanged:
    """By how much the border of one convolution differs from that of its steps."""
    whole, margins = merged.whole, ends(merged.steps)
    sizes = tuple(16 + 4 * w.reach for w in whole.windows)
    noise = torch.randn(1, whole.c_in, *sizes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = x = noise.to(whole.kernel.device)
    with torch.no_grad():
        for step in merged.steps:
            exact = step(exact)
        got = whole(x)
    ring = torch.ones_like(exact, dtype=torch.bool)
    inside = [slice(end.lo, n - end.hi) for end, n in zip(margins, exact.shape[2:], strict=True)]
    ring[(slice(None), slice(None), *inside)] = False
    difference = float((got - exact)[ring].norm() / exact[ring].norm())
    return BorderChanged(tuple((end.lo, end.hi) for end in margins), difference)


def _tensors(module: nn.Module) -> list[Tensor]:
    """Every weight a module is given: parameters, buffers, and tensors put in their place."""
    found: list[Any] = []
    for m in module.modules():
        found += [*m._parameters.values(), *m._buffers.values(), vars(m).get("weight"), vars(m).get("bias")]
    return [t for t in found if isinstance(t, Tensor)]


def _learns(module: nn.Module) -> bool:
    """Is a weight computed from parameters that want a gradient?"""
    computed = [m.parametrizations for m in module.modules() if parametrize.is_parametrized(m)]
    return any(p.requires_grad for m in computed if isinstance(m, nn.Module) for p in m.parameters())


def _keep_memory_format(module: nn.Module, given: list[Tensor]) -> None:
    for dims, fmt in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        kernels = [t for t in given if t.dim() == dims]
        last = all(t.is_contiguous(memory_format=fmt) for t in kernels)
        if last and not all(t.is_contiguous() for t in kernels):  # a single tap is both
            module.to(memory_format=fmt)  # type: ignore[call-overload]
