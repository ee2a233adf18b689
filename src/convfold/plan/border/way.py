"""What every way of mending a border says of itself; and a border mended by one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from convfold.algebra.geometry import Geometry
from convfold.algebra.operation import Operation, Shape, T, Work
from convfold.ops import Ops
from convfold.plan.border.mismatch import Border
from convfold.plan.cost import Prices
from convfold.region import Signal

Works = tuple[Work, ...]


@dataclass(frozen=True, eq=False)
class Mending(ABC):
    """What is written to mend a border: its numbers, how each operator is computed, and all it calls."""

    border: Border
    works: Works

    @abstractmethod
    def lower(self, ops: Ops[T], y: T, x: T, axis: int, rank: int) -> T:
        """Into ``y``, which nothing else reads and which was computed from ``x``, or added to it."""


class Way(ABC):
    """How a border may be mended; each is one value, without parts."""

    #: What it is called in a report, and in a word or two.
    text: ClassVar[str]
    kind: ClassVar[str] = "border correction"
    #: Does it read what the operator reads?
    reads: ClassVar[bool]
    #: Is what it adds known before the input is?
    constant: ClassVar[bool] = False

    @abstractmethod
    def exact(self, border: Border) -> bool:
        """Can it mend this one?"""

    @abstractmethod
    def works(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Works:
        """What it calls; ``x`` is what the operator reads, ``y`` what it gives; their channel axis is ``axis``."""

    @abstractmethod
    def composed(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Mending:
        """With its numbers."""

    def __repr__(self) -> str:
        return type(self).__name__.lower()


@dataclass(frozen=True, eq=False, slots=True)
class Correct(Operation):
    """The border of a signal whose channel axis is ``axis``, space behind it, made what it should be.

    Inputs: the signal and, unless what is missing are constants of known places, the signal it was computed from.
    ``works``: what that calls; ``written``: the numbers it takes, once they are composed.
    """

    border: Border
    axis: int
    way: Way
    works: Works = ()
    written: Mending | None = None

    arity: ClassVar[int | None] = None

    @property
    def label(self) -> str:
        return f"border: {self.way.text}"

    @property
    def kind(self) -> str:
        return self.way.kind

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        return iter(self.works)

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        written = self.written or self.composed(Signal(tuple(y)), Prices("macs"))
        return written.lower(ops, xs[0], xs[-1], self.axis, len(y))

    def forget(self) -> None:
        self.border.forget()

    def composed(self, y: Signal, prices: Prices) -> Mending:
        return self.way.composed(self.border, prices, self.border.read(y, self.axis), y, self.axis)


def behind(x: Signal, g: Geometry, axis: int) -> Signal:
    """What an operator makes of a signal."""
    space = g.size(x.space(axis, g.dims))
    return Signal((*x.shape[:axis], g.c_out, *space, *x.shape[axis + 1 + g.dims :]), frozenset(), x.itemsize)


def assembled(border: Border, prices: Prices, y: Signal) -> Works:
    """A signal cut once and laid end to end along each axis, where parts of it cannot be added to in place."""
    if prices.in_place:
        return ()
    axes = sum(end.lo + end.hi > 0 for end in border.ends)
    return (Work(0, 2 * y.numbers, "slice"), *(Work(0, 2 * y.numbers) for _ in range(axes)))


def added(y: Signal) -> Work:
    """One signal added to another."""
    return Work(0, 3 * y.numbers, "sum")
