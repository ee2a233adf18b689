"""The model's own call on another signal: with another number of channels, all else as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir

from convfold.frontends.onnx.sizes import Free

if TYPE_CHECKING:
    from convfold.frontends.onnx.operators import Onnx


def again(ops: Onnx, node: ir.Node, old: ir.Value, x: ir.Value, shape: Sequence[int] | None, at: int) -> ir.Value:
    """``shape``: of the result, at the example; of a view it may differ on the axis that holds the channels.

    ``at``: which of its inputs the signal is.
    """
    signal = node.inputs[at]
    assert signal is not None
    before_it, rest = node.inputs[:at], list(node.inputs[at + 1 :])
    if shape is not None and not _names_axes(node, ops.sizes(old)):
        return _reshaped(ops, old, x, shape)
    if shape is None and node.op_type in ("Resize", "Expand", "CenterCropPad"):
        before, now = ops.sizes(signal), ops.sizes(x)
        rest = [_adjusted(ops, node, r, before, now, old) for r in rest]
    return ops.insert(ir.Node("", node.op_type, [*before_it, x, *rest], node.attributes.values(), num_outputs=1))[0]


def along(ops: Onnx, node: ir.Node, x: ir.Value, axis: int) -> ir.Value:
    """A resize along one of its axes only: the sizes of the others are what they are, their factors one."""
    named, rank = node.attributes.get("axes"), len(ops.sizes(x))
    axes = [i % rank for i in named.as_ints()] if named is not None else list(range(rank))
    if axis not in axes:  # which it leaves as it is
        return x
    kept, rest = dict(node.attributes.items()), list(node.inputs[1:])
    if (factors := kept.pop("scales", None)) is not None:
        ones = [f if i == axis else 1.0 for i, f in zip(axes, factors.as_floats(), strict=True)]
        kept["scales"] = ir.AttrFloat32s("scales", ones)
    for i, argument in enumerate(rest):
        if argument is None or 0 in ops.sizes(argument) or (i == 0 and len(rest) > 1):  # which part of a signal to take
            continue
        whole = next(k for k in (trial[argument].dtype for trial in ops.written.trials)) == ir.DataType.INT64
        own = ops.call("Gather", argument, ops.ints([axes.index(axis)]), axis=0)
        if whole:
            lengths = ops.call("Shape", x)
            others = [own if j == axis else ops.call("Gather", lengths, ops.ints([j]), axis=0) for j in axes]
        else:
            one = ops.initializer(f"{ops.prefix}_folded_scale", ir.tensor([1.0], ir.DataType.FLOAT))
            others = [own if j == axis else one for j in axes]
        rest[i] = ops.call("Concat", *others, axis=0)
    return ops.insert(ir.Node("", node.op_type, [x, *rest], kept.values(), num_outputs=1))[0]


def _names_axes(node: ir.Node, after: Sequence[int | Free]) -> bool:
    """Is it right on any signal of as many axes? Of some that are one long a Flatten may join others than it did."""
    named = "axes" in node.attributes or len(node.inputs) > 1
    joins = node.op_type == "Flatten" and all(isinstance(n, Free) for n in after)
    return joins or node.op_type == "Unsqueeze" or (node.op_type == "Squeeze" and named)


def _reshaped(ops: Onnx, old: ir.Value, x: ir.Value, shape: Sequence[int]) -> ir.Value:
    """To numbers where they are known; to what the signal has there; one may be whatever is left."""
    before = ops.sizes(x)
    after = [s if isinstance(s, Free) else n for s, n in zip(ops.sizes(old), shape, strict=True)]
    asked: list[int] = []
    unknown = [i for i, n in enumerate(after) if isinstance(n, Free) and (i >= len(before) or before[i] != n)]
    for i, n in enumerate(after):
        asked.append(n if isinstance(n, int) else -1 if i in unknown else 0)
    if len(unknown) <= 1:
        return ops.call("Reshape", x, ops.ints(asked))
    lengths, node = ops.call("Shape", x), old.producer()
    pieces: list[ir.Value] = []
    for i, n in enumerate(after):
        if isinstance(n, int):
            pieces.append(ops.ints([n]))
        elif n in before:
            pieces.append(ops.call("Gather", lengths, ops.ints([before.index(n)]), axis=0))
        else:
            assert node is not None and node.op_type == "Reshape" and node.inputs[1] is not None
            pieces.append(ops.call("Gather", node.inputs[1], ops.ints([i]), axis=0))
    return ops.call("Reshape", x, ops.call("Concat", *pieces, axis=0))


def _adjusted(
    ops: Onnx,
    node: ir.Node,
    argument: ir.Value | None,
    before: Sequence[int | Free],
    now: Sequence[int | Free],
    old: ir.Value,
) -> ir.Value | None:
    """Sizes of all axes, or of those that the call names: those of the channels are what they are now."""
    if argument is None or before == now:
        return argument
    known = [trial[argument] for trial in ops.written.trials]
    if any(k.dtype != ir.DataType.INT64 for k in known):
        return argument  # factors
    after, rank = ops.sizes(old), len(before)
    count = ops.sizes(argument)[0]
    assert isinstance(count, int)
    named = node.attributes.get("axes")
    axes = [i % rank for i in named.as_ints()] if named is not None else list(range(len(after) - count, len(after)))
    changed = {i for i, (a, b) in enumerate(zip(before, now, strict=True)) if a != b}
    if not changed & set(axes):
        return argument
    sizes = [now[i] if i in changed else after[i] for i in axes]
    if all(isinstance(n, int) for n in sizes):
        return ops.ints(int(n) for n in sizes)  # type: ignore[arg-type]
    pieces = [
        ops.ints([n]) if isinstance(n, int) else ops.call("Gather", argument, ops.ints([i]), axis=0)
        for i, n in enumerate(sizes)
    ]
    return ops.call("Concat", *pieces, axis=0)
