"""Some of the channels: aten slice, split, split_with_sizes, chunk, narrow, index and index_select by constants."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from convfold.algebra.convolution import Convolution
from convfold.algebra.layout import Slice
from convfold.algebra.realisation import OwnCall
from convfold.errors import NotFoldable
from convfold.layers.spelling import Call, Map, Reading, Step, Value, aten


def _axis(call: Call, x: Value) -> int:
    axis: int = call["dim"] % x.dim
    if axis in x.signal.free:
        raise NotFoldable("not-affine", "sliced along an axis of unknown length")
    return axis


@aten("slice.Tensor", "narrow.default")
def read(call: Call) -> Reading:
    x = call["self"] if call["self"] is not None else call["input"]
    if x.symbols == call.out.symbols and call["step"] in (None, 1):
        return x  # type: ignore[no-any-return]
    axis = _axis(call, x)
    n = x.shape[axis]
    start, stop, step = call["start"] or 0, call["end"], call["step"] or 1
    if call["length"] is not None:
        stop = start + call["length"]
    if step != 1:
        raise NotFoldable("not-affine", "a slice with steps")
    start, stop, _ = slice(start, stop).indices(n)
    return Step(Slice(axis, start, stop), (x,))


@aten("split.Tensor", "chunk.default", "split_with_sizes.default")
def read_parts(call: Call) -> list[Step | None]:
    x = call["self"]
    axis = _axis(call, x)
    n = x.shape[axis]
    if call["split_sizes"] is not None:
        sizes: Iterable[int] = call["split_sizes"]
    else:
        size = call["split_size"] or -(-n // call["chunks"])
        sizes = [min(size, n - i) for i in range(0, n, size)]
    steps: list[Step | None] = []
    start = 0
    for size in sizes:
        steps.append(Step(Slice(axis, start, start + size), (x,)))
        start += size
    return steps


@aten("index.Tensor", "index_select.default")
def read_index(call: Call) -> Step:
    """Channels in another order, left out or repeated: a one-hot matrix (c_out, c_in)."""
    x = call["self"]
    indices = call["indices"] if call["indices"] is not None else [None] * (call["dim"] % x.dim) + [call["index"]]
    axes = [i for i, index in enumerate(indices) if index is not None]
    if len(axes) != 1 or axes[0] in x.signal.free or not isinstance(indices[axes[0]], Value):
        raise NotFoldable("not-affine", "indexed along several axes, or one of unknown length")
    order = indices[axes[0]].tensor()
    if order.dim() != 1 or order.dtype == torch.bool:
        raise NotFoldable("not-affine", "an index of more than one axis, or a mask")
    one_hot = torch.eye(x.shape[axes[0]], dtype=torch.float64, device=order.device)[order]
    return Step(Map(Convolution(one_hot), axes[0], OwnCall()), (x,))
