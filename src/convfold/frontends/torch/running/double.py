"""How is a convolution computed fast in float64 on a CPU? Tap by tap, on shifted views of the padded signal.

PyTorch's own unfolds the signal first, once a group: a depthwise one takes 7 to 40 times as long as in float32. Here
the padded signal is laid flat, so that what one tap reads for all positions is one slice of it: the result is a product
of matrices a tap (dense), or one multiply-add a tap (depthwise). Rows run on into the padding of the next, and the
values computed there are cut off at the end. With strides the signal is first sorted by its position modulo the stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import torch
from torch import Tensor

#: Numbers of a depthwise result, and columns of a dense one, computed tap by tap before going on to the next.
DEPTHWISE, DENSE = 1 << 18, 1 << 14

#: Fewer columns or channels than these are faster unfolded.
FEW_COLUMNS, FEW_CHANNELS = 512, 16


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor | None:
    """``aten.convolution`` of float64 tensors, or None where PyTorch's own is as fast.

    x: (n, c_in, *space), weight: (c_out, c_in // groups, *taps) → (n, c_out, *space)
    """
    depthwise = weight.shape[1] == 1 and groups > 1
    if x.device.type != "cpu" or transposed or x.dim() != weight.dim() or x.numel() == 0 or prod(weight.shape[2:]) == 1:
        return None
    taps = _Taps(x, weight, stride, padding, dilation)
    if min(taps.sizes) < 1 or (
        not depthwise and (groups > 1 or weight.shape[1] < FEW_CHANNELS or taps.columns < FEW_COLUMNS)
    ):
        return None
    return taps.depthwise(weight, bias, groups) if depthwise else taps.dense(weight, bias)


class _Taps:
    """The padded signal as (phases, n, c_in, positions), and where in it each tap begins to read."""

    def __init__(
        self, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
    ) -> None:
        taps, self.batch = weight.shape[2:], x.shape[0]
        axes = list(zip(x.shape[2:], taps, stride, padding, dilation, strict=True))
        self.sizes = [(n + 2 * p - d * (t - 1) - 1) // s + 1 for n, t, s, p, d in axes]
        self.rows = [-(-(n + 2 * p) // s) for n, _, s, p, _ in axes]  # of one phase, along each axis
        pitch = [prod(self.rows[i + 1 :]) for i in range(len(axes))]
        self.columns = 1 + sum((m - 1) * q for m, q in zip(self.sizes, pitch, strict=True))
        self.pitch, self.x, self.axes = pitch, x, axes
        self.reads = []  # of each tap: which phase, from which position on
        for at in product(*(range(0, d * t, d) for _, t, _, _, d in axes)):
            phase = 0
            for a, s in zip(at, stride, strict=True):
                phase = phase * s + a % s
            self.reads.append((phase, sum(a // s * q for a, s, q in zip(at, stride, pitch, strict=True))))

    def signal(self) -> Tensor:
        """(phases, n, c_in, positions): phase r of an axis holds the padded signal's positions r, r + stride, …"""
        x = self.x
        strides = [s for _, _, s, _, _ in self.axes]
        flat = x.new_zeros(prod(strides), *x.shape[:2], *self.rows)
        for i, phase in enumerate(product(*map(range, strides))):
            to: list[slice] = []
            of: list[slice] = []
            for r, (n, _, s, p, _) in zip(phase, self.axes, strict=True):
                first = max(-(-(p - r) // s), 0)  # the first position that is not padding
                start = r + s * first - p
                count = max(-(-(n - start) // s), 0)
                to.append(slice(first, first + count))
                of.append(slice(start, start + s * count, s))
            flat[i][:, :, *to] = x[:, :, *of]
        return flat.flatten(3)

    def depthwise(self, weight: Tensor, bias: Tensor | None, channels: int) -> Tensor:
        signal, kernel = self.signal(), weight.flatten(1).unflatten(0, (channels, -1))  # (c_in, c_out // c_in, taps)
        result = self._empty(len(weight)).unflatten(1, (channels, -1))
        step = max(DEPTHWISE // (kernel.shape[1] * self.columns), 1)
        for n, c in product(range(self.batch), range(0, channels, step)):
            some = slice(c, c + step)
            out = result[n, some, :, : self.columns]
            for i, (phase, start) in enumerate(self.reads):
                read = signal[phase, n, some, None, start : start + self.columns]
                if i == 0:
                    torch.mul(read, kernel[some, :, i, None], out=out)
                else:
                    out.addcmul_(read, kernel[some, :, i, None])
        result = result.flatten(1, 2)
        return self._cut(result if bias is None else result.add_(bias[:, None]))

    def dense(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        signal, kernel = self.signal(), weight.flatten(2).permute(2, 0, 1).contiguous()  # (taps, c_out, c_in)
        result = self._empty(len(weight))
        step = max(DENSE // self.pitch[0], 1) * self.pitch[0]
        for n, first in product(range(self.batch), range(0, self.columns, step)):
            last = min(first + step, self.columns)
            out = result[n, :, first:last]
            if bias is not None:
                out.copy_(bias[:, None].expand_as(out))
            for i, (phase, start) in enumerate(self.reads):
                read = signal[phase, n, :, start + first : start + last]
                out.addmm_(kernel[i], read, beta=float(i > 0 or bias is not None))
        return self._cut(result)

    def _empty(self, channels: int) -> Tensor:
        return self.x.new_empty(self.batch, channels, self.sizes[0] * self.pitch[0])

    def _cut(self, result: Tensor) -> Tensor:
        """Without what rows computed in the padding of the next."""
        whole: Tensor = result.unflatten(2, (self.sizes[0], *self.rows[1:]))
        return whole[:, :, *map(slice, self.sizes)].contiguous()
