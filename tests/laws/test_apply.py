"""A value applied is what torch computes: F.convNd, F.conv_transposeNd, F.linear and the plain definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convfold.algebra.convolution import Convolution
from convfold.algebra.realisation import padded, transposed_weight
from convfold.algebra.window import Window
from convfold.errors import ConvfoldError
from convfold.ops import Eager
from tests.effort import examples
from tests.laws.generate import Drawn, Layer, any_layer, legal_spaces, numbers, spaces
from tests.laws.oracle import applied, assert_close, assert_same_map, laid_out


@given(st.data(), any_layer())
@settings(max_examples=examples(200))
def test_applied_is_what_torch_computes(data: st.DataObject, layer: Layer) -> None:
    space = data.draw(spaces(layer.value.dims))
    assume(legal_spaces([layer], [space]))
    assert_same_map(layer.value, layer.torch, layer.value.c_in, space, repr(layer))


@given(st.data(), any_layer())
def test_applied_is_affine(data: st.DataObject, layer: Layer) -> None:
    c, op = Drawn(data.draw), layer.value
    space = data.draw(spaces(op.dims))
    x, y = numbers(c, 2, op.c_in, *space), numbers(c, 2, op.c_in, *space)
    at_zero = op(torch.zeros_like(x))
    assert_close(op(2 * x - 3 * y) - at_zero, 2 * (op(x) - at_zero) - 3 * (op(y) - at_zero), repr(layer))


@given(st.data(), any_layer())
def test_size_is_the_size_of_the_output(data: st.DataObject, layer: Layer) -> None:
    space = data.draw(spaces(layer.value.dims))
    y = layer.value(torch.zeros(1, layer.value.c_in, *space, dtype=torch.float64))
    assert tuple(y.shape) == (1, layer.value.c_out, *layer.value.geometry.size(space))


@given(st.data(), any_layer(dims=0))
def test_without_space_axes_is_a_linear_layer(data: st.DataObject, layer: Layer) -> None:
    op = layer.value.ungrouped()
    x = numbers(Drawn(data.draw), 5, op.c_in)
    assert_close(op(x), F.linear(x, op.kernel, op.bias), repr(layer))
    assert_close(layer.value(x), op(x), repr(layer))


@given(st.data(), any_layer())
def test_ungrouped_is_the_same_map(data: st.DataObject, layer: Layer) -> None:
    op = layer.value.ungrouped()
    assert op.groups == 1
    space = data.draw(spaces(op.dims))
    assert_same_map(op, layer.value, op.c_in, space, repr(layer))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.complex128])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    op = Convolution(torch.randn(4, 1, 3, 2).to(dtype), torch.randn(4).to(dtype), 2, (Window(3, lo=1), Window(2)))
    assert op(torch.randn(1, 2, 5, 4).to(dtype)).dtype == dtype
    assert op.to(torch.float64 if not dtype.is_complex else dtype).kernel.dtype in (torch.float64, dtype)


def test_batches_are_independent() -> None:
    op = Convolution(torch.randn(3, 2, 3, dtype=torch.float64), None, 1, (Window(3, 2, 3, 1, 2, 1),))
    x = torch.randn(4, 2, 6, dtype=torch.float64)
    assert_close(op(x), torch.cat([op(row[None]) for row in x]))


def test_a_crop_may_eat_into_the_padding() -> None:
    x = torch.randn(1, 1, 2, dtype=torch.float64)
    assert_close(padded(Eager(x), x, [(3, -4)]), torch.zeros(1, 1, 1, dtype=torch.float64))
    assert_close(padded(Eager(x), x, [(-1, 2)]), torch.cat([x[..., 1:], x.new_zeros(1, 1, 2)], 2))
    assert_close(padded(Eager(x), x, [(2, -1)]), laid_out(x, [Window(lo=2, hi=-1)]))


@given(st.data(), st.sampled_from([1, 2, 3]))
def test_transposed_weight_is_its_own_inverse(data: st.DataObject, groups: int) -> None:
    kernel = numbers(Drawn(data.draw), 2 * groups, 3, 4, 2)
    back = transposed_weight(transposed_weight(kernel, groups), groups)
    assert_close(back, kernel)
    x = numbers(Drawn(data.draw), 1, 3 * groups, 5, 4)
    full = Convolution(kernel, None, groups, (Window(4, lo=3, hi=3), Window(2, lo=1, hi=1)))
    assert_close(F.conv_transpose2d(x, transposed_weight(kernel, groups), groups=groups), applied(full, x))


def test_nothing_to_read_gives_an_empty_output() -> None:
    op = Convolution(torch.randn(3, 2, 4), torch.randn(3), 1, (Window(4),))
    assert op(torch.randn(2, 2, 3)).shape == (2, 3, 0)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Convolution(torch.randn(4, 2, 3), windows=()), r"kernel of shape \(4, 2, 3\)"),
        (lambda: Convolution(torch.randn(4)), "kernel of shape"),
        (lambda: Convolution(torch.randn(4, 2), None, 3), "cannot be split into 3 groups"),
        (lambda: Convolution(torch.randn(4, 2), None, 0), "0 groups"),
        (lambda: Convolution(torch.randn(4, 2), torch.randn(3)), "bias of shape"),
        (
            lambda: Convolution(torch.randn(4, 2, 1, 1), torch.randn(4, 2), 1, (Window(),) * 2),
            "bias of shape",
        ),
        (lambda: Convolution(torch.randn(4, 2))(torch.randn(1, 3)), "input of shape"),
        (lambda: Convolution(torch.randn(4, 2))(torch.randn(1, 2, 5)), "input of shape"),
    ],
)
def test_a_shape_that_does_not_fit_is_said(build: object, says: str) -> None:
    with pytest.raises(ConvfoldError, match=says):
        build()  # type: ignore[operator]
