"""What folding makes is a parameter like any other: type, device, gradient, name, precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import convfold
from tests.folding import assert_calls, calls, double, fold_checked, noise, randomised
from tests.laws.oracle import assert_close

HALVES = [torch.float16, torch.bfloat16]


def block(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    net = nn.Sequential(nn.Conv2d(3, 4, (3, 2), bias=False), nn.BatchNorm2d(4), nn.ReLU())
    randomised(net)
    return net.to(dtype).eval()


class TestCreatedBias:
    """torch.nn.utils.fusion froze it; timm's fuse() crashed in float64 and mixed bf16 with float32."""

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES])
    def test_has_the_type_of_the_weights(self, dtype: torch.dtype) -> None:
        net = block(dtype)
        x = noise(2, 3, 7, 6, dtype=dtype)
        for folded in (convfold.fold(net, x).module, convfold.merge(net[0], net[1])):
            parameters = dict(folded.named_parameters())
            assert len(parameters) == 2
            assert {p.dtype for p in parameters.values()} == {dtype}
            assert {p.device for p in parameters.values()} == {x.device}
            assert all(p.is_leaf and p.is_contiguous() for p in parameters.values())
            with torch.no_grad():
                assert folded(x).dtype == dtype

    @pytest.mark.parametrize("trains", [True, False])
    def test_trains_if_the_weights_do(self, trains: bool) -> None:
        net = block().requires_grad_(trains)
        for folded in (convfold.fold(net, noise(2, 3, 7, 6, dtype=torch.float32)).module, convfold.merge(*net[:2])):
            assert {p.requires_grad for p in folded.parameters()} == {trains}

    def test_frozen_and_trained_layers_apart(self) -> None:
        """What was frozen stays frozen, in a model where other things train."""
        net = nn.Sequential(block().requires_grad_(False), nn.Conv2d(4, 2, 1), nn.ReLU())
        folded = convfold.fold(net.eval(), noise(2, 3, 7, 6, dtype=torch.float32)).module
        trains = {name: p.requires_grad for name, p in folded.named_parameters()}
        assert trains.pop("1.weight") and trains.pop("1.bias") and not any(trains.values()) and len(trains) == 2

    def test_gradients_reach_it(self) -> None:
        x = noise(2, 3, 7, 6, dtype=torch.float32)
        folded = convfold.fold(block(), x).module
        folded(x).square().sum().backward()
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in folded.parameters())

    def test_on_a_device_without_data(self) -> None:
        """The algebra asks nothing of a device but that both are on it."""
        layers = [m.to("meta") for m in block()[:2]]
        merged = convfold.merge(*layers)
        assert {p.device.type for p in merged.parameters()} == {"meta"}

    def test_memory_format_is_kept(self) -> None:
        net = block().to(memory_format=torch.channels_last)
        x = noise(2, 3, 7, 6, dtype=torch.float32).to(memory_format=torch.channels_last)
        for folded in (convfold.fold(net, x).module, convfold.merge(*net[:2])):
            kernel = next(p for p in folded.parameters() if p.dim() == 4)
            assert kernel.is_contiguous(memory_format=torch.channels_last)


class TestTwice:
    """timm's fastvit crashes when fused again."""

    def test_a_second_fold_changes_nothing(self) -> None:
        net = nn.Sequential(
            nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)
        )
        first = fold_checked(net, (2, 3, 7, 6))
        x = noise(2, 3, 7, 6)
        second = convfold.fold(first.module, x)
        assert not second.report.changed and calls(second) == calls(first)
        assert {n: tuple(p.shape) for n, p in second.module.state_dict().items()} == {
            n: tuple(p.shape) for n, p in first.module.state_dict().items()
        }
        with torch.no_grad():
            assert_close(second.module(x), first.module(x), tolerance=0)

    def test_folding_the_users_model_again_gives_the_same(self) -> None:
        net, x = double(block()), noise(2, 3, 7, 6)
        a, b = (convfold.fold(net, x).module.state_dict() for _ in range(2))
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    def test_merging_a_merged_layer(self) -> None:
        net, x = double(block()), noise(2, 3, 7, 6)
        once = convfold.merge(*net[:2])
        with torch.no_grad():
            assert_close(convfold.merge(once)(x), once(x))
            assert_close(convfold.merge(once, nn.Identity())(x), once(x))


