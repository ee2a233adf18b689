"""A(x) padded with what A gives of zeros is A of x padded with zeros.

DiverseBranchBlock and ECBSR, as published, pad the output of a batch norm or a 1×1 convolution with zeros and then
write over them, end by end, the number that it gives of a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convfold.algebra.convolution import Convolution
from convfold.algebra.layout import Layout
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
    chain = _chain(last, fills, steps, readers)
    x = chain.x
    pad = steps.get(x.name)
    if pad is None or not isinstance(pad.operation, Pad) or list(readers(x.name)) != chain.calls[-1:]:
        return None
    padded, x = x.name, _read(pad)
    inner, zeros = steps.get(x.name), pad.operation.convolution
    if inner is None or not isinstance(inner.operation, Convolved) or not isinstance(zeros, Convolution):
        return None
    op, axis = inner.operation.operator, inner.operation.axis
    if axis != pad.operation.axis or not op.geometry.pointwise or op.geometry.periodic:
        return None
    if _ring(pad.operation, x.dim) != {(f.axis, f.end): f.width for f in chain.written}:
        return None
    if not all(f.channel in (None, axis) and _gives(op, f.values) for f in chain.written):
        return None
    shape = _padded(x.shape, pad.operation.pads)
    before = replace(pad.operation, convolution=zero_padding(op.c_in, pad.operation.pads, zeros.dims))
    narrow = replace(x.signal, shape=(*shape[:axis], op.c_in, *shape[axis + 1 :]))
    step = Step(inner.operation, (Step(before, inner.inputs, narrow),), replace(x.signal, shape=shape))
    if chain.order != sorted(chain.order):
        step = Step(Layout.permute(chain.order), (step,))
    return step, x.name, [*chain.calls[1:], padded, *([x.name] if list(readers(x.name)) == [padded] else [])]


@dataclass
class _Chain:
    """Fills and permutes in a row, newest first, and what they begin with: the fills by its axes, and the order that
    the last call has those in."""

    calls: list[str]
    written: list[Fill]
    order: list[int]
    x: Value


def _chain(
    last: str, fills: Mapping[str, Step], steps: Mapping[str, Step], readers: Callable[[str], Iterable[str]]
) -> _Chain:
    found = _Chain([], [], list(range(_read(fills[last]).dim)), _read(fills[last]))
    call = last
    while True:
        step = fills.get(call) or steps.get(call)
        if step is None or (found.calls and list(readers(call)) != found.calls[-1:]):
            return found
        if isinstance(fill := step.operation, Fill):
            found.written.append(fill)
        elif isinstance(view := step.operation, Layout) and (order := view.order) is not None:
            found.order = [order[i] for i in found.order]
            found.written = [
                replace(f, axis=order[f.axis], channel=None if f.channel is None else order[f.channel])
                for f in found.written
            ]
        else:
            return found
        found.calls.append(call)
        found.x = _read(step)
        call = found.x.name


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
