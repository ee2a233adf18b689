"""border="exact", "refuse", "hoist": in `merge`, in `fold`, on the command line's side of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import convfold
from convfold.errors import BORDERS, BorderChanged, InvalidInput
from convfold.layers.bordered import Bordered
from tests.folding import codes, double, noise
from tests.laws.oracle import assert_close, refused

CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIZES = (1, 2, 3, 4, 6, 9, 14)


def twice(dims: int = 2, **options: Any) -> nn.Sequential:
    return double(nn.Sequential(CONV[dims](2, 12, 3, padding=1), CONV[dims](12, 2, 3, padding=1, **options)))  # type: ignore[return-value]


class TestMerge:
    @pytest.mark.parametrize("dims", [1, 2, 3])
    @pytest.mark.parametrize("options", [{}, {"stride": 2}, {"dilation": 2}, {"groups": 2}, {"bias": False}])
    def test_exact_at_every_size(self, dims: int, options: dict[str, Any]) -> None:
        net = twice(dims, **options)
        merged = convfold.merge(*net)
        assert isinstance(merged, Bordered)
        for n in SIZES if dims < 3 else SIZES[:5]:
            x = noise(2, 2, *(max(n - i, 1) for i in range(dims)))
            try:
                expected = net(x)
            except RuntimeError:  # a kernel larger than the padded map
                with pytest.raises(RuntimeError):
                    merged(x)
                continue
            assert_close(merged(x).detach(), expected.detach(), f"{tuple(x.shape)}")

    def test_a_whole_tail_with_norms(self) -> None:
        net = double(
            nn.Sequential(
                nn.BatchNorm2d(2),
                nn.Conv2d(2, 16, 3, padding=1),
                nn.BatchNorm2d(16),
                nn.PixelShuffle(2),
                nn.ConvTranspose2d(4, 8, 4, stride=2, padding=1),
                nn.AvgPool2d(2),
                nn.Conv2d(8, 3, (3, 5), padding="same"),
            )
        )
        merged = convfold.merge(*net)
        for size in ((1, 1), (2, 5), (9, 8)):
            x = noise(2, 2, *size)
            assert_close(merged(x).detach(), net(x).detach(), f"{size}")

    def test_dtype_device_and_gradients_are_kept(self) -> None:
        net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)).eval().requires_grad_(False)
        merged = convfold.merge(*net)
        assert {p.dtype for p in merged.parameters()} == {torch.float32}
        assert not any(p.requires_grad for p in merged.parameters())
        assert not merged.training
        copied = copy.deepcopy(merged)
        x = torch.randn(1, 2, 9, 9)
        assert torch.equal(copied(x), merged(x))

    def test_attached_it_is_differentiable_in_the_weights(self) -> None:
        net = twice()
        merged = convfold.merge(*net, attached=True)
        x = noise(1, 2, 9, 8)
        expected = torch.autograd.grad(net(x).square().sum(), list(net.parameters()))
        got = torch.autograd.grad(merged(x).square().sum(), list(net.parameters()))
        for a, b in zip(got, expected, strict=True):
            assert_close(a, b, tolerance=1e-11)

    def test_refuse(self) -> None:
        with refused("ghost-depends-on-data"):
            convfold.merge(*twice(), border="refuse")
        one = double(nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 3, padding=1)))
        with refused("ghost-is-constant"):
            convfold.merge(*one, border="refuse")
        for border in BORDERS:  # where no border is wrong, all are one
            assert isinstance(
                convfold.merge(nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 2, 3), border=border), nn.Conv2d
            )

    def test_hoist_moves_the_padding_and_says_by_how_much(self) -> None:
        net = twice()
        with pytest.warns(BorderChanged) as caught:
            merged = convfold.merge(*net, border="hoist")
        assert isinstance(merged, nn.Conv2d) and merged.padding == (2, 2)
        change = caught[0].message
        assert isinstance(change, BorderChanged)
        assert change.rows == ((1, 1), (1, 1)) and change.difference > 0.01
        x = noise(2, 2, 10, 12)
        got, expected = merged(x).detach(), net(x).detach()
        assert_close(got[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], "interior")
        assert (got - expected).abs()[..., 0, :].max() > 1e-3

    def test_unknown(self) -> None:
        with pytest.raises(InvalidInput, match="unknown border 'mirror'; known: 'exact', 'refuse', 'hoist'"):
            convfold.merge(nn.Conv2d(2, 2, 1), border="mirror")
        with pytest.raises(InvalidInput, match="unknown border"):
            convfold.FoldConfig(border="mirror")


class TestFold:
    def config(self, border: str) -> convfold.FoldConfig:
        return convfold.FoldConfig(objective="macs", border=border)

    def test_exact(self) -> None:
        net, x = twice(), noise(2, 2, 12, 14)
        result = convfold.fold(net, (x,), config=self.config("exact"))
        (border,) = result.report.borders
        (ghost,) = border.ghosts
        assert str(ghost) == "1 reads 1 + 1, 1 + 1 positions beyond 0's 12×12×14: data"
        assert border.macs > 0 and border.bytes > 0 and border.change is None
        assert str(border) in str(result.report) and str(ghost) in str(result.report)
        assert result.report.to_dict()["borders"][0]["ghosts"][0]["reader"] == "1"

    def test_refuse(self) -> None:
        net, x = twice(), noise(2, 2, 12, 14)
        result = convfold.fold(net, (x,), config=self.config("refuse"))
        assert not result.report.changed
        assert codes(result.report) == {"ghost-depends-on-data": 1}

    def test_hoist_reports_the_change_and_keeps_the_interior(self) -> None:
        net, x = twice(), noise(2, 2, 12, 14)
        result = convfold.fold(net, (x,), config=self.config("hoist"))
        report = result.report
        (border,) = report.borders
        assert border.change is not None and border.change > 0.01 and border.macs == 0
        assert report.error is not None and not report.error.passed
        assert report.after.layers == 1
        assert "it differs by" in str(report)
        got, expected = result.module(x).detach(), net(x).detach()
        assert_close(got[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], "interior")
        assert (got - expected).abs().max() > 1e-3

    def test_a_constant_is_called_one(self) -> None:
        net = double(nn.Sequential(nn.Conv2d(2, 24, 1), nn.Conv2d(24, 2, 3, padding=1)))
        report = convfold.explain(net, (noise(2, 2, 12, 14),), config=self.config("exact"))
        assert [str(g) for g in report.borders[0].ghosts] == [
            "1 reads 1 + 1, 1 + 1 positions beyond 0's 24×12×14: a constant"
        ]


class TestCircular:
    @pytest.mark.parametrize("dims", [1, 2, 3])
    def test_a_chain_is_one_circular_convolution(self, dims: int) -> None:
        conv = CONV[dims]
        net = double(
            nn.Sequential(
                conv(2, 12, 3, padding=1, padding_mode="circular"),
                conv(12, 8, 1),
                conv(8, 2, 5, padding=2, stride=2, padding_mode="circular"),
            )
        )
        merged = convfold.merge(*net)
        assert isinstance(merged, conv) and merged.padding_mode == "circular" and merged.padding == (3,) * dims
        for n in (1, 2, 3):  # a chain of small pads goes round what its one pad would have to go round twice
            small = noise(2, 2, *(max(n - i, 2) for i in range(dims)))
            with torch.no_grad():
                assert_close(merged(small), net(small), f"{tuple(small.shape)}")
        x = noise(2, 2, *(11, 8, 7)[:dims])
        result = convfold.fold(net, (x,), config=convfold.FoldConfig(objective="macs"))
        assert result.report.after.layers == 1
        with torch.no_grad():
            assert_close(merged(x), net(x))
            assert_close(result.module(x), net(x))

    def test_an_even_kernel_pads_one_side_more(self) -> None:
        net = double(
            nn.Sequential(
                nn.Conv2d(2, 12, (3, 4), padding="same", padding_mode="circular"),
                nn.CircularPad2d((1, 2, 0, 1)),
                nn.Conv2d(12, 2, (2, 4)),
            )
        )
        merged = convfold.merge(*net)
        for x in (noise(2, 2, 9, 8), noise(2, 2, 2, 3)):
            with torch.no_grad():
                assert_close(merged(x), net(x))

    @pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
    def test_a_pad_with_copies_first_and_none_after(self, mode: str) -> None:
        pads = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "circular": nn.CircularPad2d}
        first = nn.Conv2d(2, 12, 3, padding=(2, 1), padding_mode=mode)
        for net in (
            nn.Sequential(nn.Conv2d(2, 2, 1), first, nn.BatchNorm2d(12), nn.Conv2d(12, 2, 3, stride=2)),
            nn.Sequential(pads[mode]((1, 3, 2, 0)), nn.Conv2d(2, 12, 3), nn.Conv2d(12, 2, (2, 3))),
        ):
            merged, x = convfold.merge(*double(net)), noise(2, 2, 9, 11)
            with torch.no_grad():
                assert_close(merged(x), net(x), mode)

    @pytest.mark.parametrize(
        "net",
        [
            [nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 2, 3, padding=1)],
            [
                nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
                nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"),
            ],
            [nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular")],
            [
                nn.Conv2d(2, 4, 3, padding=2, padding_mode="circular"),
                nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"),
            ],
            [
                nn.Conv2d(2, 4, 3, padding=1, stride=2, padding_mode="circular"),
                nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"),
            ],
        ],
    )
    def test_the_rest_is_refused(self, net: list[nn.Module]) -> None:
        with refused("padding-mode"):
            convfold.merge(*net)
