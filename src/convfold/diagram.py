"""A region as a small tree in text: what each value is computed from, its size, and the multiply-adds of each step."""

from __future__ import annotations

from convfold.algebra.geometry import Geometry
from convfold.algebra.operation import Apply, Concat, Correct, Layout, Operation, Resample, Slice, Spatial, Spread, Sum
from convfold.algebra.realisation import OwnCall
from convfold.plan.border import WAYS
from convfold.plan.cost import Prices
from convfold.plan.recipe import Given
from convfold.region import Node, Region
from convfold.report import count

#: Lines of one tree; a longer one is cut, and says so.
LINES = 40


def diagram(region: Region) -> str:
    """Outputs first, what they are computed from below them; a value read twice is drawn once."""
    drawn: set[str] = set()
    lines = [line for name in region.outputs for line in _tree(name, region, drawn)]
    cut = [f"… {len(lines) - LINES} more"] if len(lines) > LINES else []
    return "\n".join(lines[:LINES] + cut)


def _tree(name: str, region: Region, drawn: set[str]) -> list[str]:
    node = region.by_name[name]
    while isinstance(node.operation, Layout):  # moves nothing, multiplies nothing
        node = region.by_name[node.inputs[0]]
    if node.operation is None:
        return [f"{node.name} {_size(node)}"]
    head = f"{_label(node, region)} → {_size(node)}"
    if node.name in drawn:
        return [f"{head}  (as above)"]
    drawn.add(node.name)
    branches = [_tree(i, region, drawn) for i in node.inputs]
    lines = [head]
    for first, *rest in branches[:-1]:
        lines += [f"├── {first}", *(f"│   {line}" for line in rest)]
    for first, *rest in branches[-1:]:
        lines += [f"└── {first}", *(f"    {line}" for line in rest)]
    return lines


def _size(node: Node) -> str:
    return "×".join(map(str, node.signal.shape[1:]))


def _label(node: Node, region: Region) -> str:
    step, xs = node.operation, [region.by_name[i].signal for i in node.inputs]
    assert step is not None
    macs = Prices("macs").of(step, xs, node.signal).macs if not isinstance(step, Correct) else 0
    return kind(step) + (f", {count(macs)} MACs" if macs else "")


def kind(step: Operation | None) -> str:
    """What a step is called: ``3×3 convolution 64→128 /2``, ``linear 32→256``, ``bilinear resize``."""
    match step:
        case Apply(operator=Given(call=str(name)), how=OwnCall()):
            return name.rstrip("_0123456789").replace("_", " ")
        case Apply(operator=operator):
            return _operator(operator.geometry)
        case Sum():
            return "sum"
        case Concat():
            return "concat"
        case Slice(start=start, stop=stop):
            return f"slice {start}:{stop}"
        case Correct(way=way):
            return f"border: {WAYS[way]}"
        case Resample():
            return f"{len(step.spreads)} resized and added"
        case Spread():
            return f"{_spatial(step.spatial)} of the taps"
        case Spatial():
            return _spatial(step)
        case _:
            return "view"


def _operator(g: Geometry) -> str:
    if g.diagonal:
        return "scale"
    taps = "×".join(map(str, g.taps))
    rate = max((w.upsample for w in g.windows), default=1)
    stride = max((w.stride for w in g.windows), default=1)
    name = "linear" if g.dims == 0 else f"{taps} transposed convolution" if rate > 1 else f"{taps} convolution"
    return f"{name} {g.c_in}→{g.c_out}{f' ×{rate}' if rate > 1 else f' /{stride}' if stride > 1 else ''}"


def _spatial(s: Spatial) -> str:
    name = str(s.target).split(".")[1] if "." in str(s.target) else str(s.target)
    return name.strip("_").replace("upsample_", "").rstrip("d").rstrip("123") + (
        " resize" if "upsample" in name else ""
    )
