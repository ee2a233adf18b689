"""What some outputs of a chain of convolutions are made of: read off by sending impulses from them back to the input.

A convolution's adjoint is a convolution, with stride and upsampling exchanged and the taps flipped. Few outputs are
wanted (the rows of a border, one period of the interior), and a signal of impulses is as small as what they read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod

import torch
from torch import Tensor

from convfold.algebra.convolution import Convolution, transposed_weight
from convfold.algebra.margins import Spans
from convfold.algebra.window import Window


@dataclass(frozen=True, eq=False, slots=True)
class Reading:
    """The outputs as linear functions of the inputs in ``spans``, one span an axis.

    Attributes:
        kernel: (c_out, *outputs, c_in // groups, *spans)
        bias: (c_out, *outputs)
    """

    kernel: Tensor
    bias: Tensor
    groups: int
    spans: tuple[range, ...]


def read_off(
    steps: Sequence[Convolution],
    sizes: Sequence[Sequence[int]],
    outputs: Sequence[range],
    ends: Sequence[bool],
    inputs: Spans,
    groups: int,
) -> Reading:
    """Of a chain, first applied first, with the sizes before each step.

    Args:
        outputs: of each axis the positions of the result that are wanted.
        ends: of each axis whether the signals between the steps end where they do, or go on as if they had no end.
        inputs: of each axis the positions to look at; None: all that are read, beyond the input's ends too.
        groups: channels that do not mix, a divisor of every step's groups; each is looked at beside the others.
    """
    like, last = steps[0].kernel, steps[-1]
    lengths = [len(r) for r in outputs]
    local = last.c_out // groups
    impulses = torch.eye(local * prod(lengths), dtype=like.dtype, device=like.device)
    signal = impulses.reshape(-1, local, *lengths).repeat(1, groups, *(1,) * len(lengths))  # (B, c_out, *outputs)
    bias = signal.new_zeros(len(signal), groups)
    spans = tuple(outputs)
    for i in reversed(range(len(steps))):
        step = steps[i]
        if step.bias is not None:
            bias = bias + (signal * _laid_out(step, spans)).reshape(len(signal), groups, -1).sum(2)
        signal, spans = _back(step, signal, spans, sizes[i], ends, inputs if i == 0 else (None,) * len(spans))
    kernel = signal.reshape(local, *lengths, groups, -1, *map(len, spans))
    kernel = kernel.movedim(1 + len(lengths), 0).flatten(0, 1)
    return Reading(kernel, bias.reshape(local, *lengths, groups).movedim(-1, 0).flatten(0, 1), groups, spans)


def _laid_out(step: Convolution, spans: Sequence[range]) -> Tensor:
    """The bias at these positions: (c_out, *lengths), or one for all of an axis."""
    bias = step.periodic_bias()
    for axis, span in enumerate(spans, start=1):
        if bias.shape[axis] > 1:
            at = torch.arange(span.start, span.stop, device=bias.device) % bias.shape[axis]
            bias = bias.index_select(axis, at)
    return bias


def _back(
    step: Convolution,
    signal: Tensor,
    spans: Sequence[range],
    before: Sequence[int],
    ends: Sequence[bool],
    wanted: Spans,
) -> tuple[Tensor, tuple[range, ...]]:
    """From a step's outputs to its inputs."""
    windows, found = [], []
    for w, span, n, ending, chosen in zip(step.windows, spans, before, ends, wanted, strict=True):
        first = -((w.lo - w.stride * span.start) // w.upsample)
        last = (w.stride * (span.stop - 1) + w.reach - w.lo) // w.upsample
        if ending:
            first, last = max(first, 0), min(last, n - 1)
        if last < first:  # nothing is read: one position, and no tap that meets it
            first = last = min(max(first, 0), max(n - 1, 0))
        if chosen is not None:
            first, last = chosen.start, chosen.stop - 1
        lo = w.reach - w.lo - w.upsample * first + w.stride * span.start
        back = Window(w.taps, w.upsample, w.stride, w.dilation, lo)
        windows.append(back.with_size(len(span), last - first + 1))
        found.append(range(first, last + 1))
    adjoint = Convolution(transposed_weight(step.kernel, step.groups), None, step.groups, tuple(windows))
    return adjoint(signal), tuple(found)


def period(steps: Sequence[Convolution]) -> tuple[tuple[int, int], ...]:
    """Of each axis after how many outputs a chain without ends repeats, and by how many inputs it has moved on then."""
    found = []
    for axis in range(steps[0].dims):
        p, stride, upsample = 1, 1, 1
        for step in steps:
            w = step.windows[axis]
            own = 1 if step.bias is None or step.bias.dim() == 1 else step.bias.shape[axis + 1]
            p = w.upsample * p // gcd(w.stride, w.upsample * p)
            p = p * own // gcd(p, own)
            stride, upsample = stride * w.stride, upsample * w.upsample
        rate = upsample // gcd(upsample, stride)
        p = p * rate // gcd(p, rate)
        found.append((p, p * stride // upsample))
    return tuple(found)
