"""Recovered structure is the same map: groups, dilation and zero taps found again, and only there."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from convfold.algebra.convolution import Convolution
from convfold.algebra.structure import recovered
from convfold.algebra.window import Window
from tests.laws.generate import Drawn, Layer, any_layer, numbers, spaces
from tests.laws.oracle import assert_same_map


@given(st.data(), any_layer())
def test_recovered_is_the_same_map(data: st.DataObject, layer: Layer) -> None:
    op = layer.value
    kernel = op.kernel * (numbers(Drawn(data.draw), *op.kernel.shape) > 0)  # about half the entries are zero
    for value in (op, op.ungrouped(), Convolution(kernel, op.bias, op.groups, op.windows)):
        found = recovered(value)
        space = data.draw(spaces(op.dims))
        assert found.groups % value.groups == 0
        assert found.kernel.numel() <= value.kernel.numel()
        assert found.geometry.size(space) == value.geometry.size(space)
        assert_same_map(found, value, op.c_in, space, repr(value))


@given(any_layer())
def test_a_dense_kernel_is_left_alone(layer: Layer) -> None:
    assert recovered(layer.value).geometry == layer.value.geometry


@given(any_layer())
def test_lost_groups_are_found_again(layer: Layer) -> None:
    assert recovered(layer.value.ungrouped()).geometry == layer.value.geometry


@given(any_layer())
def test_recovering_twice_changes_nothing(layer: Layer) -> None:
    once = recovered(layer.value.ungrouped())
    assert recovered(once).geometry == once.geometry


@given(st.data(), any_layer())
def test_a_dilation_written_as_zero_taps_is_found_again(data: st.DataObject, layer: Layer) -> None:
    op = layer.value
    spread = [data.draw(st.integers(1, 3)) for _ in op.windows]
    kernel, windows = op.kernel, []
    for axis, (w, f) in enumerate(zip(op.windows, spread, strict=True), start=2):
        wide = kernel.new_zeros(*kernel.shape[:axis], (w.taps - 1) * f + 3, *kernel.shape[axis + 1 :])
        wide[(slice(None),) * axis + (slice(1, -1, f),)] = kernel  # one dead tap at each end
        kernel = wide
        windows.append(Window(wide.shape[axis], w.stride, w.upsample, w.dilation, w.lo + w.dilation, w.hi + w.dilation))
    found = recovered(Convolution(kernel, op.bias, op.groups, tuple(windows)))
    assert found.geometry.taps == op.geometry.taps
    assert [w.dilation for w in found.windows] == [
        w.dilation * f if w.taps > 1 else 1 for w, f in zip(op.windows, spread, strict=True)
    ]
    assert [w.lo for w in found.windows] == [w.lo for w in op.windows]


def test_a_zero_kernel_keeps_one_tap() -> None:
    op = Convolution(torch.zeros(4, 4, 3, 5), torch.randn(4), 1, (Window(3, lo=1, hi=1), Window(5, 2)))
    found = recovered(op)
    assert found.geometry.taps == (1, 1)
    assert found.geometry.size((7, 8)) == op.geometry.size((7, 8))


def test_recovering_is_differentiable() -> None:
    kernel = torch.block_diag(torch.randn(2, 3), torch.randn(2, 3)).double().requires_grad_()
    found = recovered(Convolution(kernel))
    assert found.groups == 2
    found.kernel.sum().backward()
    assert kernel.grad is not None
    assert torch.equal(kernel.grad, torch.block_diag(torch.ones(2, 3), torch.ones(2, 3)).double())
