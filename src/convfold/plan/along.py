"""An operator seen from the other axes: (A ⊗ 1)∘(1 ⊗ B) = (1 ⊗ B)∘(A ⊗ 1), so to those on others it is a move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convfold.algebra.operation import Move, Shape, T, Work
from convfold.ops import Ops
from convfold.plan.deferred import Deferred


@dataclass(frozen=True, slots=True)
class Along(Move):
    """A pointwise operator without a bias on ``axis``: the same for every position of all others.

    How it is computed is decided where it is (`plan.evaluation`), as it is of any operator: it is never written itself.
    """

    operator: Deferred
    axis: int

    @property
    def constants(self) -> bool:
        return self.operator.constants

    @property
    def label(self) -> str:
        return f"operator along axis {self.axis}"

    def traced(self, axis: int) -> int | None:
        return None if axis == self.axis else axis

    forward = traced

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        raise AssertionError("an operator is priced as it is computed")

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        raise AssertionError("an operator is written as it is computed")


def along(operator: Deferred, axis: int) -> Along | None:
    """An operator as a move; None where it reads neighbours, or has a bias."""
    g = operator.geometry
    return Along(operator.flat, axis) if g.pointwise and g.period is None else None
