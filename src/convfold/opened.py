"""A model that its frontend has opened: what the stages of a fold ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from convfold.lift import Stretches
from convfold.places import Places
from convfold.program import Program
from convfold.region import Region
from convfold.totals import Totals

Model_co = TypeVar("Model_co", covariant=True)


class Opened(Protocol[Model_co]):
    """``Model_co`` stands for a model in the framework."""

    @property
    def program(self) -> Program[Any]: ...

    @property
    def evaluated(self) -> Sequence[str]:
        """Modules whose weights were computed from weights, and are constants now."""

    @property
    def ends(self) -> bool:
        """Does the framework's convolution take other zeros at the one end of an axis than at the other?"""

    @property
    def fused(self) -> bool:
        """Is a scale with its shift one call of it, and a product with its bias?"""

    @property
    def doubles(self) -> bool:
        """Do its runtimes have a convolution of float64?"""

    @property
    def in_place(self) -> bool:
        """Can something be added to a part of a value where it lies?"""

    @property
    def mends(self) -> bool:
        """Has the framework all that a border is mended by, at the sizes that are free?"""

    @property
    def free(self) -> tuple[str, ...]:
        """Sizes that may change, by input and axis."""

    @property
    def paths(self) -> Iterable[str]:
        """Of the modules that may be left alone."""

    @property
    def runtime(self) -> str:
        """What usually runs the framework's models, by its name."""

    @property
    def device(self) -> torch.device:
        """Where the example lies."""

    def cut(self, share: float, pays: Callable[[Totals], bool]) -> Sequence[tuple[str, str]]:
        """Compute no position that nobody reads, where no more than a share of them is read, and where what the model
        costs then ``pays``; before lifting.

        The calls that compute less than they did: the module path and the kind of each.
        """

    def lift(self) -> Stretches: ...

    def places(self, stretches: Stretches) -> Places:
        """To tell where things are; before anything is written."""

    def write(self, stretches: Stretches, changes: Iterable[tuple[Region, Region]]) -> None:
        """Every planned region in place of the one it came from."""

    def alone(self, *same: Region) -> tuple[Any, list[Tensor]] | None:
        """A stretch as a model of its own, after writing, with numbers for its inputs: the region it was lifted as, and
        what took its place if anything did. Sizes are the example's. None where there is no such model.
        """

    def again(self) -> Self:
        """What was written, to be lifted anew."""

    def model(self) -> Model_co:
        """What was written, as the framework has it."""

    def measure(self) -> Totals:
        """What the model costs as it stands, at the example's sizes."""
