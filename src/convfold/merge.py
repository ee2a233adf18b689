"""merge(): modules in series → one module."""

from __future__ import annotations

from contextlib import nullcontext
from warnings import warn

import torch
from torch import Tensor, nn

from convfold.algebra import series
from convfold.algebra.convolution import Convolution
from convfold.algebra.margins import margins
from convfold.errors import GHOSTS, BorderChanged, InvalidInput, NotFoldable, check_border
from convfold.layers import copying, sequential
from convfold.layers.bordered import Bordered


def merge(*modules: nn.Module, attached: bool | None = None, border: str = "exact") -> nn.Module:
    """Fold modules that follow one another into one module that computes the same at every input size.

    ``merge(conv1, bn1, conv2)(x) == conv2(bn1(conv1(x)))``: kernel K[o, i, ·] = Σ_m (W2[o, m] * W1[m, i])(·), the full
    convolution of the two, of size k1 + k2 − 1 where strides and dilations are 1; bias b2 + Σ_{m,t} W2[·, m, t]·b1[m].
    Composed in float64 and cast once, to the first module's dtype and device.

    Args:
        modules: affine ``torch.nn`` modules (or Sequentials of them) in eval mode, first applied first.
        attached: keep the result connected to the weights it was computed from, so that gradients flow back through
            it: weight and bias are then attributes with a history, not parameters. Default: only where a given weight
            is itself not a parameter but a tensor with a gradient (``torch.func.functional_call``, parametrisations).
        border: what to do where a module reads, as zeros, what lies beyond the ends of the one before it, and one
            convolution has something else there. "exact": one layer for the interior and the given ones, on strips,
            for the border (:class:`Bordered`); "refuse"; or "hoist": all padding moves to the first module. That
            changes the outermost outputs, and a :class:`BorderChanged` warning says by how much.

    Raises:
        NotFoldable: with a reason code, where no single convolution computes the same (e.g. ``stride-upsample``).
        InvalidInput: no modules, something that is not a module, or an unknown ``border``.
    """
    if not modules:
        raise InvalidInput("merge() got no modules; give it those to merge, first applied first")
    for m in modules:
        if not isinstance(m, nn.Module):
            raise InvalidInput(f"merge() takes torch.nn modules, got {type(m).__name__}")
    check_border(border)
    bare, modes = zip(*map(copying.bare, sequential.flattened(modules)), strict=True)
    values, mode = copying.joined(sequential.chain(bare), modes)
    given = [t for m in modules for t in _tensors(m)]
    if attached is None:
        attached = any(t.requires_grad and not isinstance(t, nn.Parameter) for t in given)
    like = values[0].kernel
    dtype = next((t.dtype for t in given if t.is_floating_point()), like.dtype)
    trains = any(t.requires_grad for t in given)
    with nullcontext() if attached else torch.no_grad():
        merged = _merged([v.to(torch.float64) for v in values], mode, border, dtype, attached)
    if not attached:
        for p in merged.parameters():
            p.requires_grad_(trains)
        _keep_memory_format(merged, given)
    return merged.eval() if not any(m.training for m in modules) else merged


def _merged(values: list[Convolution], mode: str | None, border: str, dtype: torch.dtype, attached: bool) -> nn.Module:
    if mode is not None:  # behind its pad the chain has no end
        return copying.to_module(series.chain(values, endless=True).to(dtype), mode, attached)
    try:
        return series.chain(values).to(dtype).to_module(attached)
    except NotFoldable as e:
        if border == "refuse" or e.code not in GHOSTS:
            raise
    dims = max(v.dims for v in values)
    whole, steps = series.chain(values, endless=True), [v.lifted(dims) for v in _joined(values)]
    if border == "exact":
        return Bordered(whole.to(dtype), [step.to(dtype) for step in steps], attached)
    warn(_changed(whole, steps), stacklevel=3)
    return whole.to(dtype).to_module(attached)


def _joined(values: list[Convolution]) -> list[Convolution]:
    """The chain in as few steps as are exact at the border."""
    steps = values[:1]
    for value in values[1:]:
        try:
            steps[-1] = value @ steps[-1]
        except NotFoldable:
            steps.append(value)
    return steps


def _changed(whole: Convolution, steps: list[Convolution]) -> BorderChanged:
    """By how much the border of one convolution differs from that of its steps."""
    ends = margins([[(step.windows, step.bias is not None) for step in steps]], [None] * whole.dims)
    sizes = tuple(16 + 4 * w.reach for w in whole.windows)
    noise = torch.randn(1, whole.c_in, *sizes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = x = noise.to(whole.kernel.device)
    with torch.no_grad():
        for step in steps:
            exact = step(exact)
        got = whole(x)
    ring = torch.ones_like(exact, dtype=torch.bool)
    inside = [slice(end.lo, n - end.hi) for end, n in zip(ends, exact.shape[2:], strict=True)]
    ring[(slice(None), slice(None), *inside)] = False
    difference = float((got - exact)[ring].norm() / exact[ring].norm())
    return BorderChanged(tuple((end.lo, end.hi) for end in ends), difference)


def _tensors(module: nn.Module) -> list[Tensor]:
    """Every weight a module computes with: parameters, and tensors put in their place."""
    found = []
    for m in module.modules():
        for name in ("weight", "bias", "running_mean"):
            t = getattr(m, name, None)
            if isinstance(t, Tensor):
                found.append(t)
    return found


def _keep_memory_format(module: nn.Module, given: list[Tensor]) -> None:
    for dims, fmt in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        kernels = [t for t in given if t.dim() == dims]
        last = all(t.is_contiguous(memory_format=fmt) for t in kernels)
        if last and not all(t.is_contiguous() for t in kernels):  # a single tap is both
            module.to(memory_format=fmt)  # type: ignore[call-overload]
