"""A kind of affine step: what it takes, what that costs, how it is written, and what people call it.

Each is a frozen value. A signal here may have its channel axis anywhere: a linear layer on tokens (N, L, C) and a 1×1
convolution on maps (N, C, H, W) are the same step. One file a kind beside this one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, Self, TypeVar

from torch import Tensor

from convfold.ops import Ops

if TYPE_CHECKING:
    from convfold.algebra.convolution import Convolution
    from convfold.algebra.geometry import Geometry

T = TypeVar("T")
Shape = Sequence[int]


class Sums(NamedTuple):
    """What a convolution or product sums up: of each of ``groups``, ``c_out`` channels at so many ``positions``, each
    over ``c_in`` channels and ``taps``."""

    groups: int
    c_in: int
    c_out: int
    taps: int
    positions: int


class Work(NamedTuple):
    """One call of a framework: multiply-adds, as torch counts them, and how many numbers it reads and writes.

    Attributes:
        kind: what is called: "convolution", "transposed", "product", "scale", "sum", "bias" (a sum with one number for
            each place of the last axis), "view", "permute", "slice", "gather", "pool"; "nearest", "linear" and "cubic"
            resizes; or "copy": all else that moves numbers about.
        sums: of a convolution or product; of a move along space of how many positions each is made.
        carried: numbers that are moved where a runtime knows no strides, as torch does.
        abreast: output channels that can be computed at once, where they are few; 0: as many as there are lanes.
        calls: how many go over the data together; ``ops``: and how many of them are operations of the model.
    """

    macs: int
    moved: int
    kind: str = "copy"
    sums: Sums | None = None
    carried: int = 0
    abreast: int = 0
    calls: int = 1
    ops: int = 1


#: Of a call that gives its input another shape.
VIEW = Work(0, 0, "view")


class Operator(Protocol):
    """What `Apply` applies: a `Convolution`, or what will be one."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def value(self) -> Convolution:
        """The numbers."""

    @property
    def own_call(self) -> str | None:
        """The model's own call that computes it and multiplies nothing, if there is one."""

    def forget(self) -> None: ...

    def __call__(self, x: Tensor) -> Tensor: ...


class Operation(ABC):
    """A step from some signals to one."""

    __slots__ = ()

    #: How many signals it takes; None: any number.
    arity: ClassVar[int | None] = 1

    @property
    @abstractmethod
    def label(self) -> str:
        """What people call it: ``3×3 convolution 64→128 /2``, ``bilinear resize``."""

    @property
    def kind(self) -> str:
        """The same in a word or two, where many are counted."""
        return type(self).__name__.lower()

    @abstractmethod
    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        """What is called, in order, from signals of these shapes to one of that."""

    def forget(self) -> None:  # noqa: B027 - most hold none
        """Let go of numbers that have been used."""

    @abstractmethod
    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        """The calls themselves; ``y`` is the shape of the result at the example's sizes."""


class Move(Operation):
    """A step that treats every position along the axes it carries alike: a pointwise operator on one commutes."""

    __slots__ = ()

    @property
    @abstractmethod
    def constants(self) -> bool:
        """Does a constant in every channel stay that constant?"""

    @abstractmethod
    def traced(self, axis: int) -> int | None:
        """The axis before that becomes ``axis`` after; None if it does not survive whole."""

    @abstractmethod
    def forward(self, axis: int) -> int | None:
        """The axis after that ``axis`` becomes."""

    def resized(self, axis: int, n: int) -> Self:
        """The same where the carried ``axis`` (after) has length n."""
        return self
