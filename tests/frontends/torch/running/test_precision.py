"""Running in another type: the same program, its state, its random numbers; and convolutions of float64 by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import convfold
from convfold.frontends.torch.running import double as by_taps
from convfold.frontends.torch.running import precision
from convfold.frontends.torch.running.double import convolution
from convfold.frontends.torch.running.precision import run_in
from tests.folding import Net, noise, randomised

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Any, ...]:
    """Signal, kernel, bias, stride, padding, dilation, groups."""
    dims = draw(st.integers(1, 3))

    def each(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=dims, max_size=dims))

    groups, multiple = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    depthwise = draw(st.booleans())
    c_in = groups if depthwise else groups * draw(st.integers(1, 3))
    taps, stride, padding, dilation, more = each(1, 4), each(1, 3), each(0, 3), each(1, 3), each(0, 6)
    reach = zip(taps, dilation, padding, more, strict=True)
    sizes = [max(d * (t - 1) + 1 - 2 * p, 1) + n for t, d, p, n in reach]
    x = noise(draw(st.integers(1, 2)), c_in, *sizes, seed=1)
    weight = noise(groups * multiple, c_in // groups, *taps, seed=2)
    bias = noise(groups * multiple, seed=3) if draw(st.booleans()) else None
    return x, weight, bias, stride, padding, dilation, groups


class TestConvolution:
    @given(convolutions())
    def test_is_torchs(self, case: tuple[Any, ...]) -> None:
        x, weight, bias, stride, padding, dilation, groups = case
        expected = CONV[x.dim() - 2](x, weight, bias, stride, padding, dilation, groups)
        taps = by_taps._Taps(x, weight, stride, padding, dilation)
        for block in (3, 1 << 20):  # many blocks, one
            by_taps.DEPTHWISE, by_taps.DENSE, before = block, block, (by_taps.DEPTHWISE, by_taps.DENSE)
            try:
                if weight.shape[1] == 1:
                    self.assert_close(taps.depthwise(weight, bias, groups), expected)
                if groups == 1:
                    self.assert_close(taps.dense(weight, bias), expected)
            finally:
                by_taps.DEPTHWISE, by_taps.DENSE = before
        y = convolution(x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)
        if y is not None:
            self.assert_close(y, expected)

    def assert_close(self, y: Tensor, expected: Tensor) -> None:
        assert y.shape == expected.shape and y.is_contiguous()
        torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize(
        ("shape", "kernel", "groups", "taken"),
        [
            ((1, 8, 9, 8), (8, 1, 3, 3), 8, True),
            ((1, 32, 40, 41), (16, 32, 3, 3), 1, True),
            ((1, 32, 5, 5), (16, 32, 3, 3), 1, False),  # few positions
            ((1, 3, 40, 41), (16, 3, 3, 3), 1, False),  # few channels
            ((1, 32, 40, 41), (16, 32, 1, 1), 1, False),  # one tap: a product already
            ((1, 32, 40, 41), (16, 8, 3, 3), 4, False),  # dense groups
            ((0, 8, 9, 8), (8, 1, 3, 3), 8, False),  # nothing
        ],
    )
    def test_where_it_is_faster(self, shape: Sequence[int], kernel: Sequence[int], groups: int, taken: bool) -> None:
        y = convolution(noise(*shape), noise(*kernel), None, [1, 1], [1, 1], [1, 1], False, [0, 0], groups)
        assert (y is not None) == taken

    def test_transposed_ones_are_torchs(self) -> None:
        args = noise(1, 8, 9, 8), noise(8, 1, 3, 3), None, [1, 1], [1, 1], [1, 1], True, [0, 0], 8
        assert convolution(*args) is None


class TestRunIn:
    def test_large_weights_are_cast_where_they_are_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not kept in float64 all together: 2 of 6 layers' worth at most."""
        net = randomised(nn.Sequential(*(nn.Linear(300, 300) for _ in range(6)))).eval()
        held = []
        right = precision.Computing._on_scratch

        def counted(self: Any, x: Tensor) -> Tensor:
            y = right(self, x)
            held.append(self.scratch.numel())
            return y

        monkeypatch.setattr(precision.Computing, "_on_scratch", counted)
        x = noise(4, 300, dtype=torch.float32)
        with torch.no_grad():
            y = run_in(torch.float64, net, (x,), {})
            expected = net.double()(x.double())
        torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-13)
        assert len(held) == 6 and max(held) == 300 * 300

    def test_a_model_that_looks_at_its_weights_type(self) -> None:
        """An RNN refuses inputs of another type than its weights'; these are too large to be cast up front."""
        net, x = randomised(nn.LSTM(70, 300)).eval(), noise(5, 2, 70, dtype=torch.float32)
        with torch.no_grad():
            y, _ = run_in(torch.float64, net, (x,), {})
            assert all(p.dtype == torch.float32 for p in (*net.parameters(), *net._flat_weights))
            torch.testing.assert_close(y, net.double()(x.double())[0], rtol=1e-13, atol=1e-13)

    def test_what_is_written_is_written_in_float64(self) -> None:
        class Keeps(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("seen", torch.zeros(3, 300, 300))

            def forward(self, x: Tensor) -> Tensor:
                self.seen[1, :, :2].add_(x / 3)
                return self.seen[1, :, :4] * 3

        net, x = Keeps(), noise(300, 2, dtype=torch.float32)
        verdict = convfold.verify(net, net, x)
        assert verdict.passed and 0 < verdict.own_error < 1e-6 and verdict.reference == "float64"

    def test_types_that_are_asked_for(self) -> None:
        """float32 by name, by a constant, by the type of another tensor; complex64; and float16 on the way."""

        def function(m: Any, x: Tensor) -> Tensor:
            y = x.to(torch.float32) * torch.full((3,), 0.1, dtype=torch.float32) + x.half().type_as(x)
            z = torch.view_as_complex(torch.stack([y, x], -1)).to(torch.complex64) * torch.tensor(1j)
            return torch.view_as_real(z).float() / torch.arange(1, 3, dtype=torch.bfloat16)

        with torch.no_grad():
            y = run_in(torch.float64, Net(function), (noise(4, 3, dtype=torch.float32),), {})
        assert y.dtype == torch.float64
        x = noise(4, 3, dtype=torch.float32).double()
        exact = torch.stack([-x, x * 0.1 + x], -1) / torch.tensor([1, 2])
        torch.testing.assert_close(y, exact, rtol=1e-14, atol=1e-14)

    @pytest.mark.parametrize("where", ["no_grad", "inference_mode"])
    def test_inside_a_model(self, where: str) -> None:
        """In inference mode operators arrive whole, `to` among them, which may return what it is given."""

        def function(m: Any, x: Tensor) -> Tensor:
            with getattr(torch, where)():
                return m.conv(x.float()).to(torch.float32) * 3 + m.buffer

        conv, buffer = randomised(nn.Conv2d(3, 4, 2)), noise(1, dtype=torch.float32)
        with torch.no_grad():
            y = run_in(torch.float64, Net(function, conv=conv, buffer=buffer), (noise(1, 3, 5, 6).float(),), {})
            expected = conv.double()(noise(1, 3, 5, 6).float().double()) * 3 + buffer.double()
        torch.testing.assert_close(y, expected, rtol=1e-14, atol=1e-14)

    def test_a_table_is_not_cast_for_a_few_of_its_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cast: list[int] = []
        monkeypatch.setattr(
            precision.Computing,
            "_on_scratch",
            lambda self, x: cast.append(x.numel()) or x.double(),
        )
        net = randomised(nn.Embedding(5000, 64))
        with torch.no_grad():
            y = run_in(torch.float64, net, (torch.tensor([3, 4]),), {})
        assert cast == [] and y.dtype == torch.float64 and torch.equal(y, net.weight[3:5].double())
