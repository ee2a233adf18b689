"""Where merging naively goes wrong: outputs near the border, axis order, pads that are not plain."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

import convfold
from convfold.errors import BorderChanged
from tests.folding import Net, assert_calls, assert_same, assert_unchanged, calls, codes, double, fold_checked, noise
from tests.laws.oracle import assert_close, refused

REFUSE = convfold.FoldConfig(objective="macs", border="refuse")


def assert_merges(net: nn.Sequential, code: str, *spaces: tuple[int, int]) -> None:
    """The merged module is exact where one convolution, which ``code`` refuses, would be wrong in the ring."""
    net = double(net)  # type: ignore[assignment]
    with refused(code):
        convfold.merge(*net, border="refuse")
    with refused(code):
        convfold.Convolution.of(net)
    with pytest.warns(BorderChanged):
        naive = convfold.merge(*net, border="hoist")
    merged = convfold.merge(*net)
    for space in spaces:
        x = noise(2, net[0].in_channels, *space)
        with torch.no_grad():
            y = net(x)
            assert_close(merged(x), y, f"at {space}")
            with pytest.raises(AssertionError, match="numbers differ"):
                assert_close(naive(x), y)


@pytest.mark.parametrize("space", [(1, 2), (1, 1), (2, 3)])
@pytest.mark.parametrize("stride", [1, (2, 3)])
def test_a_pointwise_bias_before_taps_that_read_nothing_else(space: tuple[int, int], stride: Any) -> None:
    """On a map smaller than the kernel the taps that only ever read zeros are gone, and with all of them the ring."""
    net = nn.Sequential(nn.Conv2d(3, 20, 1), nn.Conv2d(20, 5, (3, 5), padding=(1, 2), stride=stride))
    result = fold_checked(net, (2, 3, *space))
    assert result.report.after.macs < result.report.before.macs
    if space == (1, 1):
        assert_calls(result, conv2d=1)


@pytest.mark.parametrize("space", [(6, 6), (7, 4)])
@pytest.mark.parametrize("stride", [1, (2, 3)])
def test_a_pointwise_bias_is_not_there_in_the_padding(space: tuple[int, int], stride: Any) -> None:
    """DiverseBranchBlock#9: 1×1 with bias, then 3×3 with zero padding; the ring of the merged one is wrong."""
    net = nn.Sequential(nn.Conv2d(3, 20, 1), nn.Conv2d(20, 5, (3, 5), padding=(1, 2), stride=stride))
    assert_calls(fold_checked(net, (2, 3, *space)), conv2d=1, add=1)  # what the ring has too much is taken off
    assert_unchanged(fold_checked(net, (2, 3, *space), config=REFUSE), "ghost-is-constant")
    assert_merges(net, "ghost-is-constant", space, (9, 8))


def test_at_a_free_size_the_ring_is_what_a_convolution_makes_of_ones() -> None:
    """No constants could be taken off: how many there are is not known. Exact at every size, the smallest too."""
    net = nn.Sequential(nn.Conv2d(3, 20, 1), nn.Conv2d(20, 5, 3, padding=1))
    free = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},)
    result = fold_checked(net, (2, 3, 6, 6), dynamic_shapes=free)
    assert len(result.report.free) == 3
    assert calls(result)["new_ones"] == 1 and calls(result)["conv2d"] == 2
    for space in ((1, 1), (1, 5), (2, 2), (3, 1), (7, 12)):
        assert_same(result.module, net, [(2, 3, *space)])
    assert_unchanged(fold_checked(net, (2, 3, 6, 6), dynamic_shapes=free, config=REFUSE), "ghost-is-constant")


def test_a_batch_norm_before_padding_costs_less_than_its_correction() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 5, (3, 2), padding=(1, 0)))
    assert_unchanged(fold_checked(net, (2, 3, 6, 7)), "does-not-pay")


def test_without_the_bias_it_is_one() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 5, (3, 5), padding=(1, 2)))
    assert_calls(fold_checked(net, (2, 3, 6, 7)), conv2d=1)


