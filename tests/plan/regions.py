"""Random small regions: what the planner is tested on."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import torch

from convfold.algebra.apply import Apply
from convfold.algebra.convolution import Convolution
from convfold.algebra.joins import Concat, Sum
from convfold.algebra.layout import Layout, Slice
from convfold.algebra.realisation import Convolve
from convfold.algebra.spatial import Spatial
from convfold.algebra.window import Window
from convfold.layers import ATEN, Call, Step, Value
from convfold.plan.deferred import Given
from convfold.region import Node, Region, Signal

aten = torch.ops.aten


def random_region(r: Random, steps: int) -> Region:
    """Up to ``steps`` operations on one or two inputs, two space axes, several readers and outputs."""
    channels, space = r.choice([4, 6]), (r.randint(3, 8), r.randint(3, 8))
    nodes = [Node(f"x{i}", None, (), Signal((2, channels, *space))) for i in range(r.choice([1, 1, 2]))]
    for i in range(steps):
        node = _random_node(r, f"v{i}", nodes)
        if node is not None:
            nodes.append(node)
    outputs = {nodes[-1].name} | {n.name for n in nodes if n.operation and r.random() < 0.1}
    needed = set(outputs)
    for n in reversed(nodes):
        if n.name in needed:
            needed.update(n.inputs)
    nodes = [n for n in nodes if n.name in needed]
    return Region(tuple(nodes), tuple(n.name for n in nodes if n.name in outputs))


def _random_node(r: Random, name: str, nodes: list[Node]) -> Node | None:
    x = r.choice(nodes[-3:])
    shape = x.signal.shape
    match r.choice("aaaaaasscvlmmm"):
        case "a":
            return _random_apply(r, name, x)
        case "s":
            y = r.choice([n for n in nodes if n.signal.shape == shape])
            return Node(name, Sum(), (x.name, y.name), x.signal, name)
        case "c":
            y = r.choice([n for n in nodes if (n.signal.shape[0], *n.signal.shape[2:]) == (shape[0], *shape[2:])])
            signal = Signal((shape[0], shape[1] + y.signal.shape[1], *shape[2:]))
            return Node(name, Concat(1), (x.name, y.name), signal, name)
        case "v":
            axis, step = r.choice([1, 1, len(shape) - 1, len(shape) - 2]), r.choice([1, 1, 2])
            start = r.randint(0, shape[axis] // 2)
            cut = Slice(axis, start, r.randint(start + 1, shape[axis]), step)
            sizes = [len(cut.positions(n)) if i == axis else n for i, n in enumerate(shape)]
            return Node(name, cut, (x.name,), Signal(tuple(sizes)), name) if axis else None
        case "m" if len(shape) == 4:
            return _random_map(r, name, x)
        case "l" if len(shape) == 4:
            flat = (*shape[:2], shape[2] * shape[3])
            return Node(name, Layout.view(shape, flat, flat), (x.name,), Signal(flat), name)
    return None


def _random_map(r: Random, name: str, x: Node) -> Node | None:
    """A resize, pool, pad, flip or mean, as its layer file reads it."""
    size = [r.randint(1, 12) for _ in x.signal.shape[2:]]
    target, arguments = r.choice(
        [
            (aten.upsample_bilinear2d.vec, (size, r.random() < 0.5, None)),
            (aten.upsample_nearest2d.vec, (None, [2.0, 2.0])),
            (aten.upsample_nearest2d.vec, (size, None)),
            (aten._upsample_bicubic2d_aa.vec, (size, False, None)),
            (aten.avg_pool2d.default, ([2, 2],)),
            (aten.avg_pool2d.default, ([3, 3], [2, 1], [1, 1], False, r.random() < 0.5)),
            (aten.adaptive_avg_pool2d.default, (size,)),
            (aten.constant_pad_nd.default, ([1, 0, 2, 1], 0.0)),
            (aten.constant_pad_nd.default, ([-1, 0, 0, -1], 0.0)),
            (aten.flip.default, ([2],)),
            (aten.mean.dim, ([2, 3], True)),
        ]
    )
    names = [a.name for a in target._schema.arguments]
    given = dict(zip(names[1:], arguments, strict=False))
    defaults = {a.name: a.default_value for a in target._schema.arguments if a.has_default_value()}
    try:
        y = target(torch.zeros(x.signal.shape), *arguments)
    except RuntimeError:  # a window larger than the map
        return None
    if 0 in y.shape:
        return None
    source = Value(x.name, x.signal, x.signal.shape, torch.float64)
    out = Value(name, Signal(tuple(y.shape)), tuple(y.shape), torch.float64)
    reading = ATEN[str(target)](Call(name, {names[0]: source, **defaults, **given}, out, int))
    if not isinstance(reading, Step) or not isinstance(step := reading.operation, Spatial):
        return None
    if isinstance(op := step.convolution, Convolution):
        step = replace(step, convolution=Given(op.geometry, op, name, name))
    return Node(name, step, (x.name,), out.signal, name)


def _random_apply(r: Random, name: str, x: Node) -> Node | None:
    n, c, *space = x.signal.shape
    if r.random() < 0.3:
        out, groups, k = c, c, r.choice([1, 3])
    else:
        out, k = r.choice([c, c, 4, 6, 8]), r.choice([1, 1, 3, 3, 2])
        groups = r.choice([1, 1, 2]) if out % 2 == 0 == c % 2 else 1
    pad = r.choice([0, 0, (k - 1) // 2])
    windows = tuple(Window(k, r.choice([1, 1, 1, 2]), 1, 1, pad, pad) for _ in space)
    op = Convolution(
        torch.randn(out, c // groups, *(w.taps for w in windows), dtype=torch.float64),
        r.choice([None, torch.randn(out, dtype=torch.float64)]),
        groups,
        windows,
    )
    size = op.geometry.size(space)
    if 0 in size:
        return None
    return Node(name, Apply(Given(op.geometry, op, name), 1, Convolve()), (x.name,), Signal((n, out, *size)), name)
