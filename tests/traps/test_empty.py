"""Splits, slices and layers that pruning left without channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import convfold
from tests.folding import Net, assert_calls, assert_same, calls, fold_checked


def pointwise(function: Callable[[Any, Tensor], Any], **more: Tensor) -> Net:
    """1×1 convolutions 3 → 8 and 8 → 2: one, wherever nothing but nothing lies between."""
    return Net(function, first=nn.Conv2d(3, 8, 1), second=nn.Conv2d(8, 2, 1), **more)


def nothing(m: Any, y: Tensor) -> Tensor:
    """No channels, as large a map."""
    return y.new_zeros(y.shape[0], 0, *y.shape[2:])


class TestParts:
    """rethinking-network-pruning#50, yolov5prune#37."""

    @pytest.mark.parametrize(
        "between",
        [
            lambda m, y: torch.cat(y.split([0, 8], 1), 1),
            lambda m, y: torch.cat(y.split([8, 0], 1), 1),
            lambda m, y: torch.cat([y[:, 4:4], y], 1),
            lambda m, y: torch.cat([y[:, 9:], y, y[:, :0]], 1),
            lambda m, y: torch.cat([y, nothing(m, y)], 1),
            lambda m, y: torch.cat([y, m.legacy], 1),
            lambda m, y: torch.cat([y, y[:, m.nobody]], 1),
            lambda m, y: torch.cat([y, y.index_select(1, m.nobody)], 1),
            lambda m, y: torch.cat([y, y.narrow(1, 3, 0) * 2 + 1], 1),
        ],
    )
    def test_nothing_beside_all(self, between: Callable[[Any, Tensor], Tensor]) -> None:
        net = pointwise(
            lambda m, x: m.second(between(m, m.first(x))),
            nobody=torch.zeros(0, dtype=torch.long),
            legacy=torch.zeros(0),
        )
        assert_calls(fold_checked(net, (2, 3, 5, 4)), conv2d=1)

    def test_the_others_in_another_order(self) -> None:
        def swapped(m: Any, x: Tensor) -> Tensor:
            a, none, b = m.first(x).split([3, 0, 5], 1)
            return m.second(torch.cat([b, none * 2, a * 3], 1))  # type: ignore[no-any-return]

        assert_calls(fold_checked(pointwise(swapped), (2, 3, 5, 4)), conv2d=1)

    @pytest.mark.parametrize(
        "parts",
        [
            lambda m, y: y.split([3, 0, 5], 1),
            lambda m, y: y[:, 4:4],
            lambda m, y: (y[:, 4:4] * 2 + 1, y),
            lambda m, y: y[:, m.nobody],
            lambda m, y: y.chunk(5, 1),
            lambda m, y: y[:, :0].chunk(3, 1),
            lambda m, y: y[:, :0].split(4, 1),
            lambda m, y: torch.cat([y[:, :0], y[:, 8:]], 1),
            lambda m, y: y[:, :0].sum(1, keepdim=True) + y,
            lambda m, y: y[:, :0].flatten(2).transpose(1, 2),
            lambda m, y: nn.functional.pixel_shuffle(y[:, :0], 2),
            lambda m, y: nn.functional.pad(y[:, :0], (1, 1, 1, 1)),
            lambda m, y: y[:, :, 2:2],
        ],
    )
    def test_nothing_is_returned(self, parts: Callable[[Any, Tensor], Any]) -> None:
        net = pointwise(lambda m, x: parts(m, m.first(x)), nobody=torch.zeros(0, dtype=torch.long))
        fold_checked(net, (2, 3, 5, 4))

    def test_a_part_of_another_type(self) -> None:
        """float64 beside float32 makes all float64, without an element of its own too."""
        net = Net(lambda m, x: torch.cat([m.first(x), m.first(x).double()[:, :0]], 1), first=nn.Conv2d(3, 4, 1)).eval()
        x = torch.randn(2, 3, 5, 4)
        with torch.no_grad():
            assert convfold.fold(net, x).module(x).dtype == net(x).dtype == torch.float64


