"""What stands between two layers in a real graph and must not keep them apart, nor be folded wrongly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import Net, assert_calls, calls, double, fold_checked, noise
from tests.laws.oracle import assert_close


def conv_norm(function: Callable[[Any, Tensor], Any], c_out: int = 4) -> Net:
    return Net(function, conv=nn.Conv2d(3, c_out, (3, 2)), norm=nn.BatchNorm2d(c_out))


class TestInPlace:
    """136 of 214 models; functionalised, they are as good as any other."""

    @pytest.mark.parametrize(
        "then",
        [
            lambda y: y.relu_(),
            lambda y: F.silu(y, inplace=True),
            lambda y: y.clamp_(-0.5, 0.5),
            nn.Hardswish(inplace=True),
            lambda y: nn.Dropout(inplace=True).eval()(y).tanh_(),
        ],
    )
    def test_activations(self, then: Callable[[Tensor], Tensor]) -> None:
        result = fold_checked(conv_norm(lambda m, x: then(m.norm(m.conv(x)))), (2, 3, 7, 6))
        assert calls(result)["conv2d"] == 1 and calls(result)["batch_norm"] == 0

    def test_arithmetic(self) -> None:
        result = fold_checked(
            conv_norm(lambda m, x: m.norm(m.conv(x)).add_(1.5).mul_(-2).sub_(0.25).div_(3).neg_().relu_()), (2, 3, 7, 6)
        )
        assert_calls(result, conv2d=1, relu=1)

    def test_a_residual_added_in_place(self) -> None:
        def residual(m: Any, x: Tensor) -> Tensor:
            y: Tensor = m.conv(x)
            y += x
            return y.relu_()

        result = fold_checked(Net(residual, conv=nn.Conv2d(4, 4, (3, 5), padding=(1, 2))), (2, 4, 7, 6))
        assert_calls(result, conv2d=1, relu=1)

    def test_a_write_into_a_slice(self) -> None:
        """Half the channels are written after they were read: the order is the meaning."""

        def half(m: Any, x: Tensor) -> Tensor:
            y: Tensor = m.conv(x)
            before = y * 2
            y[:, :2].add_(1.0)
            return m.norm(y) + before

        fold_checked(conv_norm(half), (2, 3, 7, 6))

    def test_a_write_into_the_input_reaches_the_caller(self) -> None:
        def writes(m: Any, x: Tensor) -> Tensor:
            x.mul_(2.0)
            y: Tensor = m.norm(m.conv(x)).relu_()
            return y

        net = double(conv_norm(writes))
        x, y = noise(2, 3, 7, 6), noise(2, 3, 7, 6)
        result = convfold.fold(net, x.clone())
        with torch.no_grad():
            assert_close(result.module(x), net(y))
        assert_close(x, y)
        assert_close(x, 2 * noise(2, 3, 7, 6))


class TestShapeOnly:
    """104 linear → batch norm in LeViT: a value asked for its shape counted as used."""

    def test_reshape_as(self) -> None:
        """LeViT's LinearNorm."""
        net = Net(
            lambda m, x: (y := m.linear(x), m.norm(y.flatten(0, 1)).reshape_as(y).relu())[1],
            linear=nn.Linear(5, 4),
            norm=nn.BatchNorm1d(4),
        )
        result = fold_checked(net, (2, 7, 5))
        assert calls(result)["linear"] == 1 and calls(result)["batch_norm"] == 0

    @pytest.mark.parametrize(
        "ask",
        [
            lambda y: torch.zeros(2, dtype=torch.float32).type_as(y),
            lambda y: y.new_zeros(y.shape[1:]),
            torch.zeros_like,
            lambda y: torch.full(y.shape[2:], 0.5, dtype=y.dtype),
            lambda y: torch.arange(y.shape[0], dtype=y.dtype),
            lambda y: y.size(0) * torch.ones(1, dtype=y.dtype),
        ],
    )
    def test_asking_the_convolution_for_its_shape_or_type(self, ask: Callable[[Tensor], Tensor]) -> None:
        result = fold_checked(conv_norm(lambda m, x: (y := m.conv(x), (m.norm(y).relu(), ask(y)))[1]), (2, 3, 7, 6))
        assert calls(result)["conv2d"] == 1 and calls(result)["batch_norm"] == 0

    @pytest.mark.parametrize(
        "view",
        [
            lambda y: y.view(y.shape[0], y.shape[1], -1),
            lambda y: y.view(y.size(0), 4, y.size(2) * y.size(3)),
            lambda y: y.reshape(-1, 4, y.shape[-2] * y.shape[-1]),
            lambda y: y.flatten(2),
        ],
    )
    def test_a_view_that_asks_for_the_shape_lies_between(self, view: Callable[[Tensor], Tensor]) -> None:
        net = Net(lambda m, x: m.norm(view(m.conv(x))), conv=nn.Conv2d(3, 4, (3, 2)), norm=nn.BatchNorm1d(4))
        result = fold_checked(net, (2, 3, 7, 6))
        assert calls(result)["conv2d"] == 1 and calls(result)["batch_norm"] == 0

    def test_a_resize_to_the_size_of_another(self) -> None:
        result = fold_checked(
            conv_norm(lambda m, x: (y := m.conv(x), m.norm(y) + F.interpolate(x[:, :1], y.shape[2:]))[1]), (2, 3, 7, 6)
        )
        assert calls(result)["batch_norm"] == 0


