"""Poolings: one axis after another, window by window as ONNX Runtime lays them."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import torch
from torch import Tensor

from convfold.frontends.onnx.running.convolutions import Ends, ends, padded
from convfold.frontends.onnx.running.spelled import operator, unsupported


class _Windows:
    """Where the windows lie: what the signal is padded by, and how many there are along each axis."""

    def __init__(self, x: Tensor, kernel: Any, attributes: dict[str, Any]) -> None:
        axes = x.dim() - 2
        self.kernel = list(kernel)
        self.stride = list(attributes.get("strides") or [1] * axes)
        self.dilation = list(attributes.get("dilations") or [1] * axes)
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        auto = attributes.get("auto_pad")
        self.at = ends(auto, attributes.get("pads"), x.shape[2:], spans, self.stride, -inf)
        self.count, self.beyond = [], []
        for n, (lo, hi), span, s in zip(x.shape[2:], self.at, spans, self.stride, strict=True):
            room = n + lo + hi - span
            if room < 0:
                raise unsupported("a window larger than the map")
            count = room // s + 1
            if attributes.get("ceil_mode"):
                count = -(-room // s) + 1
                if (count - 1) * s >= n + lo:  # a window begins inside the signal, or before it
                    count -= 1
            self.count.append(count)
            self.beyond.append(max((count - 1) * s + span - (n + lo + hi), 0))

    @property
    def whole(self) -> Ends:
        """With what the last windows read beyond the padding."""
        return [(lo, hi + more) for (lo, hi), more in zip(self.at, self.beyond, strict=True)]

    def reduced(self, x: Tensor, by: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """``by`` of all that each window holds of a padded signal."""
        for axis, (k, s, d, m) in enumerate(zip(self.kernel, self.stride, self.dilation, self.count, strict=True)):
            index = torch.arange(m) * s
            found = x.index_select(axis + 2, index)
            for tap in range(1, k):
                found = by(found, x.index_select(axis + 2, index + tap * d))
            x = found
        return x


@operator("AveragePool")
def AveragePool(
    version: int, x: Tensor, *, kernel_shape: Any, count_include_pad: int | None = None, **attributes: Any
) -> Tensor:
    windows = _Windows(x, kernel_shape, attributes)
    counted = x.new_ones(1, 1, *x.shape[2:])
    counted = padded(padded(counted, windows.at, float(bool(count_include_pad))), [(0, n) for n in windows.beyond])
    return windows.reduced(padded(x, windows.whole), torch.add) / windows.reduced(counted, torch.add)


@operator("MaxPool")
def MaxPool(version: int, x: Tensor, *, kernel_shape: Any, outputs: int, **attributes: Any) -> Tensor:
    if outputs > 1:
        raise unsupported("where a MaxPool found its values")
    windows = _Windows(x, kernel_shape, attributes)
    least = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    return windows.reduced(padded(x, windows.whole, least), torch.maximum)


@operator("GlobalAveragePool")
def GlobalAveragePool(version: int, x: Tensor, **_: Any) -> Tensor:
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


@operator("GlobalMaxPool")
def GlobalMaxPool(version: int, x: Tensor, **_: Any) -> Tensor:
    return x.amax(tuple(range(2, x.dim())), keepdim=True)
