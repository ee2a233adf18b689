"""What all maps of the space axes have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from convfold.algebra.operation import Move, Operator, Shape, Sums, T, Work
from convfold.errors import NotFoldable
from convfold.ops import Ops


@dataclass(frozen=True, kw_only=True)
class Spatial(Move):
    """A linear map ``S`` along some axes, the same for every position of the others.

    A pointwise map P of channels commutes with it: ``P∘S = S∘P``; its bias too if ``S`` preserves constants, so P may
    be computed wherever there are fewest positions. Two maps are one if their kind, its arguments and the sizes are.

    Attributes:
        sizes: lengths of the axes it acts on, before and after, free ones by name.
        carried: the axes it does not act on, as (axis before, axis after).
        axis: the channel axis, where it is also a convolution.
        convolution: the same map as a depthwise convolution on that axis, where it is one: it composes.
        reason: why it is no convolution, where it looks like one.
        origin: the model's call: it knows free sizes by name.
    """

    sizes: tuple[tuple[Hashable, ...], tuple[Hashable, ...]]
    carried: tuple[tuple[int, int], ...]
    axis: int
    convolution: Operator | None = field(default=None, compare=False)
    reason: NotFoldable | None = field(default=None, compare=False)
    origin: str | None = field(default=None, compare=False)

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """By definition, at the example's sizes."""

    @property
    def matrices(self) -> Callable[[], tuple[Tensor, ...]] | None:
        """One a space axis, (after, before), whose Kronecker product it is; None where it is none or sizes are free."""
        return None

    def matrix(self, rank: int, axis: int, n: int) -> Tensor:
        """(after, before) of a map along one axis alone, of length n in a signal of so many: what it makes of ones."""
        other = (axis + 1) % rank  # one basis vector a position of another axis, which it treats alike
        shape = [n if i in (axis, other) else 1 for i in range(rank)]
        ones = torch.eye(n, dtype=torch.float64).reshape(shape)
        y = self(ones)
        if y.dim() < rank:
            y = y.unsqueeze(axis)
        return y.movedim((axis, other), (0, 1)).flatten(1)

    def alone(self, i: int) -> Callable[[Tensor], Tensor] | None:
        """The same along its i-th axis only, in any signal; None where it is not one such map after the other."""
        return None

    @property
    def reads(self) -> int:
        """How many values it reads for each it writes; 0: each of its inputs once."""
        return 0

    @property
    def called(self) -> str:
        """Which kind of work it is."""
        return "copy"

    def traced(self, axis: int) -> int | None:
        return next((i for i, j in self.carried if j == axis), None)

    def forward(self, axis: int) -> int | None:
        return next((j for i, j in self.carried if i == axis), None)

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        """None of what it reads is multiplied.

        A resize reads several values for each it writes: measured, 0.6, 1.0, 1.5, 5.0 and 7.6 ns an output for nearest,
        linear, bilinear, trilinear and bicubic, where a sum takes 2.0: about half as long as those bytes once each.
        """
        before, after = prod(xs[0]), prod(y)
        read = Sums(1, 1, 1, max(self.reads, -(-before // max(after, 1))), after)
        yield Work(0, max(before + after, self.reads * after // 2), self.called, read)

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        """The model's call: its other arguments do not depend on how many channels there are."""
        assert self.origin is not None
        return ops.again(self.origin, self, xs[0])


def along_axes(x: Tensor, matrices: Sequence[Tensor], axes: Sequence[int]) -> Tensor:
    """One matrix an axis, (after, before)."""
    for axis, matrix in zip(axes, matrices, strict=True):
        x = (x.movedim(axis, -1) @ matrix.t().to(x)).movedim(-1, axis)
    return x
