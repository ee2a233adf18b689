"""A chain of padded layers as one layer, exact at its border too, at every input size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from convfold.algebra import series
from convfold.algebra.convolution import Convolution
from convfold.algebra.margins import Margin, margins, strips
from convfold.layers.examples import Draw, ModuleExample, each, module_example, optional, space
from convfold.layers.known import module
from convfold.layers.links import Link, links, ways
from convfold.ops import end


def ends(steps: Sequence[Link]) -> tuple[Margin, ...]:
    """Of each axis, how far a chain differs from its one convolution, at every size."""
    chains = [[(v.windows, v.bias is not None) for v in way] for way in ways(steps)]
    return margins(chains, [None] * steps[0].dims)


class Bordered(nn.Module):
    """One layer for the interior; along the edges the layers it was merged from, on strips as wide as they need.

    y = whole(x), then for every end of every axis: y's outermost rows = those of steps(x's outermost rows). A strip cut
    from an image smaller than it is the whole image, and what is computed of it exact: there is no smallest size.

    Attributes:
        whole: the one layer.
        steps: the layers in turn, :class:`Branches` where there are several ways.
        strips: (axis, strip, from its high end?)
    """

    def __init__(self, whole: Convolution, steps: Sequence[Link | Convolution], attached: bool = False) -> None:
        super().__init__()
        chain = [Link(((step,),)) if isinstance(step, Convolution) else step for step in steps]
        each = [[(v.windows, v.geometry.period) for v in way] for way in ways(chain)]
        self.strips = list(strips(each, ends(chain)))
        self.dims = whole.dims
        self.whole = whole.to_module(attached)
        self.steps = nn.Sequential(*(part for link in chain for part in _modules(link, attached)))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, *space) → (N, c_out, *size(space)), a batch of one without N too."""
        first = x.dim() - self.dims
        if not torch.compiler.is_compiling():  # to spare the work, not for the result
            for axis, strip, _ in self.strips:
                if x.shape[first + axis] <= strip.inputs:
                    y: Tensor = self.steps(x)
                    return y
        y = self.whole(x)
        for axis, strip, high in self.strips:
            exact = self.steps(end(x, first + axis, strip.inputs, strip.step, high))
            end(y, first + axis, strip.rows, 1, high).copy_(end(exact, first + axis, strip.rows, 1, high))
        return y

    def extra_repr(self) -> str:
        rows = (f"{strip.rows} {'last' if high else 'first'} of axis {axis}" for axis, strip, high in self.strips)
        return f"border: {', '.join(rows)}"


class Branches(nn.Module):
    """The sum of some modules on one input."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, *space) → (N, c_out, *size(space))"""
        y: Tensor = reduce(torch.add, (branch(x) for branch in self.branches))
        return y


def _modules(link: Link, attached: bool) -> list[nn.Module]:
    paths = [[value.to_module(attached) for value in path] for path in link.paths]
    return paths[0] if len(paths) == 1 else [Branches([nn.Sequential(*path) for path in paths])]


@module(Bordered)
def of_bordered(m: Bordered, channels: int | None = None, dims: int | None = None) -> list[Link]:
    return links(m.steps, channels, dims)


@module(Branches)
def of_branches(m: Branches, channels: int | None = None, dims: int | None = None) -> Link:
    return Link(tuple(way for branch in m.branches for way in ways(links([branch], channels, dims))))


@module_example(Bordered)
def drawn(draw: Draw, cls: type[Bordered]) -> ModuleExample:
    """Of two that keep the size. One module they are unless the second, reading outside, finds something there."""
    dims, (c, middle, out) = draw.integer(1, 3), each(draw, 3, 1, 3)
    first, second = draw.pick((1, 3)), draw.pick((1, 3))
    a = Convolution(draw.weight(middle, c, *(first,) * dims), optional(draw, middle), padding=first // 2)
    b = Convolution(draw.weight(out, middle, *(second,) * dims), optional(draw, out), padding=second // 2)
    found = "ghost-depends-on-data" if first > 1 else "ghost-is-constant" if a.bias is not None else None
    m = cls(series.chain([a, b], endless=True), [a, b])
    return ModuleExample(m, draw.signal(draw.integer(1, 2), c, *space(draw, dims)), found if second > 1 else None)


@module_example(Branches)
def drawn_branches(draw: Draw, cls: type[Branches]) -> ModuleExample:
    """Of convolutions that keep the size."""
    dims, c, out = draw.integer(1, 3), draw.integer(1, 3), draw.integer(1, 3)
    branches = []
    for _ in range(draw.integer(1, 3)):
        taps = each(draw, dims, 1, 3)
        branches.append(Convolution(draw.weight(out, c, *taps), optional(draw, out), padding="same").to_module())
    return ModuleExample(cls(branches), draw.signal(draw.integer(1, 2), c, *space(draw, dims)))
