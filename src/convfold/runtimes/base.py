"""What runs a model: by what name it is asked for, what it takes, and how a model is made ready in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from torch import Tensor
from torch.utils import _pytree as pytree

from convfold.errors import InvalidInput

#: A model made ready with its inputs: runs it once, and waits until it has.
Call = Callable[[], Any]


@dataclass(frozen=True)
class Runtime(ABC):
    """A way to run a model on a device.

    Attributes:
        name: what it is asked for by.
        onnx: does it run ONNX models? PyTorch's are exported for it.
        packages: what it is made of, the one that is missing without it first.
        device: where it runs.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    onnx: ClassVar[bool] = False
    device: str = "cpu"

    def versions(self) -> dict[str, str]:
        """
        Raises:
            InvalidInput: it is not installed.
        """
        try:
            return {package: version(package) for package in self.packages}
        except PackageNotFoundError as e:
            raise InvalidInput(f"runtime {self.name!r} is not installed: pip install {self.packages[0]}") from e

    @abstractmethod
    def ready(self, model: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None = None) -> Call:
        """What runs the model on these inputs; as many ``threads`` as the runtime likes where that is None.

        Raises:
            InvalidInput: it is not installed, or does not take such a model.
        """


def leaves(args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors among the inputs, in order."""
    return [x for x in pytree.tree_leaves((tuple(args), kwargs)) if isinstance(x, Tensor)]
