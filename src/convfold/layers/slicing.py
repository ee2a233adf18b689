"""Some of the channels: aten slice, split, split_with_sizes, chunk, narrow, index and index_select by constants."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from convfold.algebra.convolution import Convolution
from convfold.algebra.layout import Slice
from convfold.algebra.realisation import OwnCall
from convfold.errors import NotFoldable
from convfold.layers.examples import Draw, Example, axis, constant, each, example, flag, indices, shape
from convfold.layers.spelling import Call, Convolved, Reading, Step, Value, aten


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
        start %= n
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
    return Step(Convolved(Convolution(one_hot), axes[0], OwnCall()), (x,))


@example("slice.Tensor")
def drawn(draw: Draw, spelling: str) -> Example:
    """From either end, open on either side, beyond the last position too; never empty."""
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    n = x.shape[dim]
    start, step = draw.integer(0, n - 1), draw.pick((1, 1, 2))
    stop = draw.integer(start + 1, n)
    first = draw.pick((start, start - n, *((None,) if start == 0 else ())))
    last = draw.pick((stop, *((stop - n,) if stop < n else (None, n + 5))))
    return Example((x, dim, first, last, step), refused="not-affine" if step > 1 else None)


@example("narrow.default")
def drawn_narrow(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    n = x.shape[dim]
    start = draw.integer(0, n - 1)
    return Example((x, dim, draw.pick((start, start - n)), draw.integer(1, n - start)))


@example("split.Tensor", "chunk.default", "split_with_sizes.default")
def drawn_parts(draw: Draw, spelling: str) -> Example:
    """Of one length but for the last, or of any; more chunks are asked for than there may be."""
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    n = x.shape[dim]
    cuts = sorted(each(draw, draw.integer(0, 3), 0, n))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    return Example((x, sizes if "sizes" in spelling else draw.integer(1, n + 1), dim))


@example("index.Tensor", "index_select.default")
def drawn_index(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    dim = axis(draw, x.dim())
    n = x.shape[dim]
    if spelling.startswith("index_select"):
        return Example((x, dim, indices(draw, n)))
    chosen = indices(draw, n, -n)
    mask = torch.tensor([True, *(flag(draw) for _ in range(n - 1))])
    index, refused = draw.pick(((chosen, None), (constant(chosen[None]), "not-affine"), (constant(mask), "not-affine")))
    return Example((x, [*[None] * (dim % x.dim()), index]), refused=refused)
