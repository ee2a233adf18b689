"""Composite operators as what torch makes of them: the same numbers, whatever the batch, and sizes stay free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convfold
from convfold.frontends.torch.parts import COMPOSED
from tests.folding import Net, fold_checked

MATRIX = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(4, 4)

CALLS: dict[str, Callable[[Tensor], Any]] = {
    "chain_matmul": lambda y: torch.chain_matmul(y.flatten(0, 1), MATRIX, MATRIX.t()),
    "column_stack": lambda y: torch.column_stack([y, y[:, :1]]),
    "cumulative_trapezoid": lambda y: torch.cumulative_trapezoid(y, dim=1),
    "cumulative_trapezoid of places": lambda y: torch.cumulative_trapezoid(y, torch.arange(3.0).double() ** 2, dim=1),
    "deg2rad": torch.deg2rad,
    "diff": lambda y: torch.diff(y, dim=2),
    "diff with ends": lambda y: torch.diff(y, dim=1, prepend=y[:, :1], append=y[:, 1:2]),
    "diff twice": lambda y: torch.diff(y, n=2, dim=1),
    "divide": lambda y: torch.divide(y, 3),
    "divide, rounded": lambda y: torch.divide(y, 0.1, rounding_mode="floor"),
    "dstack": lambda y: torch.dstack([y, y]),
    "fliplr": torch.fliplr,
    "flipud": torch.flipud,
    "hstack": lambda y: torch.hstack([y, y]),
    "linalg_multi_dot": lambda y: torch.linalg.multi_dot([y.flatten(0, 1), MATRIX, MATRIX]),
    "multiply": lambda y: torch.multiply(y, 0.5),
    "multiply two": lambda y: torch.multiply(y, y),
    "negative": torch.negative,
    "rad2deg": torch.rad2deg,
    "rot90": lambda y: torch.rot90(y, 1, (1, 2)),
    "rot90 back": lambda y: torch.rot90(y, -3, (1, 2)),
    "row_stack": lambda y: torch.row_stack([y, y]),
    "subtract": lambda y: torch.subtract(y, 0.5, alpha=2),
    "trapezoid": lambda y: torch.trapezoid(y, dim=1),
    "trapz": lambda y: torch.trapz(y, dx=0.5, dim=2),
    "true_divide": lambda y: torch.true_divide(y, 3),
    "unsafe_chunk": lambda y: torch.unsafe_chunk(y, 2, 2)[1],
    "unsafe_split": lambda y: torch.unsafe_split(y, 3, 2),
    "unsafe_split_with_sizes": lambda y: torch.unsafe_split_with_sizes(y, [1, 3], 2)[::-1],
    "vstack": lambda y: torch.vstack([y, y]),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore:torch.chain_matmul is deprecated")
def test_as_its_parts(name: str) -> None:
    """The batch stays free, where torch.export leaves it so: of several factors it asks which are larger."""
    net = Net(lambda m, x: CALLS[name](m.a(x)), a=nn.Linear(4, 4))
    pinned = name in ("chain_matmul", "linalg_multi_dot")
    result = fold_checked(net, (2, 3, 4), dynamic_shapes="static" if pinned else None)
    assert result.report.free == (() if pinned else ("inputs_0[0]",))
    names = {str(node.target) for node in result.module.graph.nodes}
    assert not names & {str(target) for target in COMPOSED}


def test_every_one_is_tried() -> None:
    packets = {str(target.overloadpacket).rpartition(".")[2] for target in COMPOSED}
    assert packets == {name.partition(" ")[0].rstrip(",") for name in CALLS}


def test_what_writes_in_place_is_too() -> None:
    """``y.multiply_(…)`` is its own name in place."""

    def twice(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        y.multiply_(0.5).subtract_(1).negative_()
        return y  # type: ignore[no-any-return]

    result = fold_checked(Net(twice, a=nn.Linear(4, 4)), (2, 3, 4), config=convfold.FoldConfig("macs"))
    assert result.report.after.ops == 1