class TestNothing:
    """MobileOne and FastViT: x + 0, x * 1, sum([...]) starting at the integer 0, dropped paths."""

    @pytest.mark.parametrize(
        "nothing",
        [
            lambda y: y + 0,
            lambda y: 0 + y,
            lambda y: y - 0.0,
            lambda y: y * 1,
            lambda y: y / 1.0,
            lambda y: y.neg().neg(),
            lambda y: sum([y]),
            lambda y: y.clone(),
            lambda y: y.contiguous(),
            lambda y: y.to(torch.float64),
            lambda y: y.double(),
            lambda y: F.dropout(y, 0.5, training=False),
            nn.Identity(),
            lambda y: y.expand_as(y),
            lambda y: y.view(y.shape),
            lambda y: y.permute(0, 1, 2, 3),
            lambda y: F.pad(y, (0, 0, 0, 0)),
            lambda y: y[:, :, :, :],
            lambda y: y[:],
            lambda y: y * torch.ones(4, 1, 1, dtype=torch.float64) + torch.zeros(1, 4, 1, 1, dtype=torch.float64),
            lambda y: torch.cat([y], 1),
        ],
    )
    def test_lies_between(self, nothing: Callable[[Tensor], Tensor]) -> None:
        result = fold_checked(conv_norm(lambda m, x: m.norm(nothing(m.conv(x)))), (2, 3, 7, 6))
        assert calls(result)["conv2d"] == 1 and calls(result)["batch_norm"] == 0
        assert result.report.after.ops == 1

    def test_sums_that_start_at_the_integer_zero(self) -> None:
        branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 4, (3, 2), bias=False), nn.BatchNorm2d(4)) for _ in range(3)
        )
        result = fold_checked(Net(lambda m, x: sum([b(x) for b in m.branches]).relu(), branches=branches), (2, 3, 7, 6))
        assert_calls(result, conv2d=1, relu=1)

    def test_mobileone(self) -> None:
        """out = 0; out += scale(x); out += identity(x) if there is one; for each: out += conv(x)."""

        def block(m: Any, x: Tensor) -> Tensor:
            out: Any = 0
            out += m.scale(x)
            out += m.identity(x)
            for conv in m.convs:
                out += conv(x)
            y: Tensor = out
            return y.relu()

        net = Net(
            block,
            scale=nn.Sequential(nn.Conv2d(4, 4, 1, bias=False, groups=4), nn.BatchNorm2d(4)),
            identity=nn.BatchNorm2d(4),
            convs=nn.ModuleList(
                nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False, groups=4), nn.BatchNorm2d(4)) for _ in range(2)
            ),
        )
        assert_calls(fold_checked(net, (2, 4, 7, 6)), conv2d=1, relu=1)

    def test_a_zero_bias_is_no_bias(self) -> None:
        """What the second reads around the first is zero all the same."""
        net = double(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 3, padding=1)))
        with torch.no_grad():
            net[0].bias.zero_()
        x = noise(2, 3, 7, 6)
        result = convfold.fold(net, x)
        assert_calls(result, conv2d=1)
        with torch.no_grad():
            assert_close(result.module(x), net(x))

    def test_the_output_is_the_input(self) -> None:
        """What the caller gets back must not become the tensor he gave."""
        net = Net(lambda m, x: (x.clone(), x + 0, x))
        x = noise(2, 3)
        result = convfold.fold(net, x)
        a, b, c = result.module(x)
        a.add_(1)
        b.add_(1)
        assert_close(x, noise(2, 3))
        assert c is x


