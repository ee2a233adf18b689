"""Sums, stacks, blocks, rows and scales of values that read one input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from convfold.algebra import geometry, parallel
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from tests.effort import examples
from tests.laws.generate import Drawn, Layer, any_layer, convolution, legal_spaces, numbers, spaces
from tests.laws.generate import layers as layer_of
from tests.laws.oracle import assert_close, assert_same_map, refused


@st.composite
def siblings(draw: st.DrawFn, same_rows: bool = True) -> list[Layer]:
    """Two convolutions on one input, mostly with equal output sizes; taps, dilation, groups, bias differ."""
    c = Drawn(draw)
    dims = c.pick([1, 2, 3])
    first = convolution(c, dims)
    windows = []
    for w in first.value.windows:
        taps, dilation, lo = c.integer(1, 3), c.integer(1, 3), c.integer(-1, 4)
        hi = w.slack + dilation * (taps - 1) - lo + (c.integer(0, 1) if c.pick([False, False, False, True]) else 0)
        windows.append(Window(taps, w.stride, w.upsample, dilation, lo, hi))
    second = convolution(c, dims, first.value.c_in, windows)
    if same_rows and second.value.c_out != first.value.c_out:
        kernel = numbers(c, first.value.c_out, first.value.c_in, *(w.taps for w in windows))
        value = Convolution(kernel, numbers(c, first.value.c_out), 1, tuple(windows))
        second = Layer(value, value, repr(value))
    return [first, second]


@given(st.data(), siblings())
@settings(max_examples=examples(150))
def test_sum(data: st.DataObject, pair: list[Layer]) -> None:
    a, b = (layer.value for layer in pair)
    space = data.draw(spaces(a.dims))
    assume(legal_spaces(pair, [space]))
    for sizes in (None, space):
        try:
            total = a.plus(b, sizes)
        except NotFoldable as refusal:
            assert refusal.code == "sizes-differ"
            assert sizes is None or a.geometry.size(space) != b.geometry.size(space)
            event(f"refused at {'known' if sizes else 'any'} size")
            continue
        assert total.geometry == geometry.parallel(a.geometry, b.geometry, sizes)
        assert_same_map(total, lambda x: a(x) + b(x), a.c_in, space, f"{a} + {b}")


@given(st.data(), siblings())
def test_sum_commutes(data: st.DataObject, pair: list[Layer]) -> None:
    a, b = (layer.value for layer in pair)
    space = data.draw(spaces(a.dims))
    try:
        one, other = a + b, b + a
    except NotFoldable:
        assume(False)
    assert_same_map(one, other, a.c_in, space, f"{a} + {b}")
    assert one.windows == other.windows


@given(st.data(), siblings(same_rows=False))
@settings(max_examples=examples(150))
def test_stack(data: st.DataObject, pair: list[Layer]) -> None:
    a, b = (layer.value for layer in pair)
    space = data.draw(spaces(a.dims))
    assume(legal_spaces(pair, [space]))
    try:
        both = a.stack(b, space)
    except NotFoldable as refusal:
        assert refusal.code == "sizes-differ"
        assert a.geometry.size(space) != b.geometry.size(space)
        return
    assert both.geometry == geometry.stack(a.geometry, b.geometry, space)
    assert_same_map(both, lambda x: torch.cat([a(x), b(x)], 1), a.c_in, space, f"{a} over {b}")
    assert_same_map(both.rows(0, a.c_out), a, a.c_in, space)
    assert_same_map(both.rows(a.c_out, both.c_out), b, a.c_in, space)


@given(st.data(), any_layer())
def test_beside(data: st.DataObject, layer: Layer) -> None:
    """On channels of its own each, one of them with or without a bias; cut apart they are what they were."""
    a = layer.value
    bias = None if a.bias is None or data.draw(st.booleans()) else a.bias * 2 - 1
    b = Convolution(a.kernel.flip(0) * 3, bias, a.groups, a.windows)
    space = data.draw(spaces(a.dims))
    both = parallel.beside(a, b)
    assert both.geometry == geometry.beside(a.geometry, b.geometry)
    split = lambda x: torch.cat([a(x[:, : a.c_in]), b(x[:, a.c_in :])], 1)  # noqa: E731
    assert_same_map(both, split, 2 * a.c_in, space, f"{a} beside {b}")
    first, second = (
        both.block(range(i * a.c_out, (i + 1) * a.c_out), range(i * a.c_in, (i + 1) * a.c_in)) for i in (0, 1)
    )
    assert first is not None and second is not None
    assert_same_map(first, a, a.c_in, space)
    assert_same_map(second, b, a.c_in, space)


@given(st.data(), any_layer())
def test_rows_are_some_of_the_outputs(data: st.DataObject, layer: Layer) -> None:
    op = layer.value
    start = data.draw(st.integers(0, op.c_out - 1))
    stop = data.draw(st.integers(start + 1, op.c_out))
    space = data.draw(spaces(op.dims))
    assert_same_map(op.rows(start, stop), lambda x: op(x)[:, start:stop], op.c_in, space, repr(layer))


@given(st.data(), any_layer())
def test_blocks_over_the_columns_sum_to_the_whole(data: st.DataObject, layer: Layer) -> None:
    """B∘concat(x, y) = B_1∘x + B_2∘y; a block carries its bias, so it is taken once."""
    op = layer.value.ungrouped()
    assume(op.c_in > 1)
    cut = data.draw(st.integers(1, op.c_in - 1))
    rows = range(op.c_out)
    left, right = op.block(rows, range(cut)), op.block(rows, range(cut, op.c_in))
    assert left is not None and right is not None
    linear = Convolution(right.kernel, None, right.groups, right.windows)
    space = data.draw(spaces(op.dims))
    assert_same_map(lambda x: left(x[:, :cut]) + linear(x[:, cut:]), op, op.c_in, space, repr(layer))


@given(st.data(), any_layer())
def test_blocks_on_the_diagonal_are_the_groups(data: st.DataObject, layer: Layer) -> None:
    """concat(B_1∘x, B_2∘y) = B∘concat(x, y) where the cut is between groups; off the diagonal all is zero."""
    op = layer.value
    assume(op.groups > 1)
    cut = data.draw(st.integers(1, op.groups - 1))
    row, col = cut * op.c_out // op.groups, cut * op.c_in // op.groups
    upper, lower = op.block(range(row), range(col)), op.block(range(row, op.c_out), range(col, op.c_in))
    assert upper is not None and lower is not None
    assert (upper.groups, lower.groups) == (cut, op.groups - cut)
    assert op.block(range(row), range(col, op.c_in)) is None
    space = data.draw(spaces(op.dims))
    assert_same_map(lambda x: torch.cat([upper(x[:, :col]), lower(x[:, col:])], 1), op, op.c_in, space, repr(layer))


def test_a_cut_through_a_group_is_refused() -> None:
    op = Convolution(torch.randn(4, 3, 3), None, 2, (Window(3),))
    with refused("partition-differs"):
        op.block(range(2), range(2))
    with refused("partition-differs"):
        op.block(range(4), range(3))


@given(st.data(), any_layer(), st.booleans())
def test_scales(data: st.DataObject, layer: Layer, per_channel: bool) -> None:
    op = layer.value
    scale = numbers(Drawn(data.draw), *((op.c_out,) if per_channel else ()))
    shape = (-1, *(1,) * op.dims) if per_channel else ()
    space = data.draw(spaces(op.dims))
    for scaled in (op * scale, scale.item() * op if not per_channel else op * scale):
        assert scaled.windows == op.windows and scaled.groups == op.groups
        assert_same_map(scaled, lambda x: op(x) * scale.reshape(shape), op.c_in, space, repr(layer))
    assert_same_map(-op, lambda x: -op(x), op.c_in, space, repr(layer))


@given(st.data(), any_layer())
def test_a_value_less_itself_is_zero(data: st.DataObject, layer: Layer) -> None:
    op = layer.value
    space = data.draw(spaces(op.dims))
    assert_same_map(op + -op, lambda x: torch.zeros_like(op(x)), op.c_in, space, repr(layer))


def test_branches_of_a_repvgg_block() -> None:
    """3×3 padded by 1, 1×1 and the identity: one 3×3; depthwise if all are."""
    for groups in (1, 2, 4):
        three = Convolution(torch.randn(4, 4 // groups, 3, 3).double(), None, groups, (Window(3, lo=1, hi=1),) * 2)
        one = Convolution(torch.randn(4, 4 // groups, 1, 1).double(), torch.randn(4).double(), groups, (Window(),) * 2)
        block = three + one + Convolution.identity(4, 2, like=three.kernel)
        assert block.groups == groups
        assert block.windows == three.windows
        assert_same_map(block, lambda x, a=three, b=one: a(x) + b(x) + x, 4, (5, 3))


@pytest.mark.parametrize(
    ("a", "b", "sizes", "code"),
    [
        (Window(3), Window(3, stride=2), None, "sizes-differ"),
        (Window(3), Window(3, upsample=2), (5,), "sizes-differ"),
        (Window(3), Window(3, lo=1), None, "sizes-differ"),
        (Window(3), Window(3, lo=1), (5,), "sizes-differ"),
        (Window(3, stride=2), Window(3, stride=2, lo=1), None, "sizes-differ"),
    ],
)
def test_refused(a: Window, b: Window, sizes: tuple[int, ...] | None, code: str) -> None:
    kernel = torch.randn(2, 2, 3)
    for join in (Convolution.plus, Convolution.stack):
        with refused(code):
            join(Convolution(kernel, None, 1, (a,)), Convolution(kernel, None, 1, (b,)), sizes)


def test_a_known_size_may_reconcile_two_windows() -> None:
    """With stride 2 one more pad changes the size at 6 positions and not at 5."""
    a, b = (Convolution(torch.randn(2, 2, 3).double(), None, 1, (Window(3, stride=2, lo=lo),)) for lo in (0, 1))
    assert_same_map(a.plus(b, (5,)), lambda x: a(x) + b(x), 2, (5,))
    with refused("sizes-differ"):
        a.plus(b, (6,))


def test_channels_that_differ_are_refused() -> None:
    a = Convolution(torch.randn(2, 3))
    with refused("channels-differ"):
        a + Convolution(torch.randn(3, 3))
    with refused("channels-differ"):
        a.stack(Convolution(torch.randn(2, 2)))


@given(st.data(), layer_of(convolution, 2))
def test_a_linear_layer_adds_to_what_has_space_axes(data: st.DataObject, layer: Layer) -> None:
    c, op = Drawn(data.draw), layer.value
    pointwise = Convolution(numbers(c, op.c_out, op.c_in), numbers(c, op.c_out))
    windows = tuple(Window(w.taps, 1, 1, w.dilation, w.lo, w.reach - w.lo) for w in op.windows)
    op = Convolution(op.kernel, op.bias, op.groups, windows)
    space = data.draw(spaces(2))
    assert_same_map(pointwise + op, lambda x: pointwise.lifted(2)(x) + op(x), op.c_in, space)
    assert_close((op + pointwise).kernel, (pointwise + op).kernel)
