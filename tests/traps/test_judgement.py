"""A check that fails must say so, an option that is not known must not pass, and cheaper must be cheaper."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import convfold
from convfold.algebra import series
from convfold.algebra.convolution import Convolution
from tests.folding import Net, assert_calls, assert_unchanged, codes, double, fold_checked, noise, randomised


class TestFailedCheck:
    """onnxslim's --model-check printed a difference and exited 0."""

    @pytest.mark.parametrize("fault", ["kernel", "corner", "bias"])
    def test_a_wrong_composition_is_caught(self, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
        right = series.series

        def wrong(outer: Convolution, inner: Convolution, sizes: Any = None, endless: bool = False) -> Convolution:
            value = right(outer, inner, sizes, endless)
            kernel, bias = value.kernel.clone(), value.bias
            if fault == "kernel":
                kernel = kernel * (1 + 1e-9)
            elif fault == "corner":
                kernel[0, 0, 0, 0] += 1e-9
            else:
                bias = None if bias is None else bias + 1e-9
            return Convolution(kernel, bias, value.groups, value.windows)

        monkeypatch.setattr(series, "series", wrong)
        net = double(nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4), nn.ReLU()))
        with pytest.raises(convfold.VerificationFailed, match="differs"):
            convfold.fold(net, noise(2, 3, 7, 6))
        result = convfold.fold(net, noise(2, 3, 7, 6), config=convfold.FoldConfig(verify=False))
        assert not convfold.verify(net, result.module, noise(2, 3, 7, 6)).passed

    def test_a_wrong_border_is_seen_where_it_is(self) -> None:
        """The merged 1×1 → padded 3×3: right inside, wrong in the ring."""
        a, b = double(nn.Conv2d(3, 4, 1)), double(nn.Conv2d(4, 2, 3, padding=1), 1)
        kernel = torch.einsum("omhw,mi->oihw", b.weight, a.weight.flatten(1))
        bias = b.bias + torch.einsum("omhw,m->o", b.weight, a.bias)
        merged = nn.Conv2d(3, 2, 3, padding=1).double()
        with torch.no_grad():
            merged.weight.copy_(kernel)
            merged.bias.copy_(bias)
        verdict = convfold.verify(nn.Sequential(a, b), merged, noise(2, 3, 24, 30))
        assert not verdict.passed and verdict.interior < 1e-12 < 1e-3 < verdict.ring

    def test_one_wrong_pixel_in_a_corner(self) -> None:
        class Spoilt(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                y = x * 1.0
                y[..., -1, -1] += 1e-4
                return y

        verdict = convfold.verify(nn.Identity(), Spoilt(), torch.randn(1, 1, 64, 64))
        assert not verdict.passed and verdict.interior == 0 < verdict.ring

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_not_a_number_is_not_the_same(self, value: float) -> None:
        class Broken(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.where(x > 1, value, x)

        assert not convfold.verify(nn.Identity(), Broken(), torch.randn(2, 50)).passed
        assert not convfold.verify(Broken(), nn.Identity(), torch.randn(2, 50)).passed
        assert convfold.verify(Broken(), Broken(), torch.randn(2, 50)).passed

    def test_another_number_of_outputs_or_shape(self) -> None:
        x = torch.randn(2, 3)
        with pytest.raises(convfold.InvalidInput, match="outputs"):
            convfold.verify(Net(lambda m, x: (x, x)), nn.Identity(), x)
        with pytest.raises(convfold.InvalidInput, match=r"\(2, 3\).*\(6,\)"):
            convfold.verify(nn.Identity(), nn.Flatten(0), x)

    @pytest.mark.parametrize(
        ("models", "args", "said"),
        [
            ((nn.Identity(), 3), torch.ones(1), "cannot verify a int"),
            (("a.pt2", nn.Identity()), torch.ones(1), "cannot verify a str"),
            ((nn.Identity(), nn.Identity()), None, "args must be a tuple of the models' inputs, got NoneType"),
        ],
    )
    def test_what_is_no_model_or_no_inputs(self, models: tuple[Any, Any], args: Any, said: str) -> None:
        with pytest.raises(convfold.InvalidInput, match=said):
            convfold.verify(*models, args)

    def test_outputs_that_are_whole_numbers(self) -> None:
        a, b = Net(lambda m, x: x.argmax(1)), Net(lambda m, x: x.argmin(1))
        assert convfold.verify(a, a, torch.randn(4, 9)).passed
        assert not convfold.verify(a, b, torch.randn(4, 9)).passed

    def test_whole_numbers_beside_others(self) -> None:
        a = Net(lambda m, x: (x * 2, x.argmax(1)))
        b = Net(lambda m, x: (x * 2, x.argmin(1)))
        assert convfold.verify(a, a, torch.randn(4, 9)).passed
        assert not convfold.verify(a, b, torch.randn(4, 9)).passed

    def test_another_type_of_output(self) -> None:
        """float16 of the same numbers is another model."""
        a, b = Net(lambda m, x: (x > 0).float()), Net(lambda m, x: (x > 0).half())
        with pytest.raises(convfold.InvalidInput, match="float16"):
            convfold.verify(a, b, torch.randn(4, 9))

    def test_constant_zero_is_compared_too(self) -> None:
        a = Net(lambda m, x: x * 0)
        assert convfold.verify(a, a, torch.randn(4, 9)).passed
        assert not convfold.verify(a, nn.Identity(), torch.randn(4, 9)).passed


class TestMisspelt:
    """onnxsim#278: an option it did not know was an option it did not mind."""

    def test_objective(self) -> None:
        with pytest.raises(convfold.InvalidInput, match=r"'speed'.*'macs'"):
            convfold.FoldConfig(objective="speed")

    def test_fields_and_arguments(self) -> None:
        net, x = nn.Linear(3, 4).eval(), torch.randn(2, 3)
        with pytest.raises(TypeError, match="verfy"):
            convfold.FoldConfig(verfy=False)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="dynamic_shape"):
            convfold.fold(net, x, dynamic_shape="static")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="attach"):
            convfold.merge(net, attach=True)  # type: ignore[call-arg]

    def test_dynamic_shapes(self) -> None:
        with pytest.raises(convfold.InvalidInput, match="statik"):
            convfold.fold(nn.Linear(3, 4).eval(), torch.randn(2, 3), dynamic_shapes="statik")

    def test_exclude(self) -> None:
        net = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4)).eval()
        with pytest.raises(convfold.InvalidInput, match=r"'stem\.\*'.*no module"):
            convfold.fold(net, torch.randn(2, 3, 5, 5), config=convfold.FoldConfig(exclude=("0", "stem.*")))

    def test_the_suffix_of_a_file(self, tmp_path: object) -> None:
        result = convfold.fold(nn.Linear(3, 4).eval(), torch.randn(2, 3))
        with pytest.raises(convfold.InvalidInput, match=r"\.pt2 or \.onnx"):
            result.save(f"{tmp_path}/net.pt")