def test_with_the_padding_first_it_is_one() -> None:
    """As the paper has it: the 1×1 is padded, so the bias is there in the ring."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1, padding=(1, 2)), nn.Conv2d(4, 5, (3, 5)))
    assert_calls(fold_checked(net, (2, 3, 6, 7)), conv2d=1)


def test_two_padded_convolutions_read_data_in_the_ring() -> None:
    """discuss.pytorch.org 154268: 20 of 36 outputs wrong."""
    net = nn.Sequential(nn.Conv2d(4, 1, 3, padding=1, bias=False), nn.Conv2d(1, 4, 3, padding=1, bias=False))
    assert_unchanged(fold_checked(net, (2, 4, 6, 6)), "does-not-pay")
    assert_unchanged(fold_checked(net, (2, 4, 6, 6), config=REFUSE), "ghost-depends-on-data")
    assert_merges(net, "ghost-depends-on-data", (1, 1), (1, 7), (2, 3), (4, 4), (6, 6))
    x = noise(1, 4, 6, 6)
    with pytest.warns(BorderChanged) as caught:
        naive = convfold.merge(*net, border="hoist")
    changed = caught[0].message
    assert isinstance(changed, BorderChanged) and changed.rows == ((1, 1), (1, 1)) and changed.difference > 0.01
    with torch.no_grad():
        wrong = (naive(x) - net(x)).abs()[0].amax(0) > 1e-12
    assert int(wrong.sum()) == 20 and not bool(wrong[1:-1, 1:-1].any())


@pytest.mark.parametrize("biases", [True, False])
def test_where_it_pays_edges_and_corners_get_kernels_of_their_own(biases: bool) -> None:
    net = nn.Sequential(nn.Conv2d(4, 16, 3, padding=1, bias=biases), nn.Conv2d(16, 4, 3, padding=1, bias=biases))
    result = fold_checked(net, (2, 4, 7, 9))
    assert calls(result)["conv2d"] == 1 + 4 + 4 and result.report.after.macs < result.report.before.macs
    assert_unchanged(fold_checked(net, (2, 4, 7, 9), config=REFUSE), "ghost-depends-on-data")
    assert_merges(net, "ghost-depends-on-data", (1, 1), (3, 2), (7, 9))


def test_at_a_free_size_edges_and_corners_have_kernels_of_their_own() -> None:
    """On strips; where the image is not as wide as one, there are zeros beyond."""
    net = nn.Sequential(nn.Conv2d(2, 16, 3, padding=1), nn.Conv2d(16, 2, 3, padding=1))
    free = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},)
    result = fold_checked(net, (2, 2, 40, 44), dynamic_shapes=free)
    assert len(result.report.free) == 3
    assert calls(result)["conv2d"] + calls(result)["linear"] == 1 + 4 + 4 and calls(result)["add_"] == 8
    for space in ((1, 1), (1, 9), (2, 2), (3, 4), (5, 3), (11, 10)):
        assert_same(result.module, net, [(2, 2, *space)])
    unchanged = fold_checked(net, (2, 2, 40, 44), dynamic_shapes=free, config=REFUSE)
    assert_unchanged(unchanged, "ghost-depends-on-data")


@pytest.mark.parametrize("stride", [2, 3, (2, 1), (1, 3)])
@pytest.mark.parametrize("second", [1, (0, 2)])
def test_a_strided_first_convolution_multiplies_the_seconds_padding(stride: object, second: object) -> None:
    """Efficient-CNN-Depth-Compression: p1 + s1·p2, not p1 + p2. Full first padding, so that it is exact."""
    net = double(
        nn.Sequential(
            nn.Conv2d(3, 4, (3, 2), stride=stride, padding=(5, 5), bias=False),
            nn.Conv2d(4, 2, (3, 3), padding=second),
        )
    )
    merged = convfold.merge(*net)
    for space in ((9, 12), (10, 11), (8, 9)):
        x = noise(2, 3, *space)
        assert_close(merged(x).detach(), net(x).detach(), f"{stride} {second} {space}")


@pytest.mark.parametrize("stride", [(2, 1), (1, 2), (2, 3)])
def test_strided_then_pointwise_and_pointwise_then_strided(stride: tuple[int, int]) -> None:
    for net in (
        nn.Sequential(nn.Conv2d(3, 5, (3, 2), stride=stride, padding=(1, 0)), nn.Conv2d(5, 3, 1, stride=(1, 2))),
        nn.Sequential(nn.Conv2d(3, 5, 1, stride=(2, 1), bias=False), nn.Conv2d(5, 3, (3, 2), stride, padding=(1, 0))),
    ):
        assert_calls(fold_checked(net, (2, 3, 12, 13)), conv2d=1)


def test_branches_of_different_kernels_pad_the_right_axis() -> None:
    """DBB's transVI: F.pad counts from the last axis; a 1×5 beside a 3×1 shows which."""
    net = Net(
        lambda m, x: m.a(x) + m.b(x) + m.c(x),
        a=nn.Conv2d(3, 4, (1, 5), padding=(0, 2)),
        b=nn.Conv2d(3, 4, (3, 1), padding=(1, 0)),
        c=nn.Conv2d(3, 4, 1),
    )
    merged = convfold.Convolution.of(double(net).a) + convfold.Convolution.of(net.b) + convfold.Convolution.of(net.c)
    assert merged.geometry.taps == (3, 5)
    x = noise(2, 3, 6, 9)
    assert_close(merged(x).detach(), net(x).detach())
    fold_checked(net, (2, 3, 6, 9))


