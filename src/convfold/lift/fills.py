"""A(x) padded with what A gives of zeros is A of x padded with zeros.

DiverseBranchBlock and ECBSR, as published, pad the output of a batch norm or a 1×1 convolution with zeros and then
write over them, end by end, the number that it gives of a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from convfold.algebra.convolution import Convolution
from convfold.algebra.numbers import has_numbers
from convfold.algebra.spatial import Pad
from convfold.layers import Convolved, Step, Value
from convfold.layers.filling import Fill
from convfold.layers.padding import zero_padding

#: Numbers computed in two ways are one where they differ by no more than this, relative to the larger.
ROUNDING = 1e-6


def filled(
    last: str, fills: Mapping[str, Step], steps: Mapping[str, Step], readers: Callable[[str], Iterable[str]]
) -> tuple[Step, str, list[str]] | None:
    """What the last of some fills computes, by which call's operator, and which calls it needs no more; or None."""
    chain, x = [last], _read(fills[last])
    while x.name in fills and list(readers(x.name)) == chain[-1:]:
        chain.append(x.name)
        x = _read(fills[x.name])
    pad = steps.get(x.name)
    if pad is None or not isinstance(pad.operation, Pad) or list(readers(x.name)) != chain[-1:]:
        return None
    padded, x = x.name, _read(pad)
    inner, zeros = steps.get(x.name), pad.operation.convolution
    if inner is None or not isinstance(inner.operation, Convolved) or not isinstance(zeros, Convolution):
        return None
    op, axis = inner.operation.operator, inner.operation.axis
    if axis != pad.operation.axis or not op.geometry.pointwise or op.geometry.periodic:
        return None
    written = [fill for call in chain if isinstance(fill := fills[call].operation, Fill)]
    if _ring(pad.operation, x.dim) != {(f.axis, f.end): f.width for f in written}:
        return None
    if not all(f.channel in (None, axis) and _gives(op, f.values) for f in written):
        return None
    shape = (*x.shape[:axis], op.c_in, *_padded(x.shape, pad.operation.pads)[axis + 1 :])
    before = replace(pad.operation, convolution=zero_padding(op.c_in, pad.operation.pads, zeros.dims))
    step = Step(inner.operation, (Step(before, inner.inputs, replace(x.signal, shape=shape)),))
    return step, x.name, [*chain[1:], padded, *([x.name] if list(readers(x.name)) == [padded] else [])]


def _read(step: Step) -> Value:
    (x,) = step.inputs
    assert isinstance(x, Value)
    return x


def _padded(shape: Sequence[int], pads: Sequence[int]) -> tuple[int, ...]:
    pairs = [*zip(pads[::2], pads[1::2], strict=True)][::-1]
    pairs = [(0, 0)] * (len(shape) - len(pairs)) + pairs
    return tuple(n + lo + hi for n, (lo, hi) in zip(shape, pairs, strict=True))


def _ring(pad: Pad, rank: int) -> dict[tuple[int, int], int]:
    """By axis and end, how many zeros there are."""
    pairs = enumerate(zip(pad.pads[::2], pad.pads[1::2], strict=True))
    return {(rank - 1 - i, end): n for i, pair in pairs for end, n in enumerate(pair) if n}


def _gives(op: Convolution, values: Tensor) -> bool:
    """Are these numbers, one a channel or the same for all, what the operator gives of zeros?"""
    bias = torch.zeros(op.c_out, dtype=torch.float64) if op.bias is None else op.bias.detach().double()
    if not has_numbers(bias) or values.numel() not in (1, op.c_out):
        return False
    off = (bias - values.detach().double().reshape(-1).to(bias.device)).abs()
    return bool((off <= ROUNDING * bias.abs()).all())
