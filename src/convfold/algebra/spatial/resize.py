"""Resizing to another grid, and one position repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from convfold.algebra.operation import Shape, T, Work
from convfold.algebra.spatial.base import Spatial
from convfold.ops import Ops


@dataclass(frozen=True, kw_only=True)
class Resize(Spatial):
    """As ``F.interpolate`` does, on all axes behind the second: ``mode`` is linear for bi- and trilinear too.

    ``scales``: the factors, where they are given and not the sizes: by 2.25, 2 positions become 4, but not each twice.
    """

    mode: str
    aligned: bool = False
    antialiased: bool = False
    scales: tuple[float, ...] | None = None

    @property
    def constants(self) -> bool:
        """The weights of every position sum to one."""
        return True

    @property
    def label(self) -> str:
        return f"{self._mode(len(self.sizes[0]))} resize"

    @property
    def called(self) -> str:
        return {"nearest": "nearest", "nearest-exact": "nearest", "bicubic": "cubic"}.get(self.mode, "linear")

    @property
    def reads(self) -> int:
        along = {"nearest": 1, "nearest-exact": 1, "bicubic": 4}.get(self.mode, 2)
        return int(along ** len(self.sizes[0]))

    def __call__(self, x: Tensor) -> Tensor:
        return self._to(x, [int(n) for n in self.sizes[1]], self.scales)  # type: ignore[call-overload]

    def alone(self, i: int) -> Callable[[Tensor], Tensor] | None:
        """Not antialiased: to one column torch then reads the wrong rows."""
        if self.antialiased:
            return None

        def resized(x: Tensor) -> Tensor:
            sizes = [int(self.sizes[1][i]) if j == i else n for j, n in enumerate(x.shape[2:])]  # type: ignore[call-overload]
            return self._to(x, sizes, self._scales(i))

        return resized

    def _scales(self, i: int) -> tuple[float, ...] | None:
        """Along its i-th axis only."""
        return None if self.scales is None else tuple(s if j == i else 1.0 for j, s in enumerate(self.scales))

    def _to(self, x: Tensor, size: list[int], scales: tuple[float, ...] | None) -> Tensor:
        smooth = not self.mode.startswith("nearest")
        return F.interpolate(
            x,
            size=size if scales is None else None,
            scale_factor=None if scales is None else list(scales),
            mode=self._mode(x.dim() - 2),
            align_corners=self.aligned if smooth else None,
            antialias=self.antialiased,
        )

    def _mode(self, dims: int) -> str:
        return {1: "linear", 2: "bilinear", 3: "trilinear"}[dims] if self.mode == "linear" else self.mode

    @property
    def matrices(self) -> Callable[[], tuple[Tensor, ...]] | None:
        before, after = self.sizes
        if not all(isinstance(n, int) for n in (*before, *after)) or (self.antialiased and 1 in after):
            return None
        return self._responses

    def _responses(self) -> tuple[Tensor, ...]:
        """The call itself on unit impulses along each axis, the other axes two long.

        Not one long: of an antialiased resize to one column torch reads the wrong rows.
        """
        found = []
        dims = len(self.sizes[0])
        for i, (n, m) in enumerate(zip(*self.sizes, strict=True)):
            assert isinstance(n, int) and isinstance(m, int)
            along = [n if j == i else 1 for j in range(dims)]
            wide = [n if j == i else 2 for j in range(dims)]
            impulses = torch.eye(n, dtype=torch.float64).reshape(n, 1, *along).expand(n, 1, *wide)
            size = [m if j == i else 2 for j in range(dims)]
            response = self._to(impulses, size, self._scales(i)).movedim(2 + i, 2)
            found.append(response.reshape(n, m, -1)[:, :, 0].t())
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Expand(Spatial):
    """One position repeated; ``shape`` is what ``Tensor.expand`` takes.

    ``implied``: by a sum of it and a larger signal, which asks for no call of its own.
    """

    shape: tuple[int, ...]
    implied: bool = field(default=False, compare=False)

    @property
    def constants(self) -> bool:
        return True

    @property
    def label(self) -> str:
        return "expand"

    def __call__(self, x: Tensor) -> Tensor:
        return x.expand(self.shape)

    def work(self, xs: Sequence[Shape], y: Shape) -> Iterator[Work]:
        return iter(()) if self.implied else super().work(xs, y)

    def lower(self, ops: Ops[T], xs: Sequence[T], y: Shape) -> T:
        return ops.expand(xs[0], self.shape) if self.implied else super().lower(ops, xs, y)
