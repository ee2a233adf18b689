"""What runs a model: its name, what it takes, how a model is made ready in it, and where the time of a run goes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from torch.utils import _pytree as pytree

from convfold.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np

#: A model made ready with its inputs: runs it once, and waits until it has.
Call = Callable[[], Any]

#: Runs that a breakdown is of, after so many that warm up.
RUNS, WARM = 10, 2


@dataclass(frozen=True)
class Share:
    """Of one run: what the operators of a kind take, in seconds, and how often one is called."""

    kind: str
    calls: float
    seconds: float


@dataclass(frozen=True)
class Runtime(ABC):
    """A way to run a model on a device.

    Attributes:
        name: what it is asked for by.
        packages: what it is made of, the one that is missing without it first.
        reads_onnx: does it take ONNX models, into which PyTorch's are exported? Or else PyTorch's alone.
        device: where it runs.
        waits: does a call last until the device has done it? Or else until that was asked for: see `wait`.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    reads_onnx: ClassVar[bool]
    device: str = "cpu"
    waits: bool = True

    def wait(self) -> None:  # noqa: B027 - most compute where they are called
        """Until all is done that was asked for."""

    def versions(self) -> dict[str, str]:
        """
        Raises:
            InvalidInput: it is not installed.
        """
        try:
            return {package: version(package) for package in self.packages}
        except PackageNotFoundError as e:
            raise InvalidInput(f"runtime {self.name!r} is not installed: pip install {self.packages[0]}") from e

    def check(self, model: Any) -> None:
        """Before anything is made ready.

        Raises:
            InvalidInput: it is not installed, or does not take such a model.
        """
        self.versions()

    @abstractmethod
    def ready(self, model: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None = None) -> Call:
        """What runs the model on these inputs; as many ``threads`` as the runtime likes where that is None.

        Raises:
            InvalidInput: it is not installed, or does not take such a model.
        """

    def forget(self) -> None:  # noqa: B027 - most keep nothing
        """Let go of what is kept of models that were made ready: those run no more."""

    @abstractmethod
    def breakdown(
        self,
        model: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        threads: int | None = None,
        start_over: Call = lambda: None,
    ) -> list[Share]:
        """Which kinds of operators take the time of a run, most first, by the runtime's own profiler.

        Profiling takes time too: the sum is more than a run takes without. ``start_over`` comes before each run, and
        is no part of it.
        """


def shares(events: Iterable[tuple[str, int, float]], runs: int = RUNS) -> list[Share]:
    """Of (kind, calls, seconds) from so many runs."""
    calls: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for kind, n, took in events:
        calls[kind] += n
        seconds[kind] += took
    return [Share(kind, calls[kind] / runs, seconds[kind] / runs) for kind in sorted(calls, key=lambda k: -seconds[k])]


def leaves(args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors among the inputs, in order."""
    return [x for x in pytree.tree_leaves((tuple(args), kwargs)) if isinstance(x, Tensor)]


def arrays(args: Sequence[Any], kwargs: dict[str, Any], wanted: int) -> list[np.ndarray[Any, Any]]:
    """Those tensors as NumPy's, for a model of so many inputs.

    Raises:
        InvalidInput: it has more or fewer.
    """
    given = [x.detach().numpy() for x in leaves(args, kwargs)]
    if len(given) != wanted:
        raise InvalidInput(f"the model takes {wanted} inputs, got {len(given)}")
    return given
