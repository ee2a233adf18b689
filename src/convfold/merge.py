"""merge(): modules in series → one module."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from convfold.algebra.convolution import Convolution
from convfold.errors import InvalidInput, NotFoldable
from convfold.layers import convolution, module, sequential


def merge(*modules: nn.Module, attached: bool | None = None) -> nn.Module:
    """Fold modules that follow one another into one module that computes the same at every input size.

    ``merge(conv1, bn1, conv2)(x) == conv2(bn1(conv1(x)))``: kernel K[o, i, ·] = Σ_m (W2[o, m] * W1[m, i])(·), the full
    convolution of the two, of size k1 + k2 − 1 where strides and dilations are 1; bias b2 + Σ_{m,t} W2[·, m, t]·b1[m].
    Composed in float64 and cast once, to the first module's dtype and device.

    Args:
        modules: affine ``torch.nn`` modules (or Sequentials of them) in eval mode, first applied first.
        attached: keep the result connected to the weights it was computed from, so that gradients flow back through
            it: weight and bias are then attributes with a history, not parameters. Default: only where a given weight
            is itself not a parameter but a tensor with a gradient (``torch.func.functional_call``, parametrisations).

    Raises:
        NotFoldable: with a reason code, where no single convolution computes the same (e.g. ``ghost-depends-on-data``:
            the second convolution is padded).
        InvalidInput: no modules, or something that is not a module.
    """
    if not modules:
        raise InvalidInput("merge() got no modules; give it those to merge, first applied first")
    for m in modules:
        if not isinstance(m, nn.Module):
            raise InvalidInput(f"merge() takes torch.nn modules, got {type(m).__name__}")
    inner, mode = _unpadded(modules[0])
    values = sequential.chain((inner, *modules[1:]))
    given = [t for m in modules for t in _tensors(m)]
    if attached is None:
        attached = any(t.requires_grad and not isinstance(t, nn.Parameter) for t in given)
    like = values[0].kernel
    whole = sequential.composed(values) if attached else _detached(values)
    whole = whole.to(next((t.dtype for t in given if t.is_floating_point()), like.dtype))
    trains = any(t.requires_grad for t in given)
    merged = whole.to_module(attached) if mode is None else _padded_by(mode, whole, attached)
    if not attached:
        for p in merged.parameters():
            p.requires_grad_(trains)
        _keep_memory_format(merged, given)
    return merged.eval() if not any(m.training for m in modules) else merged


def _unpadded(first: nn.Module) -> tuple[nn.Module, Any]:
    """The first module without padding that copies data, and that padding as (padding, mode); None where it has none.

    Such a padding is no convolution, but it comes before everything else: what follows may still fold behind it.
    """
    if not isinstance(first, nn.Conv1d | nn.Conv2d | nn.Conv3d) or first.padding_mode == "zeros":
        return first, None
    bare = copy.copy(first)  # shares the weights: gradients reach them
    bare.padding, bare.padding_mode = (0,) * len(first.kernel_size), "zeros"
    return bare, (first.padding, first.padding_mode, first)


def _padded_by(mode: Any, value: Convolution, attached: bool) -> nn.Module:
    """The convolution with the first module's padding before it."""
    padding, name, first = mode
    if any(w.lo or w.hi or w.upsample > 1 for w in value.windows):
        raise NotFoldable("padding-mode", f"padding_mode={name!r} comes first and zeros are padded after it")
    pairs = convolution.pads(padding, first.kernel_size, first.dilation)
    if any(lo != hi for lo, hi in pairs):
        raise NotFoldable("padding-mode", f"padding_mode={name!r} with an odd 'same' padding pads one side more")
    return module.convolution(value, attached, padding=tuple(lo for lo, _ in pairs), padding_mode=name)


def _tensors(module: nn.Module) -> list[Tensor]:
    """Every weight a module computes with: parameters, and tensors put in their place."""
    found = []
    for m in module.modules():
        for name in ("weight", "bias", "running_mean"):
            t = getattr(m, name, None)
            if isinstance(t, Tensor):
                found.append(t)
    return found


def _detached(values: list[Convolution]) -> Convolution:
    with torch.no_grad():
        return sequential.composed(values)


def _keep_memory_format(module: nn.Module, given: list[Tensor]) -> None:
    for dims, fmt in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        kernels = [t for t in given if t.dim() == dims]
        last = all(t.is_contiguous(memory_format=fmt) for t in kernels)
        if last and not all(t.is_contiguous() for t in kernels):  # a single tap is both
            module.to(memory_format=fmt)  # type: ignore[call-overload]