class TestExcludedCalls:
    """What has no module is excluded by the name that the report gives it."""

    def test_of_torch(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.other(F.pad(self.conv(x), (1, 1, 1, 1)) * 2)

        result = fold_checked(Net(), (2, 3, 5, 5), config=convfold.FoldConfig("macs", exclude="mul"))
        assert {r.where for r in result.report.refused if r.code == "excluded"} == {"mul"}
        assert_calls(result, conv2d=2, pad=1, mul=1)

    def test_of_onnx(self) -> None:
        net = onnx.parser.parse_model(
            """<ir_version: 8, opset_import: ["" : 17]> net (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
            <float[2, 2, 1, 1] w = {1, 2, 3, 4}> { a = Conv(x, w) y = Conv(a, w) }"""
        )
        assert convfold.explain(net).after.layers == 1
        report = convfold.explain(net, config=convfold.FoldConfig(exclude="a"))
        assert report.after.layers == 2 and [r.where for r in report.refused if r.code == "excluded"] == ["a"]


def test_excluded_modules_are_left_alone() -> None:
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 2), nn.BatchNorm2d(4), nn.ReLU()),
    )
    result = fold_checked(net, (2, 3, 7, 6), config=convfold.FoldConfig(exclude="0"))
    assert_calls(result, conv2d=2, batch_norm=1, relu=2)
    assert {"0.0.weight", "0.1.running_mean"} <= set(result.module.state_dict())
    assert {r.where for r in result.report.refused if r.code == "excluded"} == {"0.0", "0.1"}
    assert_calls(
        fold_checked(net, (2, 3, 7, 6), config=convfold.FoldConfig(exclude="*.1")), conv2d=2, batch_norm=2, relu=2
    )


