"""What some outputs of a chain of convolutions are made of: read off by sending impulses from them back to the input.

A convolution's adjoint is a convolution, with stride and upsampling exchanged and the taps flipped. Few outputs are
wanted (the rows of a border, one period of the interior), and a signal of impulses is as small as what they read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd, prod
from typing import Any

import torch
from torch import Tensor

from convfold.algebra import series
from convfold.algebra.convolution import Convolution
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
    linear: bool = True,
) -> Reading:
    """Of a chain, first applied first, with the sizes before each step.

    Args:
        outputs: of each axis the positions of the result that are wanted.
        ends: of each axis whether the signals between the steps end where they do, or go on as if they had no end.
        inputs: of each axis the positions to look at; None: all that are read, beyond the input's ends too.
        linear: is the kernel wanted? The bias alone needs no look at the first step's inputs.
        groups: channels that do not mix, a divisor of every step's groups; each is looked at beside the others.
    """
    like, last = steps[0].kernel, steps[-1]
    lengths = [len(r) for r in outputs]
    local, none = last.c_out // groups, (None,) * len(outputs)
    # The impulses themselves: each output of each channel reads itself. They are never laid out.
    bias = _laid_out(last, outputs).expand(-1, *lengths).reshape(groups, -1).t() if last.bias is not None else None
    spans = tuple(outputs)
    for i in reversed(range(len(steps))):
        step, wanted = steps[i], none if i else inputs
        if i + 1 == len(steps):
            signal, spans = _kernel(step, spans, sizes[i], ends, wanted, groups)
            continue
        if step.bias is not None:
            passed = (signal * _laid_out(step, spans)).reshape(len(signal), groups, -1).sum(2)
            bias = passed if bias is None else bias + passed
        if i or linear:
            signal, spans = _back(step, signal, spans, sizes[i], ends, wanted)
    if bias is None:
        bias = like.new_zeros(local * prod(lengths), groups)
    if not linear:
        spans = tuple(range(1) if span is None else span for span in inputs)
        signal = signal.new_zeros(len(signal), steps[0].c_in, *map(len, spans))
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
    """From a step's outputs to its inputs: a product with each tap of the kernel, put where it was read."""
    windows, groups = step.windows, step.groups
    found = _reads(step, spans, before, ends, wanted)
    signal = signal.unflatten(1, (groups, -1))  # (B, g, c_out/g, *lengths)
    kernel = step.kernel.reshape(groups, signal.shape[2], -1, *step.geometry.taps)
    read = signal.new_zeros(len(signal), groups, kernel.shape[2], *map(len, found))
    for tap in product(*map(range, step.geometry.taps)):
        places = [_places(w, t, span, at) for w, t, span, at in zip(windows, tap, spans, found, strict=True)]
        if all(len(outputs) for outputs, _ in places):
            outputs, inputs = (series.every(map(_slice, side)) for side in zip(*places, strict=True))
            read[inputs] += torch.einsum("ngo...,goi->ngi...", signal[outputs], kernel[series.every(tap)])
    return read.flatten(1, 2), found


def _kernel(
    step: Convolution,
    spans: Sequence[range],
    before: Sequence[int],
    ends: Sequence[bool],
    wanted: Spans,
    groups: int,
) -> tuple[Tensor, tuple[range, ...]]:
    """What an impulse at each position of ``spans``, in each of a group's channels, reads: the kernel, put there."""
    found = _reads(step, spans, before, ends, wanted)
    lengths, local = [len(s) for s in spans], step.c_out // groups
    wide = series.widened(step.kernel, step.groups, groups) if step.groups % groups == 0 else step.kernel
    wide = wide.reshape(groups, local, -1, *step.geometry.taps)
    read = wide.new_zeros(local, *lengths, groups, wide.shape[2], *map(len, found))
    for tap in product(*map(range, step.geometry.taps)):
        places = [_places(w, t, span, at) for w, t, span, at in zip(step.windows, tap, spans, found, strict=True)]
        at: tuple[Any, ...] = (..., *tap)
        own = wide[at]  # (g, c_out/g, c_in/g)
        for pairs in product(*(zip(outputs, inputs, strict=True) for outputs, inputs in places)):
            outputs, inputs = ([pair[k] for pair in pairs] for k in (0, 1))
            place: tuple[Any, ...] = (slice(None), *outputs, slice(None), slice(None), *inputs)
            read[place] = own.transpose(0, 1)
    return read.flatten(0, len(lengths)).flatten(1, 2), found


def _reads(
    step: Convolution, spans: Sequence[range], before: Sequence[int], ends: Sequence[bool], wanted: Spans
) -> tuple[range, ...]:
    """Of each axis the inputs to look at."""
    return tuple(
        _read(w, span, n if ending else None) if chosen is None else chosen
        for w, span, n, ending, chosen in zip(step.windows, spans, before, ends, wanted, strict=True)
    )


def _read(w: Window, span: range, n: int | None) -> range:
    """The inputs that outputs in ``span`` read; None: without end."""
    first = -((w.lo - w.stride * span.start) // w.upsample)
    last = (w.stride * (span.stop - 1) + w.reach - w.lo) // w.upsample
    if n is not None:
        first, last = max(first, 0), min(last, n - 1)
        if last < first:  # nothing is read: one position, and no tap that meets it
            first = last = min(max(first, 0), max(n - 1, 0))
    return range(first, max(last, first) + 1)


def _places(w: Window, tap: int, span: range, at: range) -> tuple[range, range]:
    """Which outputs of ``span`` read which inputs of ``at`` at this tap, counted from the first of each."""
    pairs = []
    for n in span:
        m, r = divmod(w.stride * n + w.dilation * tap - w.lo, w.upsample)
        if r == 0 and m in at:
            pairs.append((n - span.start, m - at.start))
    if not pairs:
        return range(0), range(0)
    outputs, inputs = zip(*pairs, strict=True)
    return _progression(outputs), _progression(inputs)


def _progression(numbers: Sequence[int]) -> range:
    """Numbers that are equally far from each other."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    return range(numbers[0], numbers[-1] + 1, step)


def _slice(r: range) -> slice:
    return slice(r.start, r.stop, r.step)


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