def test_branches_that_fit_in_one_kernel_become_it() -> None:
    net = Net(
        lambda m, x: m.a(x) + m.b(x) + m.c(x),
        a=nn.Conv2d(3, 4, (3, 5), padding=(1, 2)),
        b=nn.Conv2d(3, 4, (1, 5), padding=(0, 2)),
        c=nn.Conv2d(3, 4, (3, 1), padding=(1, 0)),
    )
    assert_calls(fold_checked(net, (2, 3, 6, 9)), conv2d=1)


@pytest.mark.parametrize("size", [(2, 4), (4, 1), (4, 2)])
def test_even_kernels_with_same_padding(size: tuple[int, int]) -> None:
    """'same' puts the odd position at the end; half the padding on each side would shift everything."""
    net = nn.Sequential(nn.Conv2d(3, 4, size, padding="same", dilation=(1, 2)), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    result = fold_checked(net, (2, 3, 7, 9))
    assert_calls(result, conv2d=1, constant_pad_nd=1)  # torch's convolution has no asymmetric padding
    chain = double(net)
    x = noise(2, 3, 7, 9)
    assert_close(convfold.merge(*chain)(x).detach(), chain(x).detach())


@pytest.mark.parametrize("pads", [(0, 1, 0, 1), (2, 0, 0, 1), (3, 1, 2, 0)])
def test_asymmetric_padding_before_a_strided_convolution(pads: tuple[int, int, int, int]) -> None:
    """TensorFlow's "same" as 14 of 214 models spell it: a pad of the end, then a strided convolution."""
    net = nn.Sequential(nn.ZeroPad2d(pads), nn.Conv2d(3, 4, (3, 2), stride=2), nn.BatchNorm2d(4))
    result = fold_checked(net, (2, 3, 7, 9))
    assert result.report.changed and result.report.after.batch_norms == 0


@pytest.mark.parametrize("pads", [(-1, -2, 0, 0), (0, 0, -1, 0), (-1, 1, 2, -1), (-2, 0, -1, -1)])
def test_negative_pads_crop(pads: tuple[int, int, int, int]) -> None:
    """onnxscript#2838: what is cropped is not read; padding by the number's size instead is wrong."""
    after = nn.Sequential(nn.Conv2d(3, 4, (3, 2), padding=1), nn.ZeroPad2d(pads), nn.Conv2d(4, 2, 1))
    fold_checked(after, (2, 3, 8, 9))
    before = nn.Sequential(nn.ZeroPad2d(pads), nn.Conv2d(3, 4, (3, 2), padding=1), nn.BatchNorm2d(4))
    result = fold_checked(before, (2, 3, 8, 9))
    assert result.report.after.batch_norms == 0


def test_a_crop_of_a_crop() -> None:
    net = Net(
        lambda m, x: m.b(F.pad(m.a(F.pad(x, (-1, 2, 3, -2))), (2, -1, -1, 0))),
        a=nn.Conv2d(3, 4, 2),
        b=nn.Conv2d(4, 2, 2),
    )
    fold_checked(net, (2, 3, 8, 9))


class TestAveragePool:
    """113 uses in 7 models: where the divisor differs at the border it is not a convolution."""

    def test_counting_the_padding_it_is_a_convolution(self) -> None:
        net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.AvgPool2d((3, 2), stride=(2, 1), padding=(1, 0)))
        chain = double(net)
        x = noise(2, 3, 7, 9)
        assert_close(convfold.merge(*chain)(x).detach(), chain(x).detach())
        fold_checked(net, (2, 3, 7, 9))

    @pytest.mark.parametrize(
        "pool",
        [
            nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
            nn.AvgPool2d((2, 3), stride=2, padding=(1, 0), count_include_pad=False),
            nn.AvgPool2d(2, stride=2, ceil_mode=True),
            nn.AvgPool2d((3, 2), stride=(2, 2), padding=(1, 0), ceil_mode=True),
        ],
    )
    def test_otherwise_it_is_refused_and_exact(self, pool: nn.AvgPool2d) -> None:
        net = nn.Sequential(nn.Conv2d(3, 4, (1, 2)), pool, nn.Conv2d(4, 3, (2, 1)))
        with refused("window-not-uniform"):
            convfold.Convolution.of(pool, channels=4)
        result = fold_checked(net, (2, 3, 9, 10))
        assert codes(result.report)["window-not-uniform"] == 2  # with the one before, with the one behind

    def test_ceil_mode_that_changes_nothing_is_a_convolution(self) -> None:
        """At 8×10 windows of 2 fit exactly: known sizes make it one."""
        net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.AvgPool2d(2, ceil_mode=True), nn.BatchNorm2d(4))
        result = fold_checked(net, (2, 4, 8, 10))
        assert codes(result.report)["window-not-uniform"] == 0 and result.report.after.batch_norms == 0

    def test_not_counting_padding_that_is_not_there(self) -> None:
        pool = nn.AvgPool2d((3, 2), count_include_pad=False)
        net = double(nn.Sequential(nn.Conv2d(3, 4, 1), pool))
        x = noise(2, 3, 7, 9)
        assert_close(convfold.merge(*net)(x).detach(), net(x).detach())

    @pytest.mark.parametrize("divisor", [1, 5])
    def test_a_divisor_of_ones_own(self, divisor: int) -> None:
        pool = nn.AvgPool2d((3, 2), padding=(1, 1), count_include_pad=False, divisor_override=divisor)
        net = double(nn.Sequential(pool, nn.Conv2d(3, 4, 2)))
        x = noise(2, 3, 7, 9)
        assert_close(convfold.merge(*net)(x).detach(), net(x).detach())
        fold_checked(net, (2, 3, 7, 9))


def test_a_residual_over_a_padded_convolution() -> None:
    """x + conv(x) at equal padding is one kernel with a one in its middle."""

    def residual(m: nn.Module, x: Tensor) -> Tensor:
        return x + m.conv(x)

    result = fold_checked(Net(residual, conv=nn.Conv2d(4, 4, (3, 5), padding=(1, 2))), (2, 4, 6, 7))
    assert_calls(result, conv2d=1)
    kernel = next(p for p in result.module.parameters() if p.dim() == 4)
    net = double(Net(residual, conv=nn.Conv2d(4, 4, (3, 5), padding=(1, 2))))
    assert_close((kernel.detach() - net.conv.weight.detach())[:, :, 1, 2], torch.eye(4, dtype=torch.float64))