class TestSlower:
    """RepVGG#47. Of 853 pairs in 214 models merging makes 838 dearer."""

    def test_depthwise_then_pointwise(self) -> None:
        net = nn.Sequential(nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 24, 1))
        assert_unchanged(fold_checked(net, (2, 16, 9, 8)), "does-not-pay")

    def test_depthwise_then_pointwise_with_norms_between(self) -> None:
        net = nn.Sequential(
            nn.Conv2d(16, 16, 3, groups=16, bias=False), nn.BatchNorm2d(16), nn.Conv2d(16, 24, 1, bias=False),
            nn.BatchNorm2d(24), nn.ReLU(),
        )  # fmt: skip
        result = fold_checked(net, (2, 16, 9, 8))
        assert_calls(result, conv2d=2, relu=1)
        assert codes(result.report)["does-not-pay"] == 1
        depthwise, pointwise = (n for n in result.module.graph.nodes if "conv2d" in str(n.target))
        assert depthwise.args[6] == 16 and pointwise.args[6] == 1

    def test_two_dense_convolutions_of_equal_width(self) -> None:
        net = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
        assert_unchanged(fold_checked(net, (2, 8, 12, 13)), "does-not-pay")

    def test_a_bottleneck_stays_a_bottleneck(self) -> None:
        net = nn.Sequential(nn.Linear(32, 4), nn.Linear(4, 32))
        assert_unchanged(fold_checked(net, (2, 32)), "does-not-pay")

    def test_a_wide_middle_is_merged(self) -> None:
        """SESR: 3×3 16→256, 1×1 256→16."""
        net = nn.Sequential(nn.Conv2d(4, 64, 3, padding=1), nn.Conv2d(64, 4, 1))
        assert_calls(fold_checked(net, (2, 4, 9, 8)), conv2d=1)

    def test_pooling_first_is_cheaper_than_convolving_first(self) -> None:
        """1×1 4→64 then a 2×2 average pool: the pool commutes to where there are fewer channels, or all is one."""
        net = nn.Sequential(nn.Conv2d(4, 64, 1), nn.AvgPool2d(2))
        result = fold_checked(net, (2, 4, 8, 10))
        assert result.report.after.macs <= result.report.before.macs

    def test_the_middle_of_three_goes_with_the_cheaper_neighbour(self) -> None:
        net = nn.Sequential(nn.Conv2d(4, 32, 3), nn.Conv2d(32, 4, 1), nn.Conv2d(4, 8, 3))
        result = fold_checked(net, (2, 4, 12, 13))
        kernels = sorted(tuple(p.shape) for p in result.module.parameters() if p.dim() == 4)
        assert kernels == [(4, 4, 3, 3), (8, 4, 3, 3)]

    def test_reasons_come_with_numbers(self) -> None:
        net = nn.Sequential(nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 24, 1))
        report = convfold.explain(randomised(net).eval(), torch.randn(1, 16, 12, 12))
        assert not report.changed and report.error is None
        (refusal,) = report.refused
        assert refusal.code == "does-not-pay" and refusal.where == "0 → 1" and "multiply-adds" in refusal.detail
