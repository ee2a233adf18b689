"""What float64 cannot run is compared in its own type, and the verdict says so; the bound is what rounding does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # defines operators
from torch import Tensor, nn
from torch.nn import functional as F

import convfold
from tests.folding import Net, calls, noise, randomised

int8 = torch.ops.quantized_decomposed


class Quantised(nn.Module):
    """Convolution and norm, then to whole numbers and back; a convolution whose weight is whole numbers."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.conv, self.norm = randomised(nn.Conv2d(3, 8, 3), seed), randomised(nn.BatchNorm2d(8), seed)
        weight = randomised(nn.Conv2d(8, 4, 1), seed).weight.detach()
        self.scale = float(weight.abs().max()) / 127
        self.register_buffer("weight", int8.quantize_per_tensor(weight, self.scale, 0, -127, 127, torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        y = self._rounded(self.norm(self.conv(x)), 0.05)
        weight = int8.dequantize_per_tensor(self.weight, self.scale, 0, -127, 127, torch.int8)
        return self._rounded(F.conv2d(y, weight), 0.05)

    def _rounded(self, y: Tensor, scale: float) -> Tensor:
        whole = int8.quantize_per_tensor(y, scale, 0, -128, 127, torch.int8)
        return int8.dequantize_per_tensor(whole, scale, 0, -128, 127, torch.int8)


class Packed(Tensor):
    """A weight of whole numbers and a scale that passes for one of float32, and knows two operators."""

    @staticmethod
    def __new__(cls, whole: Tensor, scale: Tensor) -> Packed:
        return Tensor._make_wrapper_subclass(cls, whole.shape, dtype=torch.float32)

    def __init__(self, whole: Tensor, scale: Tensor) -> None:
        self.whole, self.scale = whole, scale

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        match func:
            case torch.ops.aten.detach.default:
                return cls(args[0].whole, args[0].scale)
            case torch.ops.aten.t.default:
                return cls(args[0].whole.t(), args[0].scale)
            case torch.ops.aten.addmm.default:
                bias, x, w = args
                return x @ (w.whole.to(x.dtype) * w.scale.to(x.dtype)) + bias
        raise NotImplementedError(f"{func} of a packed weight")


def packed() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5), nn.LayerNorm(5), nn.Linear(5, 4))
    weight = randomised(net)[2].weight.detach()  # type: ignore[index, union-attr]
    scale = weight.abs().max() / 127
    net[2].weight = nn.Parameter(Packed((weight / scale).round().to(torch.int8), scale), requires_grad=False)
    return net.eval()


def dynamic() -> nn.Module:
    """Kernels of whole numbers, their weights prepacked."""
    net = randomised(nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5))).eval()
    return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)


@torch.library.custom_op("convfold_tests::coarse", mutates_args=())
def coarse(x: Tensor) -> Tensor:
    """An operator for float32 alone, on the way to one value in ten."""
    if x.dtype != torch.float32:
        raise RuntimeError("coarse: float32 only")
    return (x * 10).round() / 10


@coarse.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


CASES = [
    (Quantised, (2, 3, 9, 8), "Expecting input to have dtype torch.float32"),
    (packed, (3, 6), "of a packed weight"),
    (dynamic, (3, 6), "expected scalar type Float but found Double"),
    (
        lambda: Net(lambda m, x: coarse(m.conv(x)), conv=randomised(nn.Conv2d(3, 4, 2))),
        (2, 3, 5, 6),
        "coarse: float32 only",
    ),
]


@pytest.mark.parametrize(("make", "shape", "why"), CASES, ids=["int8", "subclass", "prepacked", "custom operator"])
def test_compared_in_its_own_type(make: Any, shape: tuple[int, ...], why: str) -> None:
    model, x = make(), noise(*shape, dtype=torch.float32)
    verdict = convfold.verify(model, make(), x)
    assert verdict.passed and verdict.reference == "its own type" and 0 < verdict.allowed < 1e-2
    assert "both in their own type" in str(verdict) and why in verdict.notes[0]
    assert verdict.to_dict()["reference"] == "its own type"

    verdict = convfold.verify(model, Net(lambda m, x: model(x) * 1.05), x)
    assert not verdict.passed and verdict.exactness > 0.04


@pytest.mark.parametrize("fault", ["tap", "bias", "statistic", "weight"])
def test_a_fault_is_more_than_rounding(fault: str) -> None:
    right, wrong, x = Quantised().eval(), Quantised().eval(), noise(2, 3, 19, 18, dtype=torch.float32)
    with torch.no_grad():
        match fault:
            case "tap":
                wrong.conv.weight[1, 1] = wrong.conv.weight[1, 1].flip(0)
            case "bias":
                wrong.conv.bias[2] = 0
            case "statistic":
                wrong.norm.running_var[3] *= 1.2
            case "weight":
                wrong.weight[0, 1] += 3
    assert not convfold.verify(right, wrong, x).passed


def test_a_bucket_apart_is_rounding() -> None:
    """The same values in another order of sums: some fall on the other side of an edge, as they would by rounding."""
    x = noise(64, 400, dtype=torch.float32)
    a = Net(lambda m, x: coarse(x.sum(1) / 7 + 0.05))
    b = Net(lambda m, x: coarse(x.flip(1).cumsum(1)[:, -1] / 7 + 0.05))
    x[:, -1] -= x.sum(1) - torch.arange(64) * 0.7  # on an edge, as exactly as float32 can
    verdict = convfold.verify(a, b, x)
    assert verdict.passed and verdict.error > 1e-4
    assert not convfold.verify(a, Net(lambda m, x: coarse(x.sum(1) / 7 + 0.55)), x).passed


def test_the_rest_is_folded_and_verified() -> None:
    result = convfold.fold(Quantised().eval(), noise(2, 3, 9, 8, dtype=torch.float32))
    assert result.report.error is not None and result.report.error.passed
    assert calls(result)["batch_norm"] == 0 and calls(result)["quantize_per_tensor"] == 2
    assert "both in their own type" in str(result.report)
