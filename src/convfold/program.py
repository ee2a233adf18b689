"""What a frontend gives and takes: a model as calls that have names, read here, and rewritten by those names.

`lift` and `lower` see no framework but through this; torch.export stands behind it, and whatever else has calls in
order, their users and constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn, Protocol, TypeVar

from convfold.layers import Reading, Value
from convfold.ops import Ops

T = TypeVar("T")

#: The name of what reads the model's outputs: no value has it, though many a file calls its result "output".
OUTPUT = "\0output"


class Program(Protocol[T]):
    """Values are named after the call that computes them; ``T`` is what stands for a value in the framework."""

    @property
    def calls(self) -> Sequence[str]:
        """Those that a layer file knows, in order, and the outputs of those that have several; no constants."""

    @property
    def listed(self) -> Sequence[str]:
        """Every call on tensors, read or not, in order; constants that are computed too."""

    @property
    def given(self) -> Sequence[str]:
        """The model's inputs."""

    def is_constant(self, name: str) -> bool:
        """Is it computed from weights alone?"""

    def has(self, name: str) -> bool:
        """Is there a value of this name?"""

    def part_of(self, call: str) -> tuple[str, int] | None:
        """Of a call that is one output of another: that call, and which."""

    def read(self, call: str) -> Reading | None:
        """What a layer file makes of it; None if there is none. Raises `NotFoldable` where it is not affine."""

    def value(self, name: str) -> Value:
        """The tensor that a call computes, the first that is used of several, or an input."""

    def inputs(self, call: str) -> Sequence[str]:
        """The values it reads."""

    def users(self, name: str) -> Sequence[str]:
        """The calls that read a value, `OUTPUT` among them."""

    def used(self, call: str) -> bool:
        """Does anything read it, or does it do more than compute?"""

    def path(self, call: str) -> str:
        """The path of the module it is called in, '' at the root."""

    def word(self, call: str) -> str:
        """What the framework calls it."""

    def owner(self, call: str) -> str:
        """What the parameters of a step are called after: the module that owns its weights, else that it runs in."""

    def sized(self, call: str) -> bool:
        """Is any of its arguments a size, so that it cannot be made on a part of the signal?"""

    def refuse_infinite(self, call: str) -> NoReturn:
        """Raise what is right where it reads numbers that are none."""

    def pass_on(self, call: str, value: str) -> None:
        """Whoever reads the call reads the value it hands on."""

    def node(self, name: str) -> T:
        """What stands for a value."""

    def before(self, call: str) -> AbstractContextManager[Ops[T]]:
        """Calls are written before this one, in its name."""

    def bare(self, call: str, replaced: dict[str, Any]) -> T:
        """The call again with other arguments, before it."""

    def replace(self, call: str, new: T) -> None:
        """Whoever reads the call reads ``new``."""

    def gone(self, calls: Sequence[str]) -> None:
        """Nothing will read these calls any more."""
