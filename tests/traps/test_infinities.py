"""NaN and infinity: in a weight a mistake, in a mask or a bound meant; neither is folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convfold
from tests.folding import Net, assert_calls, calls, double, fold_checked, noise, randomised

INF = float("inf")
MACS = convfold.FoldConfig(objective="macs")


def with_pair(function: Callable[[Any, Tensor], Tensor], **constants: Tensor) -> nn.Module:
    """Two linear layers that are one, and constants that keep their values."""
    net = Net(function, pair=nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 5)))
    net = double(net)
    for name, t in constants.items():
        net.register_buffer(name, t)
    return net


def same(net: nn.Module, *shape: int) -> convfold.Result:
    """Folded, verified, and the same numbers, infinities included."""
    x = noise(*shape)
    result = convfold.fold(net, x, config=MACS)
    with torch.no_grad():
        torch.testing.assert_close(result.module(x), net(x), rtol=1e-9, atol=1e-9, equal_nan=True)
    return result


class TestMeant:
    """Gemma's vision tower was refused whole for its mask; a clamp's open end did the same."""

    def test_bounds_that_are_open(self) -> None:
        net = with_pair(
            lambda m, x: m.pair(torch.minimum(torch.maximum(m.pair(x), m.low), m.high)),
            low=torch.tensor(-INF),
            high=torch.tensor(INF),
        )
        assert_calls(same(net, 2, 3, 5), linear=2, maximum=1, minimum=1)

    def test_a_mask_added_to_scores(self) -> None:
        mask = torch.zeros(4, 4, dtype=torch.float64).masked_fill(torch.ones(4, 4).triu(1) > 0, -INF)

        def attend(m: Any, x: Tensor) -> Tensor:
            y = m.pair(x)
            return m.pair((y @ y.transpose(1, 2) + m.mask).softmax(-1) @ y)  # type: ignore[no-any-return]

        assert calls(same(with_pair(attend, mask=mask), 2, 4, 5))["linear"] == 2

    @pytest.mark.parametrize(
        "masked",
        [
            lambda m, y: (y + m.mask).softmax(-1),
            lambda m, y: (y - -m.mask).exp(),
            lambda m, y: (y + torch.zeros(5, dtype=y.dtype).masked_fill(m.mask < 0, -INF)).softmax(-1),
            lambda m, y: torch.sign(y * INF),
            lambda m, y: torch.sign(y / 0.0),
            lambda m, y: torch.sign(y / (m.mask * 0).nan_to_num(0.0)),
            lambda m, y: (y - INF).exp(),
        ],
    )
    def test_channels_masked_out(self, masked: Callable[[Any, Tensor], Tensor]) -> None:
        """One number a channel: it would be a bias or a scale, and make NaN of every zero it meets."""
        mask = torch.tensor([0.0, -INF, 0.0, 0.0, -INF], dtype=torch.float64)
        assert calls(same(with_pair(lambda m, x: masked(m, m.pair(x)), mask=mask), 2, 3, 5))["linear"] == 1

    def test_the_reason(self) -> None:
        """Left alone like any other call that is not affine, not refused with the model."""
        net = with_pair(lambda m, x: (m.pair(x) + m.mask).softmax(-1), mask=torch.tensor([0.0, -INF, 0.0, 0.0, -INF]))
        source = convfold.frontends.torch.read.read(net, noise(2, 5))
        lifted = convfold.frontends.torch.exported.Graph(source).lift()
        (refusal,) = lifted.opaque.values()
        assert refusal.code == "not-affine" and refusal.detail == "mask is infinite or not a number"

    def test_a_buffer_nobody_reads(self) -> None:
        assert_calls(same(with_pair(lambda m, x: m.pair(x), unread=torch.full((3,), float("nan"))), 2, 5), linear=1)

    def test_a_parameter_that_is_no_weight(self) -> None:
        """A bound that is learnt, and has not been yet."""
        net = with_pair(lambda m, x: torch.minimum(m.pair(x), m.bound))
        net.bound = nn.Parameter(torch.tensor(INF, dtype=torch.float64))
        assert_calls(same(net, 2, 5), linear=1, minimum=1)


class TestMistakes:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("0.weight", float("nan")),
            ("0.weight", INF),
            ("0.bias", -INF),
            ("1.weight", INF),
            ("1.bias", float("nan")),
            ("1.running_mean", -INF),
            ("1.running_var", float("nan")),
        ],
    )
    def test_a_weight_is_named(self, name: str, value: float) -> None:
        net = randomised(nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4), nn.ReLU())).eval()
        with torch.no_grad():
            net.state_dict(keep_vars=True)[name].flatten()[1] = value
        what = "NaN" if value != value else "infinity"
        with pytest.raises(convfold.InvalidInput, match=rf"^weight '{name}' contains {what}; .* Fix the weights\.$"):
            convfold.fold(net, torch.randn(2, 3, 7, 6), config=MACS)

    def test_a_weight_another_is_computed_from(self) -> None:
        layer = nn.utils.parametrizations.weight_norm(nn.Linear(5, 4))
        with torch.no_grad():
            layer.parametrizations.weight.original0[2] = INF
        with pytest.raises(
            convfold.InvalidInput, match=r"weight 'parametrizations\.weight\.original0' contains infinity"
        ):
            convfold.fold(nn.Sequential(layer)[0].eval(), torch.randn(2, 5), config=MACS)

    def test_in_a_program(self) -> None:
        net = nn.Sequential(nn.Linear(5, 4), nn.ReLU()).eval()
        program = torch.export.export(net, (torch.randn(2, 5),))
        with torch.no_grad():
            net[0].bias[1] = INF
        with pytest.raises(convfold.InvalidInput, match=r"weight '0\.bias' contains infinity"):
            convfold.fold(program, config=MACS)


def test_what_is_finite_is_folded_as_ever() -> None:
    assert_calls(fold_checked(nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4)), (2, 3, 7, 6)), conv2d=1)
