"""Complex and quantised weights, and sizes that are data: left as they are, the rest folded around them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operations PT2E quantisation leaves in a program
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from convfold.frontends.torch.exported import Graph
from convfold.frontends.torch.read import read
from tests.folding import Net, call_name, calls, codes, noise, randomised
from tests.laws.oracle import assert_close

MACS = convfold.FoldConfig(objective="macs")
quantised = torch.ops.quantized_decomposed


def proved(net: nn.Module, x: Tensor, *, no_float64: str = "") -> convfold.Result:
    """Folded and verified, against float64 unless that cannot run: then it says so. One wrong weight is caught."""
    result = convfold.fold(net.eval(), x, config=MACS)
    verdict = result.report.error
    assert verdict is not None and verdict.passed and not verdict.nothing
    assert verdict.reference == ("its own type" if no_float64 else "float64")
    assert f"float64 cannot run: {no_float64}" in str(verdict) if no_float64 else "cannot run" not in str(verdict)
    weight = next(p for name, p in result.module.named_parameters() if p.dim() > 1 and re.search("folded_weight", name))
    with torch.no_grad():
        weight.mul_(1.02)
        assert not convfold.verify(net, result.module, x).passed
        weight.div_(1.02)
    return result


def folded(net: nn.Module, x: Tensor, tolerance: float = 1e-12, no_float64: str = "") -> convfold.Result:
    result = proved(net, x, no_float64=no_float64)
    with torch.no_grad():
        assert_close(result.module(x.clone()), net(x.clone()), tolerance=tolerance)
    return result


def reasons(net: nn.Module, x: Tensor) -> set[str]:
    """Why calls were left."""
    lifted = Graph(read(net.eval(), x)).lift()
    return {r.detail for r in lifted.opaque.values() if r.code == "not-affine"}


class Spectral(nn.Module):
    """A layer of a Fourier neural operator: the lowest frequencies of either sign, each through a complex matrix."""

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        for name in ("low", "high"):
            kernel = torch.randn(channels, channels, modes, modes, dtype=torch.cdouble)
            self.register_parameter(name, nn.Parameter(kernel))

    def forward(self, x: Tensor) -> Tensor:
        k, spectrum = self.modes, torch.fft.rfft2(x)
        out = torch.zeros_like(spectrum)
        out[:, :, :k, :k] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :k, :k], self.low)
        out[:, :, -k:, :k] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, -k:, :k], self.high)
        return torch.fft.irfft2(out, s=x.shape[-2:])


def wide(c_in: int, c_mid: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_mid, 1), nn.BatchNorm2d(c_mid), nn.Conv2d(c_mid, c_out, 1))


class TestComplex:
    def test_a_fourier_neural_operator(self) -> None:
        net = Net(
            lambda m, x: m.project((m.spectral(y := m.lift(x)) + m.skip(y)).relu()),
            lift=wide(3, 9, 4), spectral=Spectral(4, 2), skip=nn.Conv2d(4, 4, 1), project=wide(4, 9, 2),
        )  # fmt: skip
        found = calls(folded(randomised(net.double()), noise(2, 3, 9, 8)))
        assert found["conv2d"] == 3 and found["batch_norm"] == 0 and found["einsum"] == 2

    def test_in_the_types_of_every_day(self) -> None:
        """float32 and complex64: compared in float64 and complex128."""
        net = Net(
            lambda m, x: torch.fft.irfft(m.linear(torch.fft.rfft(m.pair(x), dim=1)), n=6, dim=1),
            pair=nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 5)),
            linear=nn.Linear(5, 3, dtype=torch.cfloat),
        )
        assert calls(folded(net, torch.randn(2, 6, 5), 1e-5))["linear"] == 2

    @pytest.mark.parametrize(
        "through",
        [
            lambda m, y: m.linear(y.to(torch.cdouble)).abs(),
            lambda m, y: (y * m.scale).abs(),
            lambda m, y: (y.to(torch.cdouble) * m.scale + m.scale).real,
            lambda m, y: (y / m.scale).imag,
            lambda m, y: (y * (1 + 2j)).abs(),
            lambda m, y: (y + 2j).abs(),
            lambda m, y: torch.view_as_real(torch.cat([torch.fft.rfft(y), torch.fft.rfft(2 * y)], 1)),
            lambda m, y: torch.addcmul(m.scale, torch.fft.fft(y), m.scale).abs(),
            lambda m, y: torch.fft.ifft(torch.fft.fft(y).flip(1).roll(1, 1)).mean(1).real,
        ],
    )
    def test_left_and_the_rest_folded(self, through: Any) -> None:
        net = Net(
            lambda m, x: through(m, m.pair(x)),
            pair=nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 5)).double(),
            linear=nn.Linear(5, 3, dtype=torch.cdouble),
            scale=nn.Parameter(torch.randn(5, dtype=torch.cdouble)),
        )
        result = folded(net, noise(2, 3, 5))
        pair = [n for n in result.module.graph.nodes if call_name(n) == "linear" and n.meta["val"].is_floating_point()]
        assert len(pair) == 1

    def test_a_real_kernel_computed_from_complex_numbers(self) -> None:
        net = Net(
            lambda m, x: m.last(F.linear(x, torch.fft.irfft(m.spectrum, n=5))),
            spectrum=nn.Parameter(torch.randn(7, 3, dtype=torch.cdouble)),
            last=nn.Linear(7, 4).double(),
        )
        assert calls(folded(net, noise(2, 5))) == {"linear": 1}


def requantised(x: Tensor) -> Tensor:
    """Through eight bits and back."""
    limits = (0.05, 3, -128, 127, torch.int8)
    y: Tensor = quantised.dequantize_per_tensor(quantised.quantize_per_tensor(x, *limits), *limits)
    return y


class TestQuantised:
    """What PT2E leaves: eight-bit weights widened where they are used, signals rounded between layers."""

    def test_the_quantised_layer_stays_quantised(self) -> None:
        def forward(m: Any, x: Tensor) -> Tensor:
            weight = quantised.dequantize_per_channel(m.bits, m.scales, m.zeros, 0, -127, 127, torch.int8)
            y = requantised(F.conv2d(requantised(m.lift(x)), weight, m.bias))
            return m.project(y)  # type: ignore[no-any-return]

        net = randomised(
            Net(
                forward,
                lift=wide(3, 9, 4),
                project=wide(6, 9, 2),
                bits=torch.randint(-127, 127, (6, 4, 3, 2), dtype=torch.int8),
                scales=torch.rand(6) * 0.02,
                zeros=torch.zeros(6, dtype=torch.int64),
                bias=nn.Parameter(torch.randn(6)),
            )
        )
        with torch.no_grad():
            net.scales.abs_().add_(0.01)
        x = torch.randn(2, 3, 7, 6)
        result = proved(net, x, no_float64="Expecting input to have dtype torch.float32")
        found = calls(result)
        assert found["conv2d"] == 3 and found["batch_norm"] == 0 and found["dequantize_per_channel"] == 1
        assert result.module.get_buffer("bits").dtype == torch.int8
        assert codes(result.report) == {"quantised": 1}
        with torch.no_grad():  # a value at the edge of a step may fall to its other side
            steps = (result.module(x) - net(x)).abs().mean() / net(x).abs().mean()
        assert steps < 0.01

    @pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
    def test_by_hand(self, dtype: torch.dtype) -> None:
        """torchao's, once exported: a narrow weight, cast and scaled in the graph."""
        net = Net(
            lambda m, x: m.pair(F.linear(m.pair(x), m.bits.to(x.dtype) * m.scale.unsqueeze(1))),
            pair=nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 5)).double(),
            bits=(torch.rand(5, 5) * 100).to(dtype),
            scale=torch.rand(5, dtype=torch.float64),
        )
        result = folded(net, noise(2, 3, 5))
        assert calls(result)["linear"] == 3 and result.module.get_buffer("bits").dtype == dtype
        assert codes(result.report)["quantised"] == 1

    def test_whole_numbers_and_masks_are_not_quantised_weights(self) -> None:
        net = Net(
            lambda m, x: m.pair(x) * m.mask * m.numbers.to(x.dtype),
            pair=nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 5)).double(),
            mask=torch.tensor([True, False, True, True, False]),
            numbers=torch.arange(5),
        )
        assert calls(folded(net, noise(2, 3, 5))) == {"linear": 1}

    def test_weights_whose_rounding_is_simulated(self) -> None:
        """fake_quantize wants its scales in float32: what it makes of a weight is not known in float64."""

        def forward(m: Any, x: Tensor) -> Tensor:
            weight = torch.fake_quantize_per_channel_affine(m.weight, m.scales, m.zeros, 0, -128, 127)
            return m.pair(F.linear(m.pair(x), weight))  # type: ignore[no-any-return]

        net = Net(
            forward,
            pair=nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 5)),
            weight=nn.Parameter(torch.randn(5, 5)),
            scales=torch.rand(5) * 0.02 + 0.01,
            zeros=torch.zeros(5, dtype=torch.int32),
        )
        x = torch.randn(2, 3, 5)
        assert calls(folded(net, x, 1e-5, no_float64="Scale must be Float"))["linear"] == 3
        assert any("does not run in float64" in reason for reason in reasons(net, x))