class TestNumbers:
    """Scaling by plain numbers where it is not clear which axis holds the channels, or there is none."""

    def test_a_loss(self) -> None:
        fold_checked(Net(lambda m, x: m.conv(x).mean() * 2 + 1, conv=nn.Conv2d(3, 4, 2)), (2, 3, 7, 6))

    def test_one_number_an_item(self) -> None:
        """(N,) has no axis but the batch; its length is not a number of channels."""
        result = fold_checked(
            Net(lambda m, x: m.fc(x).squeeze(1) * 2 + 1 - 0.5, fc=nn.Linear(5, 1)), (2, 5), batches=(1, 2, 3, 8)
        )
        assert result.report.free

    def test_a_mean_of_each_item(self) -> None:
        fold_checked(
            Net(lambda m, x: m.conv(x).mean((1, 2, 3)) * 2 + 1 - 0.5, conv=nn.Conv2d(3, 4, 2)),
            (2, 3, 7, 6),
            batches=(1, 2, 3, 8),
        )

    def test_a_free_length_behind_a_transpose(self) -> None:
        auto = torch.export.Dim.AUTO
        net = double(Net(lambda m, x: -(m.conv(x).relu().transpose(1, 2) * 2 + 1), conv=nn.Conv1d(3, 4, 2)))
        result = convfold.fold(net, noise(2, 3, 9), dynamic_shapes=(({0: auto, 2: auto},),))
        with torch.no_grad():
            for n in (2, 9, 14):
                x = noise(1, 3, n)
                assert_close(result.module(x), net(x))

    def test_a_free_batch_in_front(self) -> None:
        """(L, N, C) as torch's recurrent layers have it: the last axis is the channels, the middle is free."""
        net = Net(lambda m, x: (x.transpose(0, 1) * 2 + 1).relu() * 3 - 1)
        fold_checked(net, (2, 3, 7), batches=(1, 2, 5))


class TestLayouts:
    def test_an_axis_of_one_split_off_the_channels(self) -> None:
        """(N, C) seen as (N, C, 1): another number of channels needs another view."""
        net = Net(lambda m, x: m.conv(m.fc(x).unflatten(1, (6, 1))), fc=nn.Linear(5, 6), conv=nn.Conv1d(6, 2, 1))
        fold_checked(net, (2, 5))

    def test_two_axes_of_one(self) -> None:
        net = Net(lambda m, x: m.conv(m.fc(x).reshape(-1, 6, 1, 1)).relu(), fc=nn.Linear(5, 6), conv=nn.Conv2d(6, 2, 1))
        result = fold_checked(net, (2, 5))
        assert calls(result)["linear"] + calls(result)["conv2d"] == 1

    def test_an_axis_of_one_that_could_be_either(self) -> None:
        net = Net(
            lambda m, x: m.b(m.a(x).reshape(x.shape[0], 1, 7).unsqueeze(1)),
            a=nn.Conv1d(3, 1, 2),
            b=nn.Conv2d(1, 4, 1),
        )
        fold_checked(net, (2, 3, 8))

    @pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (2, 1, 0)])
    def test_permuted_tokens(self, order: tuple[int, ...]) -> None:
        net = Net(
            lambda m, x: m.b(m.a(x).permute(order).relu().permute(order)).relu(), a=nn.Linear(4, 5), b=nn.Linear(5, 3)
        )
        fold_checked(net, (2, 7, 4))  # each order is its own inverse

    def test_heads_split_and_joined(self) -> None:
        """(N, L, C) → (N, L, H, C/H) → (N, H, L, C/H) and back: two linears apart, one if nothing lies between."""

        def through(m: Any, x: Tensor) -> Tensor:
            n, length, _ = x.shape
            y = m.a(x).view(n, length, 2, 3).transpose(1, 2)
            y = y.transpose(1, 2).reshape(n, length, 6)
            return m.b(y)  # type: ignore[no-any-return]

        fold_checked(Net(through, a=nn.Linear(4, 6), b=nn.Linear(6, 3)), (2, 7, 4))