class TestLayers:
    @pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
    def test_linear_layers(self) -> None:
        """Nothing but the second's bias comes out: no law says so, and all three stay."""
        net = nn.Sequential(nn.Linear(5, 0), nn.Linear(0, 4), nn.Linear(4, 3))
        result = fold_checked(net, (2, 5))
        assert calls(result)["linear"] == 3

    @pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
    def test_a_branch_that_is_gone(self) -> None:
        """The pruned branch stays beside the others, which are one."""
        net = Net(
            lambda m, x: m.c(m.b(x)) + m.up(m.down(x)),
            b=nn.Linear(5, 9), c=nn.Linear(9, 4), down=nn.Linear(5, 0), up=nn.Linear(0, 4),
        )  # fmt: skip
        assert_calls(fold_checked(net, (2, 5)), linear=3, add=1)

    def test_an_empty_batch(self) -> None:
        net = nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4), nn.ReLU()).eval()
        result = convfold.fold(net, torch.randn(0, 3, 7, 6))
        assert result.module(torch.randn(0, 3, 7, 6)).shape == (0, 4, 5, 5)

    def test_the_reason(self) -> None:
        net = Net(lambda m, x: m.first(x)[:, 4:4] * 2, first=nn.Conv2d(3, 8, 1)).eval()
        source = convfold.frontends.torch.read.read(net, torch.randn(2, 3, 5, 4))
        lifted = convfold.frontends.torch.exported.Graph(source).lift()
        assert {(r.code, r.detail) for r in lifted.opaque.values()} == {("not-affine", "a signal without elements")}


class TestMaps:
    """Height and width free: at the least size export allows, some map has no rows left."""

    @pytest.mark.parametrize(
        "function",
        [
            lambda m, x: nn.functional.pad(m.second(m.first(x)), (-2, -2, -2, -2)),
            lambda m, x: nn.functional.pad(m.second(m.first(x)), (-2, -2, -2, -2)).mean((2, 3)),
            lambda m, x: (nn.functional.pad(m.second(m.first(x)), (-2, -2, -2, -2)), x * 2),
            lambda m, x: m.second(m.first(x))[:, :, 3:-3, 3:-3],
            lambda m, x: m.second(m.first(x)[:, :, 1::2, 1::2]),
            lambda m, x: m.second(m.first(x).narrow(2, 0, x.shape[2] // 4)),
            lambda m, x: nn.functional.max_pool2d(m.second(m.first(x)), 3),
            lambda m, x: nn.functional.interpolate(m.second(m.first(x)), scale_factor=0.25),
            lambda m, x: m.second(m.first(nn.functional.avg_pool2d(x, 5, 3))),
            lambda m, x: m.second(m.first(nn.functional.unfold(x, 4).unflatten(1, (3, 16)))),
        ],
    )
    def test_folded_and_verified(self, function: Callable[[Any, Tensor], Any]) -> None:
        free = (({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},),)
        net = pointwise(function)
        result = fold_checked(net, (2, 3, 16, 18), dynamic_shapes=free)
        assert len(result.report.free) == 3
        assert result.report.error is not None and result.report.error.passed
        for height, width in ((16, 18), (25, 31), (12, 40)):
            assert_same(result.module, net, [(2, 3, height, width)])

    def test_where_nothing_is_left_at_the_example(self) -> None:
        """A layer that does not run is no fold."""
        net = pointwise(lambda m, x: nn.functional.pad(m.first(x), (-2, -2, -2, -2))).eval()
        other = pointwise(lambda m, x: m.first(nn.functional.pad(x, (-2, -2, -2, -2)))).eval()
        other.load_state_dict(net.state_dict())
        assert convfold.verify(net, other, torch.randn(2, 3, 7, 6)).passed
        with pytest.raises(convfold.InvalidInput, match=r"^the second model does not run at example: "):
            convfold.verify(net, other, torch.randn(2, 3, 4, 4))
