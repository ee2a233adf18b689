"""A chain of padded layers as one layer, exact at its border too, at every input size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convfold.algebra.border import end
from convfold.algebra.convolution import Convolution
from convfold.algebra.margins import margins, strips


class Bordered(nn.Module):
    """One layer for the interior; along the edges the layers it was merged from, on strips as wide as they need.

    y = whole(x), then for every end of every axis: y's outermost rows = those of steps(x's outermost rows). A strip cut
    from an image smaller than it is the whole image, and what is computed of it exact: there is no smallest size.

    Attributes:
        whole: the one layer.
        steps: the layers in turn.
        strips: (axis, strip, from its high end?)
    """

    def __init__(self, whole: Convolution, steps: Sequence[Convolution], attached: bool = False) -> None:
        super().__init__()
        ends = margins([[(step.windows, step.bias is not None) for step in steps]], [None] * whole.dims)
        self.strips = list(strips([[(step.windows, step.geometry.period) for step in steps]], ends))
        self.dims = whole.dims
        self.whole = whole.to_module(attached)
        self.steps = nn.Sequential(*(step.to_module(attached) for step in steps))
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
        ends = (f"{strip.rows} {'last' if high else 'first'} of axis {axis}" for axis, strip, high in self.strips)
        return f"border: {', '.join(ends)}"