class TestSizesThatAreData:
    def test_rows_selected_by_a_mask(self) -> None:
        """Their number is data: what reads them is left, and lifting the rest does not ask for it."""
        net = Net(
            lambda m, x: m.last((y := m.pair(x))[y[:, 0] > 0] * 2),
            pair=nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 5)),
            last=nn.Linear(5, 2),
        ).eval()
        graph = Graph(read(net, torch.randn(4, 5)))
        lifted = graph.lift()
        assert [sum(n.operation is not None for n in r.nodes) for r in lifted.regions] == [2]
        assert {r.detail for r in lifted.opaque.values()} >= {"a size is known at run time only"}

    @pytest.mark.parametrize(
        "select",
        [
            lambda m, y: m.last(y[y[:, 0] > 0] * 2),
            lambda m, y: (y > 0).nonzero(),
            lambda m, y: (y * 4).round().unique(),
            lambda m, y: y.new_ones(3 + (y > 0).sum().item()),
            lambda m, y: m.last(y[torch.where(y[:, 0] > 0)[0]]),
        ],
    )
    def test_all_the_way(self, select: Any, tmp_path: Path) -> None:
        """Folded, verified, saved, read, folded again, written as ONNX."""
        net = Net(
            lambda m, x: (select(m, y := m.pair(x)), y),
            pair=nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 5)),
            last=nn.Linear(5, 2),
        )
        net = randomised(net.double())
        result = convfold.fold(net.eval(), noise(6, 5), config=MACS)
        assert calls(result)["linear"] == result.report.before.layers - 1
        result.save(tmp_path / "net.pt2")
        again = convfold.fold(tmp_path / "net.pt2")
        result.save(tmp_path / "net.onnx")
        assert len(onnx.load(tmp_path / "net.onnx").graph.output) == 2
        for verdict in (result.report.error, again.report.error):
            assert verdict is not None and verdict.passed and not verdict.nothing
        for n in (1, 4, 9):
            x = noise(n, 5, seed=n)
            with torch.no_grad():
                for module in (result.module, again.module):
                    for y, z in zip(net(x), module(x), strict=True):
                        assert_close(z.double(), y.double())

    def test_one_that_onnx_has_not(self, tmp_path: Path) -> None:
        net = Net(lambda m, x: m.pair(x).masked_select(x > 0), pair=nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 5)))
        result = convfold.fold(net.double().eval(), noise(6, 5), config=MACS)
        assert calls(result)["linear"] == 1
        with pytest.raises(convfold.InvalidInput, match=r"none for the operator aten\.masked_select"):
            result.save(tmp_path / "net.onnx")
        assert list(tmp_path.iterdir()) == []
