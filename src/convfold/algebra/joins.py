"""Several signals made one: added, or laid end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from convfold.algebra.operation import Operation, Shape, T, Work
from convfold.ops import Ops


@dataclass(frozen=True, slots=True)
class Sum(Operation):
    """The sum of signals of one shape, each with its sign: ``signs`` has one a signal, ±1; none: all are added."""

    signs: tuple[int, ...] = ()
    arity: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if all(sign > 0 for sign in self.signs):  # one form for a sum of nothing but additions
            object.__setattr__(self, "signs", ())

    def signed(self, xs: Sequence[T]) -> list[tuple[int, T]]:
        """The signals with their signs, one that is added first, if there is one: the others are added or taken off."""
        return sorted(zip(self.signs or (1,) * len(xs), xs, strict=True), key=lambda term: -term[0])

    @property
    def label(self) -> str:
        return "sum"

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        yield from [Work(0, 3 * prod(y), "sum")] * (len(xs) - 1)

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        (sign, total), *rest = self.signed(xs)
        total = total if sign > 0 else ops.neg(total)
        for sign, x in rest:
            total = ops.add(total, x) if sign > 0 else ops.sub(total, x)
        return total


@dataclass(frozen=True, slots=True)
class Concat(Operation):
    """Signals laid end to end along ``axis``."""

    axis: int
    arity: ClassVar[int | None] = None

    @property
    def label(self) -> str:
        return "concat"

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        yield Work(0, 2 * prod(y))

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        return ops.concat(xs, self.axis)