class Taken(nn.Module):
    """Its own parameters have the names that folding would like, and so has its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, (3, 2), bias=False), nn.BatchNorm2d(4)
        self.bias = nn.Parameter(torch.randn(4, 1, 1))
        self.weight = nn.Sequential(nn.Conv2d(4, 2, 1, bias=False), nn.BatchNorm2d(2))
        self.weight_1 = nn.Parameter(torch.randn(()))

    def forward(self, conv_weight: Tensor, bias: Tensor) -> Tensor:
        y = torch.maximum(self.norm(self.conv(conv_weight)), self.bias)
        z: Tensor = self.weight(y).relu() * bias * self.weight_1
        return z


def test_names_that_are_taken() -> None:
    """pytorch#174042, #166797: the new bias took the name of another tensor."""
    result = fold_checked(Taken(), (2, 3, 7, 6), (2, 2, 5, 5))
    names = [name for name, _ in result.module.named_parameters()]
    assert len(names) == len(set(names)) and {"bias", "weight_1"} <= set(names)
    assert calls(result)["conv2d"] == 2 and calls(result)["batch_norm"] == 0
    again = convfold.fold(result.module, (noise(2, 3, 7, 6), noise(2, 2, 5, 5)))
    assert not again.report.changed


def test_two_folded_layers_of_one_module_have_names_of_their_own() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 2), nn.Conv2d(4, 3, 2)
            self.norm_a, self.norm_b = nn.BatchNorm2d(4), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm_b(self.b(self.norm_a(self.a(x)).relu()))
            return y

    result = fold_checked(Two(), (2, 3, 7, 6))
    assert_calls(result, conv2d=2, relu=1)
    state = result.module.state_dict()
    assert len(state) == 4 and all("_new" not in name for name in state)


@pytest.mark.parametrize("dtype", HALVES)
class TestHalfPrecision:
    """OREPA#11, peft#1388: composed in half precision the error is 9 times what it needs to be."""

    def test_weights_are_composed_in_float64_and_cast_once(self, dtype: torch.dtype) -> None:
        conv, norm = block(dtype)[:2]
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        kernel = (conv.weight.double() * scale.reshape(-1, 1, 1, 1)).to(dtype)
        bias = (norm.bias.double() - norm.running_mean.double() * scale).to(dtype)
        x = noise(2, 3, 7, 6, dtype=dtype)
        for folded in (convfold.fold(nn.Sequential(conv, norm), x).module, convfold.merge(conv, norm)):
            found = {p.dim(): p for p in folded.parameters()}
            assert torch.equal(found[4], kernel) and torch.equal(found[1], bias)

    def test_a_chain_is_no_worse_than_the_original(self, dtype: torch.dtype) -> None:
        net = nn.Sequential(
            nn.Conv2d(3, 16, (3, 2)), nn.BatchNorm2d(16), nn.Conv2d(16, 4, 1), nn.BatchNorm2d(4), nn.GELU(),
            nn.Conv2d(4, 32, 1), nn.Conv2d(32, 4, (1, 3)), nn.BatchNorm2d(4),
        )  # fmt: skip
        randomised(net)
        result = convfold.fold(net.to(dtype).eval(), noise(2, 3, 12, 14, dtype=dtype))
        assert result.report.changed and result.report.after.layers == 2
        verdict = result.report.error
        assert verdict is not None and verdict.passed and verdict.own_error > 1e-4
        assert verdict.error <= 2 * verdict.own_error

    def test_linear_layers_and_norm_tails(self, dtype: torch.dtype) -> None:
        net = nn.Sequential(nn.Linear(6, 24), nn.Linear(24, 8), nn.LayerNorm(8), nn.Linear(8, 5))
        randomised(net)
        result = convfold.fold(net.to(dtype).eval(), noise(3, 7, 6, dtype=dtype))
        assert result.report.changed and {p.dtype for p in result.module.parameters()} == {dtype}


def test_norms_kept_in_float32_beside_half_weights() -> None:
    """Mixed precision as trained: bf16 convolutions, float32 batch norms."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, (3, 2)).bfloat16(), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(self.conv(x).float()).relu()
            return y

    net = Mixed()
    randomised(net)
    x = noise(2, 3, 7, 6, dtype=torch.bfloat16)
    result = convfold.fold(net.eval(), x)
    assert result.module(x).dtype == torch.float32
    assert result.report.error is not None and result.report.error.passed
